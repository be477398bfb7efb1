#include "ublk/backends/async_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>

namespace ublk::backends {

namespace {

using engine::Io;
using engine::op_pending;
using engine::RingOp;

constexpr int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int zero = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

// Io::progress of a write-zeroes: what was asked of the file last.
enum Zeroing : std::uint32_t { asked_first, asked_otherwise, asked_sync };

bool is_durable(const Io& io)
{
    return io.flags.has(uapi::IoFlag::fua);
}

std::int32_t allocate(const Io& io, int mode, RingOp& op)
{
    op = {.kind = RingOp::Kind::allocate,
          .fd = op.fd,
          .offset = io.start_sector << uapi::sector_shift,
          .length = std::uint64_t{io.nr_sectors} << uapi::sector_shift,
          .flags = mode};
    return op_pending;
}

std::int32_t sync(RingOp& op)
{
    op = {.kind = RingOp::Kind::sync, .fd = op.fd};
    return op_pending;
}

bool unsupported(std::int32_t result)
{
    return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV;
}

// A file system may know only one of the two ways to zero; what must stay allocated is not punched.
std::int32_t go_on_zeroing(Io& io, std::int32_t result, RingOp& op)
{
    if (io.progress == asked_first && unsupported(result) && !io.flags.has(uapi::IoFlag::nounmap)) {
        io.progress = asked_otherwise;
        return allocate(io, zero, op);
    }
    if (result == 0 && io.progress != asked_sync && is_durable(io)) {
        io.progress = asked_sync;
        return sync(op);
    }
    return unsupported(result) ? -EOPNOTSUPP : result;
}

} // namespace

Result<AsyncFile> AsyncFile::open(const FileOptions& options)
{
    auto file = File::open(options);
    if (!file)
        return std::unexpected(std::move(file.error()));
    return AsyncFile(std::move(*file));
}

AsyncFile::AtOnce AsyncFile::how_at_once(const File& file) noexcept
{
    struct statfs system{};
    if (file.is_direct() || ::fstatfs(file.fd(), &system) != 0)
        return AtOnce::never;
    return system.f_type == TMPFS_MAGIC ? AtOnce::always : AtOnce::cached;
}

std::int32_t AsyncFile::go_and_get(Io& io, RingOp& op) noexcept
{
    using enum uapi::IoOp;
    op.fd = file_.fd();
    if (io.op == flush)
        return sync(op);
    const auto range = file_.range_of(io);
    if (!range)
        return range.error();
    if (io.op != read && file_.is_read_only())
        return -EPERM;
    switch (io.op) {
    case read:
    case write:
        if (!io.data.empty())
            try_at_once(io, range->offset);
        return io.progress == io.length() ? static_cast<std::int32_t>(io.length()) : transfer(io, op);
    case discard:
        file_.pages().discard(*range);
        return allocate(io, punch, op);
    case write_zeroes:
        file_.pages().discard(*range);
        return allocate(io, io.flags.has(uapi::IoFlag::nounmap) ? zero : punch, op);
    default:
        return -EOPNOTSUPP;
    }
}

std::int32_t AsyncFile::resume(Io& io, std::int32_t result, RingOp& op) noexcept
{
    op.fd = file_.fd();
    const bool data = engine::carries_data(io.op);
    if (result == -EINTR && !data) {
        io.progress = 0;
        return begin(io, op);
    }
    if (io.op == uapi::IoOp::write_zeroes)
        return go_on_zeroing(io, result, op);
    if (!data)
        return unsupported(result) ? -EOPNOTSUPP : result;
    if (result == 0)
        return -EIO; // the file shrank
    if (result < 0 && result != -EINTR)
        return result;
    const auto done = static_cast<std::uint32_t>(std::max(result, 0));
    if (io.op == uapi::IoOp::write)
        file_.pages().written({(io.start_sector << uapi::sector_shift) + io.progress, done});
    io.progress += done;
    return io.progress >= io.length() ? static_cast<std::int32_t>(io.length()) : transfer(io, op);
}

// Moves Io::progress as far as it goes without waiting. What fails is asked again of the ring, whose answer
// counts. A durable write waits for the disk: never here.
void AsyncFile::try_at_once(Io& io, std::uint64_t offset) noexcept
{
    const AtOnce how = at_once_.load(std::memory_order_relaxed);
    const bool is_read = io.op == uapi::IoOp::read;
    if (how == AtOnce::never || (!is_read && is_durable(io)))
        return;
    const int flags = how == AtOnce::cached ? RWF_NOWAIT : 0;
    const iovec piece{io.data.data(), io.data.size()};
    const ssize_t n = is_read ? ::preadv2(file_.fd(), &piece, 1, static_cast<off_t>(offset), flags)
                              : ::pwritev2(file_.fd(), &piece, 1, static_cast<off_t>(offset), flags);
    if (n > 0) {
        io.progress = static_cast<std::uint32_t>(n);
        if (!is_read)
            file_.pages().written({offset, static_cast<std::uint64_t>(n)});
    } else if (n < 0 && errno == EOPNOTSUPP) {
        at_once_.store(AtOnce::never, std::memory_order_relaxed);
    }
}

std::int32_t AsyncFile::transfer(const Io& io, RingOp& op) const noexcept
{
    const bool is_read = io.op == uapi::IoOp::read;
    op = {.kind = is_read ? RingOp::Kind::read : RingOp::Kind::write,
          .fd = op.fd,
          .offset = (io.start_sector << uapi::sector_shift) + io.progress,
          .length = io.length() - io.progress,
          .at = io.progress,
          .flags = !is_read && is_durable(io) ? RWF_DSYNC : 0};
    return op_pending;
}

} // namespace ublk::backends
