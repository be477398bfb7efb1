// One queue of a ublk device in the kernel: a ring, the descriptors, a buffer per tag.
#pragma once

#include "ublk/engine/error.hpp"
#include "ublk/uapi/features.hpp"
#include "ublk/uapi/io.hpp"
#include "ublk/wire/command.hpp"
#include "ublk/wire/ring.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ublk::engine {

// How the payload of a request travels between the application's pages and the tag's buffer.
enum class DataPath : std::uint8_t {
    copy,      // the driver copies: a write before its request arrives, a read at its COMMIT
    get_data,  // as copy, but a write is copied when we say so, into the buffer that we then name
               // (UBLK_F_NEED_GET_DATA)
    user_copy, // we copy, with pread and pwrite on /dev/ublkcN (UBLK_F_USER_COPY)
};

std::string_view to_string(DataPath path); // "copy", "get-data", "user-copy"
// The feature that a device needs for it; none for copy.
uapi::Features needed_features(DataPath path);

struct KernelQueueOptions {
    int char_fd = -1; // /dev/ublkcN; stays open for as long as the queue lives
    std::uint32_t device = 0;
    std::uint16_t queue = 0;
    std::uint16_t depth = 0;
    std::uint32_t buffer_bytes = 0; // per tag: the device's max_io_buf_bytes
    unsigned desc_size = uapi::min_io_desc_size;
    DataPath data_path = DataPath::copy;
};

// Anonymous memory, page aligned, touched only when used.
class Pages {
  public:
    Pages() = default;
    // Error: positive errno of mmap.
    static std::expected<Pages, int> map(std::size_t bytes);
    Pages(Pages&& other) noexcept;
    Pages& operator=(Pages&& other) noexcept;
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    ~Pages();

    std::byte* data() const { return base_; }
    std::size_t size() const { return bytes_; }

  private:
    std::byte* base_ = nullptr;
    std::size_t bytes_ = 0;
};

// A QueueDriver. Belongs to the thread that opens it: the ring has a single issuer, and the driver ties each
// tag to the thread that fetches it.
class KernelQueue {
  public:
    static Result<KernelQueue> open(const KernelQueueOptions& options);

    std::uint16_t depth() const noexcept { return options_.depth; }
    void fetch(std::uint16_t tag) noexcept { send(uapi::IoNr::fetch_req, tag, 0); }
    void commit(std::uint16_t tag, std::int32_t result) noexcept
    {
        send(uapi::IoNr::commit_and_fetch_req, tag, result);
    }
    void commit_append(std::uint16_t tag, std::int32_t result, std::uint64_t sector) noexcept
    {
        send(uapi::IoNr::commit_and_fetch_req, tag, result, sector);
    }
    void get_data(std::uint16_t tag) noexcept { send(uapi::IoNr::need_get_data, tag, 0); }
    std::int32_t bring(std::uint16_t tag, std::span<std::byte> data) noexcept
    {
        return options_.data_path == DataPath::user_copy ? copy_in(tag, data) : 0;
    }
    std::int32_t deliver(std::uint16_t tag, std::span<const std::byte> data) noexcept
    {
        return options_.data_path == DataPath::user_copy ? copy_out(tag, data) : 0;
    }
    bool short_reads() const noexcept { return options_.data_path != DataPath::user_copy; }
    int submit() noexcept { return ring_.submit(); }
    int wait() noexcept { return ring_.submit_and_wait(1); }

    // Takes what was there when it began; completions that arrive meanwhile are for the next call.
    template <typename F>
    void drain(F&& on_completion) noexcept
    {
        io_uring& ring = ring_.raw();
        unsigned ready = io_uring_cq_ready(&ring);
        while (ready-- > 0) {
            io_uring_cqe* cqe = nullptr;
            if (io_uring_peek_cqe(&ring, &cqe) != 0 || cqe == nullptr)
                return;
            const auto tag = static_cast<std::uint16_t>(cqe->user_data);
            const std::int32_t res = cqe->res;
            io_uring_cqe_seen(&ring, cqe);
            on_completion(tag, res);
        }
    }

    uapi::IoDesc descriptor(std::uint16_t tag) noexcept { return descriptors_.read(tag); }
    std::span<std::byte> buffer(std::uint16_t tag) noexcept
    {
        return {buffers_.data() + std::size_t{tag} * options_.buffer_bytes, options_.buffer_bytes};
    }

  private:
    KernelQueue(const KernelQueueOptions& options, wire::Ring ring, wire::DescriptorMap descriptors,
                Pages buffers)
        : options_(options), buffers_(std::move(buffers)), descriptors_(std::move(descriptors)),
          ring_(std::move(ring))
    {
    }
    void send(uapi::IoNr nr, std::uint16_t tag, std::int32_t result, std::uint64_t sector = 0) noexcept;
    std::int32_t copy_in(std::uint16_t tag, std::span<std::byte> data) const noexcept;
    std::int32_t copy_out(std::uint16_t tag, std::span<const std::byte> data) const noexcept;

    KernelQueueOptions options_;
    Pages buffers_; // outlives the ring: the kernel may copy until the ring is gone
    wire::DescriptorMap descriptors_;
    wire::Ring ring_;
};

} // namespace ublk::engine
