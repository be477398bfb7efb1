// What every queue of a ublk device in the kernel has, however its commands travel: a ring, the descriptors,
// a buffer per tag, and the ways of payload.
#pragma once

#include "ublk/engine/error.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/shared_memory.hpp"
#include "ublk/uapi/features.hpp"
#include "ublk/uapi/io.hpp"
#include "ublk/wire/command.hpp"
#include "ublk/wire/ring.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ublk::engine {

// How the payload of a request travels between the application's pages and the server.
enum class DataPath : std::uint8_t {
    copy,      // the driver copies: a write before its request arrives, a read at its COMMIT
    get_data,  // as copy, but a write is copied when we say so, into the buffer that we then name
               // (UBLK_F_NEED_GET_DATA)
    user_copy, // we copy, with pread and pwrite on /dev/ublkcN (UBLK_F_USER_COPY)
    zero_copy, // nobody copies: ring operations work on the application's pages, which we register with the
               // ring for each of them (UBLK_F_SUPPORT_ZERO_COPY, 6.15; and UBLK_F_BUF_REG_OFF_DAEMON, 6.17)
    auto_buf,  // as zero_copy, but the driver registers the pages before the request arrives; where it
               // cannot, we do (UBLK_F_AUTO_BUF_REG, 6.16)
    shmem,     // nobody copies what lies in memory that the application shares with us, all else is as with
               // copy (UBLK_F_SHMEM_ZC, 7.1)
};
inline constexpr std::array data_paths{DataPath::copy,      DataPath::get_data, DataPath::user_copy,
                                       DataPath::zero_copy, DataPath::auto_buf, DataPath::shmem};

// "copy", "get-data", "user-copy", "zero-copy", "auto-buf", "shmem"
std::string_view to_string(DataPath path);
// The features that a device needs for it; none for copy.
uapi::Features needed_features(DataPath path);
// Whether payload is in memory of this process, where any backend can see it.
constexpr bool is_mapped(DataPath path)
{
    return path != DataPath::zero_copy && path != DataPath::auto_buf;
}

struct KernelQueueOptions {
    int char_fd = -1; // /dev/ublkcN; stays open for as long as the queue lives
    std::uint32_t device = 0;
    std::uint16_t queue = 0;
    std::uint16_t thread = 0; // of those that serve the queue
    std::uint16_t depth = 0;
    std::uint32_t buffer_bytes =
        0;         // per tag: the device's max_io_buf_bytes, and the metadata of so much data
    TagRange tags; // to be served; with a count of 0, all
    unsigned desc_size = uapi::min_io_desc_size;
    DataPath data_path = DataPath::copy;
    bool batch = false;     // the device has UBLK_F_BATCH_IO
    bool zoned = false;     // and UBLK_F_ZONED
    bool operations = true; // the backend works on the ring
    // Of the data path shmem: what is registered with the device. They outlive the queue.
    std::span<const std::span<std::byte>> shared;
    bool huge_pages = false;
    bool leaves_when_quiesced = false; // after the first abort armed tags are left: QUIESCE misses those that
                                       // it finds owned, and nobody aborts them once they are committed
    int leave_fd = -1;                 // once it is readable, armed tags are left; -1: none
};

// Anonymous memory, page aligned, touched only when used.
class Pages {
  public:
    Pages() = default;
    // Error: positive errno of mmap.
    static std::expected<Pages, int> map(std::size_t bytes, bool huge = false);
    // The file's own from its start, shared with whoever maps it too.
    static std::expected<Pages, int> map_file(int fd, std::size_t bytes, bool read_only = false);
    Pages(Pages&& other) noexcept;
    Pages& operator=(Pages&& other) noexcept;
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    ~Pages();

    std::byte* data() const { return base_; }
    std::size_t size() const { return bytes_; }

  private:
    static std::expected<Pages, int> map(std::size_t bytes, int access, int flags, int fd);

    std::byte* base_ = nullptr;
    std::size_t bytes_ = 0;
};

// The part of a QueueDriver that is about payload. Belongs to the thread that opens it: the ring has a single
// issuer, and the driver ties each tag to the thread that fetches it.
class QueueBase {
  public:
    std::uint16_t depth() const noexcept { return options_.depth; }
    TagRange tags() const noexcept { return options_.tags; }
    bool mapped() const noexcept { return mapped_; }
    std::int32_t bring(std::uint16_t tag, std::span<std::byte> data) noexcept
    {
        return copies_ ? copy_in(tag, data) : 0;
    }
    std::int32_t deliver(std::uint16_t tag, std::span<const std::byte> data) noexcept
    {
        return copies_ ? copy_out(tag, data) : 0;
    }
    bool copies() const noexcept { return copies_; }
    std::int32_t bring_metadata(std::uint16_t tag, std::span<std::byte> metadata) noexcept
    {
        return copy_in(tag, metadata, uapi::pos_integrity_flag);
    }
    std::int32_t deliver_metadata(std::uint16_t tag, std::span<const std::byte> metadata) noexcept
    {
        return copy_out(tag, metadata, uapi::pos_integrity_flag);
    }
    // A read is copied from where its COMMIT says, a write to where NEED_GET_DATA says; and we copy wherever
    // we like. The driver alone copies a write to what the COMMIT before it named, which must stay the
    // buffer.
    bool places() const noexcept { return copies_ || options_.data_path == DataPath::get_data; }
    bool short_reads() const noexcept { return short_reads_; }
    void start(std::uint16_t tag, const RingOp& op, uapi::IoFlags flags) noexcept
    {
        start_at(tag, op, flags, buffer(tag).data());
    }
    bool leaves_armed() const noexcept { return leaves_armed_; }
    uapi::IoDesc descriptor(std::uint16_t tag) noexcept { return descriptors_.read(tag); }
    std::span<std::byte> buffer(std::uint16_t tag) noexcept
    {
        return {buffers_.data() + buffer_offset(tag), options_.buffer_bytes};
    }

  protected:
    // user_data: the tag, and above it Done, or one of those that the runner does not see.
    static constexpr unsigned kind_shift = 16;
    static constexpr std::uint32_t kind_others = 2, kind_registration = 2, kind_leave = 3, kind_first_own = 4;
    static constexpr std::uint64_t user_data(std::uint32_t kind, std::uint16_t low)
    {
        return std::uint64_t{kind} << kind_shift | low;
    }

    // The ring has a slot for each command that can be unsent at once: `commands` (none or one) of each tag,
    // at the tag's number; then what the operations of the tags take, the watch, and `extra`.
    static Result<QueueBase> open(const KernelQueueOptions& options, unsigned commands, unsigned extra);
    unsigned extra_slot(unsigned number) const noexcept { return watch_slot_ + 1 + number; }
    // Sends the slot, which is all zero and to be filled in.
    io_uring_sqe& send_empty(unsigned slot) noexcept
    {
        UBLK_ASSERT(!ring_.full(), "queue {}: no free entry for slot {}", options_.queue, slot);
        io_uring_sqe& sqe = ring_.slot(slot);
        sqe = {};
        ring_.send_slot(slot);
        return sqe;
    }

    // `payload`: of the request, where it is mapped.
    void start_at(std::uint16_t tag, const RingOp& op, uapi::IoFlags flags, std::byte* payload) noexcept;

    std::size_t buffer_offset(std::uint16_t tag) const noexcept
    {
        return std::size_t{static_cast<std::uint16_t>(tag - options_.tags.first)} * options_.buffer_bytes;
    }
    // What commands give as the address of a tag's buffer: none from a server that copies by itself, or not
    // at all.
    std::uint64_t command_address(std::uint16_t tag) noexcept
    {
        return short_reads_ ? std::bit_cast<std::uintptr_t>(buffer(tag).data()) : 0;
    }
    Error error(const char* operation, int code) const
    {
        return make_error(operation, code, options_.device, options_.queue);
    }

    KernelQueueOptions options_;
    bool mapped_ = true, copies_ = false, short_reads_ = false; // what the data path makes of them
    bool leaves_armed_ = false;
    Pages buffers_; // outlives the ring: the kernel may copy until the ring is gone
    wire::DescriptorMap descriptors_;
    wire::Ring ring_;

  private:
    QueueBase(const KernelQueueOptions& options, wire::Ring ring, wire::DescriptorMap descriptors,
              Pages buffers);
    void watch(int leave_fd) noexcept;
    void send_registration(unsigned slot, uapi::IoNr nr, std::uint16_t tag, unsigned sqe_flags) noexcept;
    void prepare(io_uring_sqe& sqe, std::uint16_t tag, const RingOp& op, std::byte* payload) noexcept;
    // `of`: 0 for payload, or pos_integrity_flag.
    std::int32_t copy_in(std::uint16_t tag, std::span<std::byte> data, std::uint64_t of = 0) const noexcept;
    std::int32_t copy_out(std::uint16_t tag, std::span<const std::byte> data,
                          std::uint64_t of = 0) const noexcept;

    unsigned first_op_slot_ = 0, op_slots_ = 0; // the latter: of each tag
    unsigned watch_slot_ = 0;
};

} // namespace ublk::engine
