// A disk on a backend, in this process: what is read and written goes through the engine's queue as the
// driver's requests would, without root, a kernel or a virtual machine. To test a backend of one's own.
#pragma once

#include "ublk/engine/parameters.hpp"
#include "ublk/engine/paranoid.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

namespace ublk::engine::testing {

// One thread. Offsets and lengths are in bytes, multiples of 512. Each call is split into requests of at most
// FakeQueue::buffer_bytes, several of which are with the backend's queue at once, in an order that follows
// from the seed; it returns when all are answered: 0, or the first errno, negative. Every step is checked as
// by
// --paranoid: std::logic_error says what engine or backend did wrong, of requests that are out of range, too.
template <Backend B>
    requires requires(const B& backend) {
        { backend.geometry() } -> std::same_as<Geometry>;
    }
class FakeDisk {
  public:
    static constexpr std::uint16_t depth = 8;

    explicit FakeDisk(B& backend, std::uint32_t seed = 1)
        : backend_(backend), params_(make_params(backend.geometry(), FakeQueue::buffer_bytes)), seed_(seed)
    {
    }

    std::int32_t read(std::uint64_t offset, std::span<std::byte> data)
    {
        return serve(pieces(uapi::IoOp::read, offset, data.size()), data);
    }
    std::int32_t write(std::uint64_t offset, std::span<const std::byte> data, uapi::IoFlags flags = {})
    {
        auto requests = pieces(uapi::IoOp::write, offset, data.size(), flags);
        std::vector<std::byte> payload(data.begin(), data.end());
        return serve(std::move(requests), payload);
    }
    // The same with metadata, as much of it as belongs to the data. Nobody but the backend checks it.
    std::int32_t read(std::uint64_t offset, std::span<std::byte> data, std::span<std::byte> metadata)
        requires ServesIntegrity<B>
    {
        return serve(pieces(uapi::IoOp::read, offset, data.size(), uapi::IoFlag::integrity), data, metadata);
    }
    std::int32_t write(std::uint64_t offset, std::span<const std::byte> data,
                       std::span<const std::byte> metadata)
        requires ServesIntegrity<B>
    {
        std::vector<std::byte> payload(data.begin(), data.end()), own(metadata.begin(), metadata.end());
        return serve(pieces(uapi::IoOp::write, offset, data.size(), uapi::IoFlag::integrity), payload, own);
    }
    std::int32_t flush() { return serve({{uapi::IoDesc{.op_flags = op_bits(uapi::IoOp::flush)}, 0}}, {}); }
    std::int32_t discard(std::uint64_t offset, std::uint64_t length)
    {
        return serve(pieces(uapi::IoOp::discard, offset, length), {});
    }
    std::int32_t write_zeroes(std::uint64_t offset, std::uint64_t length)
    {
        return serve(pieces(uapi::IoOp::write_zeroes, offset, length), {});
    }

  private:
    struct Piece {
        uapi::IoDesc desc;
        std::size_t at = 0; // byte of the caller's data that it begins at
    };

    static std::uint32_t op_bits(uapi::IoOp op) { return static_cast<std::uint32_t>(op); }
    static std::size_t bytes_of(const Piece& piece)
    {
        return std::size_t{piece.desc.nr_sectors} << uapi::sector_shift;
    }

    static std::vector<Piece> pieces(uapi::IoOp op, std::uint64_t offset, std::uint64_t length,
                                     uapi::IoFlags flags = {})
    {
        if (offset % uapi::sector_size != 0 || length % uapi::sector_size != 0)
            throw std::invalid_argument("FakeDisk: offset and length are multiples of 512");
        std::vector<Piece> all;
        for (std::uint64_t done = 0; done < length;) {
            const auto bytes = std::min<std::uint64_t>(length - done, FakeQueue::buffer_bytes);
            all.push_back({{.op_flags = op_bits(op) | flags.raw(),
                            .nr_sectors = static_cast<std::uint32_t>(bytes >> uapi::sector_shift),
                            .start_sector = (offset + done) >> uapi::sector_shift},
                           static_cast<std::size_t>(done)});
            done += bytes;
        }
        return all;
    }

    // What a read leaves is asked for again, as the driver does.
    std::int32_t serve(std::vector<Piece> requests, std::span<std::byte> data,
                       std::span<std::byte> metadata = {})
    {
        const Integrity integrity = backend_.geometry().integrity;
        if (!metadata.empty() && metadata.size() != integrity.bytes_of(data.size()))
            throw std::invalid_argument("FakeDisk: metadata of another length than the data's");
        std::int32_t failure = 0;
        while (!requests.empty()) {
            FakeQueue queue(depth, {}, seed_++);
            for (const auto& piece : requests) {
                const bool carries = carries_data(static_cast<uapi::IoOp>(piece.desc.op()));
                std::span<std::byte> beside;
                if (!metadata.empty())
                    beside =
                        metadata.subspan(integrity.bytes_of(piece.at), integrity.bytes_of(bytes_of(piece)));
                queue.offer(piece.desc,
                            carries ? data.subspan(piece.at, bytes_of(piece)) : std::span<std::byte>(),
                            beside);
            }
            if (integrity.interval != 0)
                queue.refuse_short_reads(); // as on the data path that such a device has
            run(queue);
            std::vector<Piece> rest;
            for (std::size_t i = 0; i < requests.size(); ++i) {
                const std::int32_t result = queue.plan()[i].results.front();
                if (result < 0 && failure == 0)
                    failure = result;
                Piece piece = requests[i];
                const auto sectors = static_cast<std::uint32_t>(std::max(result, 0)) >> uapi::sector_shift;
                if (piece.desc.op() != op_bits(uapi::IoOp::read) || result < 0 ||
                    sectors == piece.desc.nr_sectors)
                    continue;
                piece.desc.start_sector += sectors;
                piece.desc.nr_sectors -= sectors;
                piece.at += std::size_t{sectors} << uapi::sector_shift;
                rest.push_back(piece);
            }
            requests = std::move(rest);
        }
        return failure;
    }

    void run(FakeQueue& queue)
    {
        QueueRunner runner(queue, backend_, 0, Paranoid(depth, params_));
        runner.arm();
        const QueueEnd end = runner.run();
        if (end.code != 0)
            throw std::logic_error("FakeDisk: " + end.report);
        if (!queue.violations().empty())
            throw std::logic_error("FakeDisk: " + queue.violations().front());
    }

    B& backend_;
    uapi::Params params_;
    std::uint32_t seed_;
};

} // namespace ublk::engine::testing
