#include "ublk/engine/kernel_queue.hpp"

#include "ublk/engine/assert.hpp"

#include <array>
#include <bit>
#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace ublk::engine {

namespace {

// The best that this kernel's io_uring has. DEFER_TASKRUN (6.1) runs completions when we wait for them, which
// saves an interruption per request; both older and newer kernels take the later rows.
std::expected<wire::Ring, int> open_ring(unsigned entries)
{
    constexpr std::array<unsigned, 3> flag_sets{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                                IORING_SETUP_COOP_TASKRUN, 0U};
    std::expected<wire::Ring, int> ring = std::unexpected(EINVAL);
    for (const unsigned flags : flag_sets) {
        ring = wire::Ring::open({.entries = entries, .sqe128 = false, .flags = flags});
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
    constexpr std::array<std::string_view, 3> names{"copy", "get-data", "user-copy"};
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
    }
    return {};
}

std::expected<Pages, int> Pages::map(std::size_t bytes)
{
    void* base =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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

Result<KernelQueue> KernelQueue::open(const KernelQueueOptions& options)
{
    const auto failed = [&](const char* operation, int code) {
        return std::unexpected(make_error(operation, code, options.device, options.queue));
    };
    auto buffers = Pages::map(std::size_t{options.depth} * options.buffer_bytes);
    if (!buffers)
        return failed("mmap of the request buffers", buffers.error());
    auto descriptors =
        wire::DescriptorMap::map(options.char_fd, options.queue, options.depth, options.desc_size);
    if (!descriptors)
        return failed("mmap of the descriptors", descriptors.error());
    auto ring = open_ring(std::bit_ceil(unsigned{options.depth}));
    if (!ring)
        return failed("io_uring_setup", ring.error());
    if (const int res = ring->register_files(&options.char_fd, 1); res < 0)
        return failed("io_uring_register of the device file", -res);
    return KernelQueue(options, std::move(*ring), std::move(*descriptors), std::move(*buffers));
}

void KernelQueue::send(uapi::IoNr nr, std::uint16_t tag, std::int32_t result, std::uint64_t sector) noexcept
{
    // At most one command per tag is unsent, and the ring has an entry for each.
    io_uring_sqe* sqe = ring_.sqe();
    UBLK_ASSERT(sqe != nullptr, "queue {}: no free entry for tag {}", options_.queue, tag);
    if (sqe == nullptr)
        return;
    const uapi::IoCmd command{.q_id = options_.queue,
                              .tag = tag,
                              .result = result,
                              // The driver takes no address from a server that copies by itself; its place
                              // is where the sector of a ZONE_APPEND goes.
                              .addr = options_.data_path == DataPath::user_copy
                                          ? sector
                                          : std::bit_cast<std::uintptr_t>(buffer(tag).data())};
    wire::prep_io(*sqe, 0, uapi::opcode(nr), command, tag, true);
}

std::int32_t KernelQueue::copy_in(std::uint16_t tag, std::span<std::byte> data) const noexcept
{
    return move_all(data.size(), [&](std::size_t done) {
        const auto at = static_cast<off_t>(uapi::user_copy_pos(options_.queue, tag, done));
        return ::pread(options_.char_fd, data.data() + done, data.size() - done, at);
    });
}

std::int32_t KernelQueue::copy_out(std::uint16_t tag, std::span<const std::byte> data) const noexcept
{
    return move_all(data.size(), [&](std::size_t done) {
        const auto at = static_cast<off_t>(uapi::user_copy_pos(options_.queue, tag, done));
        return ::pwrite(options_.char_fd, data.data() + done, data.size() - done, at);
    });
}

} // namespace ublk::engine
