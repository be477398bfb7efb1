#include "ublk/engine/queue_base.hpp"

#include "ublk/engine/assert.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace ublk::engine {

namespace {

constexpr unsigned ops_with_registrations = 3; // an operation between two (un)registrations

// The best that this kernel's io_uring has. DEFER_TASKRUN (6.1) runs completions when we wait for them, which
// saves an interruption per request; both older and newer kernels take the later rows.
std::expected<wire::Ring, int> open_ring(unsigned entries)
{
    constexpr std::array<unsigned, 3> flag_sets{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                                IORING_SETUP_COOP_TASKRUN, 0U};
    std::expected<wire::Ring, int> ring = std::unexpected(EINVAL);
    for (const unsigned flags : flag_sets) {
        ring = wire::Ring::open({.entries = entries, .sqe128 = false, .flags = flags, .slots = true});
        if (ring || ring.error() != EINVAL)
            break;
    }
    return ring;
}

// Calls transfer(bytes done so far) until `size` bytes are moved; 0 or -errno. The driver moves as much as
// the request holds, so the end before that is a payload with a hole.
template <typename Transfer>
std::int32_t move_all(std::size_t size, Transfer transfer) noexcept
{
    for (std::size_t done = 0; done < size;) {
        const ssize_t n = transfer(done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += static_cast<std::size_t>(n);
    }
    return 0;
}

} // namespace

std::string_view to_string(DataPath path)
{
    constexpr std::array<std::string_view, data_paths.size()> names{"copy",      "get-data", "user-copy",
                                                                    "zero-copy", "auto-buf", "shmem"};
    return names[static_cast<std::size_t>(path)];
}

uapi::Features needed_features(DataPath path)
{
    switch (path) {
    case DataPath::copy:
        return {};
    case DataPath::get_data:
        return uapi::Feature::need_get_data;
    case DataPath::user_copy:
        return uapi::Feature::user_copy;
    case DataPath::zero_copy: // before the latter a buffer must be given back before the COMMIT is sent
        return uapi::Feature::support_zero_copy | uapi::Feature::buf_reg_off_daemon;
    case DataPath::auto_buf:
        return uapi::Feature::support_zero_copy | uapi::Feature::auto_buf_reg;
    case DataPath::shmem:
        return uapi::Feature::shmem_zc;
    }
    return {};
}

std::expected<Pages, int> Pages::map(std::size_t bytes, bool huge)
{
    auto pages = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    if (pages && huge) // or as many as there are
        ::madvise(pages->base_, bytes, MADV_HUGEPAGE);
    return pages;
}

std::expected<Pages, int> Pages::map_file(int fd, std::size_t bytes, bool read_only)
{
    return map(bytes, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd);
}

std::expected<Pages, int> Pages::map(std::size_t bytes, int access, int flags, int fd)
{
    void* base = ::mmap(nullptr, bytes, access, flags, fd, 0);
    if (base == MAP_FAILED)
        return std::unexpected(errno);
    Pages pages;
    pages.base_ = static_cast<std::byte*>(base);
    pages.bytes_ = bytes;
    return pages;
}

Pages::Pages(Pages&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0))
{
}

Pages& Pages::operator=(Pages&& other) noexcept
{
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

Pages::~Pages()
{
    if (base_ != nullptr)
        ::munmap(base_, bytes_);
}

QueueBase::QueueBase(const KernelQueueOptions& options, wire::Ring ring, wire::DescriptorMap descriptors,
                     Pages buffers)
    : options_(options), mapped_(is_mapped(options.data_path)),
      copies_(options.data_path == DataPath::user_copy), short_reads_(mapped_ && !copies_),
      buffers_(std::move(buffers)), descriptors_(std::move(descriptors)), ring_(std::move(ring))
{
}

Result<QueueBase> QueueBase::open(const KernelQueueOptions& wanted, unsigned commands, unsigned extra)
{
    KernelQueueOptions options = wanted;
    if (options.tags.count == 0)
        options.tags = {0, options.depth};
    const auto failed = [&](const char* operation, int code) {
        return std::unexpected(make_error(operation, code, options.device, options.queue));
    };
    const bool mapped = is_mapped(options.data_path);
    const auto buffers_bytes = std::size_t{options.tags.count} * options.buffer_bytes;
    auto buffers = mapped ? Pages::map(buffers_bytes, options.huge_pages) : Pages();
    if (!buffers)
        return failed("mmap of the request buffers", buffers.error());
    auto descriptors =
        wire::DescriptorMap::map(options.char_fd, options.queue, options.depth, options.desc_size);
    if (!descriptors)
        return failed("mmap of the descriptors", descriptors.error());
    const unsigned ops = !options.operations ? 0 : mapped ? 1 : ops_with_registrations;
    const unsigned count = options.tags.count;
    auto ring = open_ring(std::bit_ceil(count * (commands + ops) + 1 + extra));
    if (!ring)
        return failed("io_uring_setup", ring.error());
    if (const int res = ring->register_files(&options.char_fd, 1); res < 0)
        return failed("io_uring_register of the device file", -res);
    if (!mapped) {
        if (const int res = ring->register_empty_buffers(options.depth); res < 0)
            return failed("io_uring_register of the buffer table", -res);
    }
    ring->register_self();
    QueueBase queue(options, std::move(*ring), std::move(*descriptors), std::move(*buffers));
    queue.op_slots_ = ops;
    queue.first_op_slot_ = options.tags.first + count * commands;
    queue.watch_slot_ = queue.first_op_slot_ + count * ops;
    queue.watch(options.leave_fd);
    return queue;
}

void QueueBase::watch(int leave_fd) noexcept
{
    if (leave_fd < 0)
        return;
    io_uring_sqe& sqe = send_empty(watch_slot_);
    io_uring_prep_poll_add(&sqe, leave_fd, POLLIN);
    sqe.user_data = user_data(kind_leave, 0);
}

// Pages that nobody registered yet are registered for just this operation: the three are linked, and the
// last goes even if the operation failed.
void QueueBase::start_at(std::uint16_t tag, const RingOp& op, uapi::IoFlags flags,
                         std::byte* payload) noexcept
{
    const bool on_pages = !mapped_ && (op.kind == RingOp::Kind::read || op.kind == RingOp::Kind::write);
    const bool register_here =
        on_pages && (options_.data_path == DataPath::zero_copy || flags.has(uapi::IoFlag::need_reg_buf));
    const unsigned slot = first_op_slot_ + (unsigned{tag} - options_.tags.first) * op_slots_;
    if (register_here)
        send_registration(slot + 1, uapi::IoNr::register_io_buf, tag, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe& sqe = send_empty(slot);
    prepare(sqe, tag, op, payload);
    sqe.user_data = user_data(static_cast<std::uint32_t>(Done::op), tag);
    if (register_here) {
        sqe.flags |= IOSQE_IO_HARDLINK;
        send_registration(slot + 2, uapi::IoNr::unregister_io_buf, tag, IOSQE_CQE_SKIP_SUCCESS);
    }
}

void QueueBase::send_registration(unsigned slot, uapi::IoNr nr, std::uint16_t tag,
                                  unsigned sqe_flags) noexcept
{
    io_uring_sqe& sqe = send_empty(slot);
    const uapi::IoCmd command{.q_id = options_.queue, .tag = tag, .addr = tag};
    wire::prep_io(sqe, 0, uapi::opcode(nr), command, user_data(kind_registration, tag), true);
    sqe.flags |= static_cast<std::uint8_t>(sqe_flags);
}

void QueueBase::prepare(io_uring_sqe& sqe, std::uint16_t tag, const RingOp& op, std::byte* payload) noexcept
{
    const bool is_read = op.kind == RingOp::Kind::read;
    const auto length = static_cast<unsigned>(op.length);
    switch (op.kind) {
    case RingOp::Kind::read:
    case RingOp::Kind::write:
        if (mapped_) {
            io_uring_prep_rw(is_read ? IORING_OP_READ : IORING_OP_WRITE, &sqe, op.fd, payload + op.at, length,
                             op.offset);
        } else { // the address counts from the beginning of the registered pages
            io_uring_prep_rw(is_read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED, &sqe, op.fd, nullptr,
                             length, op.offset);
            sqe.addr = op.at;
            sqe.buf_index = tag;
        }
        sqe.rw_flags = op.flags;
        return;
    case RingOp::Kind::sync:
        io_uring_prep_fsync(&sqe, op.fd, IORING_FSYNC_DATASYNC);
        return;
    case RingOp::Kind::allocate:
        io_uring_prep_fallocate(&sqe, op.fd, op.flags, static_cast<off_t>(op.offset),
                                static_cast<off_t>(op.length));
        return;
    }
}

std::int32_t QueueBase::copy_in(std::uint16_t tag, std::span<std::byte> data, std::uint64_t of) const noexcept
{
    return move_all(data.size(), [&](std::size_t done) {
        const auto at = static_cast<off_t>(of | uapi::user_copy_pos(options_.queue, tag, done));
        return ::pread(options_.char_fd, data.data() + done, data.size() - done, at);
    });
}

std::int32_t QueueBase::copy_out(std::uint16_t tag, std::span<const std::byte> data,
                                 std::uint64_t of) const noexcept
{
    return move_all(data.size(), [&](std::size_t done) {
        const auto at = static_cast<off_t>(of | uapi::user_copy_pos(options_.queue, tag, done));
        return ::pwrite(options_.char_fd, data.data() + done, data.size() - done, at);
    });
}

} // namespace ublk::engine
