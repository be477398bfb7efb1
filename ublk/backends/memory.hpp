// A disk in this process's memory. Sparse: what was never written, or was discarded, takes no memory and
// reads as zeroes.
#pragma once

#include "ublk/engine/error.hpp"
#include "ublk/engine/io.hpp"

#include <cstring>

namespace ublk::backends {

class Memory {
  public:
    // `size` in bytes, a multiple of block_size. Error: ENOMEM if the address space has no room.
    static Result<Memory> create(std::uint64_t size, std::uint32_t block_size, bool read_only = false);
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&&) = delete;
    ~Memory();

    engine::Geometry geometry() const;

    // For a backend that keeps something else than blocks here: the bytes from `offset` on; and to make them
    // zeroes again, which gives whole pages back.
    std::byte* at(std::uint64_t offset) const noexcept { return base_ + offset; }
    std::int32_t zero(engine::ByteRange range) const noexcept;

    // All there is, but for the writes that are refused.
    static bool has_places() noexcept { return true; }
    std::span<std::byte> place(const engine::Io& io) const noexcept
    {
        if (!engine::is_inside(io, size_) || (io.op == uapi::IoOp::write && read_only_))
            return {};
        return {base_ + (io.start_sector << uapi::sector_shift),
                std::size_t{io.nr_sectors} << uapi::sector_shift};
    }

    // Requests that overlap in time are as undefined as on a real disk; nothing else is touched.
    std::int32_t handle(engine::Io& io) const noexcept
    {
        using enum uapi::IoOp;
        if (static_cast<std::uint64_t>(io.data.data() - base_) < size_) // in its place
            return static_cast<std::int32_t>(io.data.size());
        if (io.op == flush)
            return 0;
        const auto range = engine::byte_range(io, size_);
        if (!range)
            return range.error();
        std::byte* const place = base_ + range->offset;
        switch (io.op) {
        case read:
            std::memcpy(io.data.data(), place, io.data.size());
            return static_cast<std::int32_t>(io.data.size());
        case write:
            if (read_only_)
                return -EPERM;
            std::memcpy(place, io.data.data(), io.data.size());
            return static_cast<std::int32_t>(io.data.size());
        case discard:
        case write_zeroes:
            return read_only_ ? -EPERM : zero(*range);
        default:
            return -EOPNOTSUPP;
        }
    }

  private:
    Memory(std::byte* base, std::uint64_t size, std::uint32_t block_size, bool read_only)
        : base_(base), size_(size), block_size_(block_size), read_only_(read_only)
    {
    }

    std::byte* base_;
    std::uint64_t size_;
    std::uint32_t block_size_;
    bool read_only_;
};

} // namespace ublk::backends
