#include "ublk/wire/command.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace ublk::wire {

namespace {

constexpr std::size_t cmd_bytes_sqe64 = 16;

} // namespace

std::string char_path(std::uint32_t dev_id)
{
    return "/dev/ublkc" + std::to_string(dev_id);
}

std::string block_path(std::uint32_t dev_id)
{
    return "/dev/ublkb" + std::to_string(dev_id);
}

std::expected<Fd, int> open_node(const std::string& path, int flags)
{
    Fd fd(::open(path.c_str(), flags | O_CLOEXEC));
    if (!fd)
        return std::unexpected(errno);
    return fd;
}

void prep_control(io_uring_sqe& sqe, bool sqe128, int fd, std::uint32_t op, const uapi::CtrlCmd& cmd,
                  std::uint64_t user_data)
{
    detail::prep(sqe, fd, op, cmd, sqe128 ? sizeof(cmd) : cmd_bytes_sqe64, user_data);
}

void prep_batch(io_uring_sqe& sqe, int fd, std::uint32_t op, const uapi::BatchIo& cmd, std::uint64_t addr,
                std::uint64_t user_data, bool fixed)
{
    detail::prep(sqe, fd, op, cmd, sizeof(cmd), user_data);
    sqe.addr = addr;
    if (fixed)
        sqe.flags |= IOSQE_FIXED_FILE;
}

std::int32_t control(Ring& ring, int control_fd, std::uint32_t op, const uapi::CtrlCmd& cmd)
{
    io_uring_sqe* sqe = ring.sqe();
    if (sqe == nullptr)
        return -EBUSY;
    prep_control(*sqe, ring.sqe128(), control_fd, op, cmd, 0);
    int res = 0;
    do {
        res = ring.submit_and_wait(1);
    } while (res == -EINTR);
    if (res < 0)
        return res;
    for (;;) {
        if (const auto done = ring.wait(std::chrono::hours(1)))
            return done->res;
    }
}

std::expected<DescriptorMap, int> DescriptorMap::map(int char_fd, unsigned queue, unsigned depth,
                                                     unsigned desc_size)
{
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const auto bytes = uapi::desc_area_bytes(depth, desc_size, page);
    const auto offset = uapi::cmd_buf_offset + queue * uapi::desc_area_stride(desc_size, page);
    void* base =
        ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, char_fd, static_cast<off_t>(offset));
    if (base == MAP_FAILED)
        return std::unexpected(errno);
    DescriptorMap map;
    map.base_ = static_cast<std::byte*>(base);
    map.bytes_ = bytes;
    map.desc_size_ = desc_size;
    return map;
}

DescriptorMap::DescriptorMap(DescriptorMap&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)),
      desc_size_(other.desc_size_)
{
}

DescriptorMap& DescriptorMap::operator=(DescriptorMap&& other) noexcept
{
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    std::swap(desc_size_, other.desc_size_);
    return *this;
}

DescriptorMap::~DescriptorMap()
{
    if (base_ != nullptr)
        ::munmap(base_, bytes_);
}

} // namespace ublk::wire
