#include "ublk/backends/file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <memory>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace ublk::backends {

namespace {

// Written where a file system cannot zero by itself; aligned for direct I/O.
alignas(4096) constexpr std::array<std::byte, 65536> zeroes{};

std::unexpected<Error> failed(const std::string& path, const char* what, int code, std::string hint = {})
{
    Error error = make_error(std::string(what) + " " + path, code);
    if (!hint.empty())
        error.hint = std::move(hint);
    return std::unexpected(std::move(error));
}

// Of a regular file or a block device. Error: positive errno; EINVAL if it is something else.
std::expected<std::uint64_t, int> bytes_of(int fd) noexcept
{
    struct stat status{};
    std::uint64_t bytes = 0;
    if (::fstat(fd, &status) != 0)
        return std::unexpected(errno);
    if (S_ISREG(status.st_mode))
        return static_cast<std::uint64_t>(status.st_size);
    if (!S_ISBLK(status.st_mode))
        return std::unexpected(EINVAL);
    if (::ioctl(fd, BLKGETSIZE64, &bytes) != 0)
        return std::unexpected(errno);
    return bytes;
}

// Direct I/O may be accepted at open and refused at the first transfer: only a transfer tells.
Result<void> try_direct(int fd, const FileOptions& options)
{
    constexpr std::size_t alignment = 4096;
    const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(alignment, alignment),
                                                            &std::free);
    if (block == nullptr)
        return failed(options.path, "read", ENOMEM);
    if (::pread(fd, block.get(), options.block_size, 0) < 0)
        return failed(
            options.path, "direct read of", errno,
            fmt::format("it does not do direct I/O in blocks of {}: try --block-size 4096, or leave "
                        "out --direct",
                        options.block_size));
    return {};
}

} // namespace

Result<File> File::open(const FileOptions& options)
{
    const int flags = (options.read_only ? O_RDONLY : O_RDWR) | (options.direct ? O_DIRECT : 0) | O_CLOEXEC;
    wire::Fd fd(::open(options.path.c_str(), flags));
    if (!fd) {
        const int code = errno;
        std::string hint;
        if (code == ENOENT)
            hint = "make it first: truncate -s SIZE " + options.path;
        else if (code == EINVAL && options.direct)
            hint = "its file system has no direct I/O: leave out --direct";
        else if (code == EISDIR)
            hint = "give a regular file or a block device";
        else if ((code == EACCES || code == EROFS) && !options.read_only)
            hint = "it cannot be written: serve it with --read-only";
        return failed(options.path, "open", code, std::move(hint));
    }
    const auto available = bytes_of(fd.get());
    if (!available)
        return failed(options.path, "size of", available.error(),
                      available.error() == EINVAL ? "give a regular file or a block device" : "");
    const std::uint64_t size = options.size != 0 ? options.size : *available;
    if (size > *available)
        return failed(options.path, "open", EFBIG,
                      fmt::format("it has {} bytes, not the {} asked for: make it larger with truncate -s",
                                  *available, size));
    if (size == 0 || size % options.block_size != 0)
        return failed(
            options.path, "open", EINVAL,
            fmt::format("{} bytes are not a positive multiple of the block size {}: give a --size that is",
                        size, options.block_size));
    if (options.direct) {
        if (auto tried = try_direct(fd.get(), options); !tried)
            return std::unexpected(std::move(tried.error()));
    }
    return File(std::move(fd), size, options);
}

engine::Geometry File::geometry() const
{
    // What was written is in the page cache, or in the cache of the disk below, until it is flushed.
    uapi::Attrs attrs = uapi::Attr::volatile_cache | uapi::Attr::fua;
    if (read_only_)
        attrs |= uapi::Attr::read_only;
    return {.size = size(),
            .block_size = block_size_,
            .attrs = attrs,
            .discard = true,
            .write_zeroes = true,
            .discard_granularity = std::max(block_size_, 4096U)};
}

std::int32_t File::handle(engine::Io& io) noexcept
{
    using enum uapi::IoOp;
    if (io.op == flush)
        return sync();
    if (is_in_place(io))
        return static_cast<std::int32_t>(io.data.size());
    const auto range = range_of(io);
    if (!range)
        return range.error();
    if (io.op == read)
        return read_all(io.data, range->offset);
    if (read_only_)
        return -EPERM;
    switch (io.op) {
    case write:
        return write_all(io.data, range->offset, io.flags.has(uapi::IoFlag::fua));
    case discard:
        return punch(*range);
    case write_zeroes: {
        const std::int32_t res = zero(*range, io.flags.has(uapi::IoFlag::nounmap));
        return res == 0 && io.flags.has(uapi::IoFlag::fua) ? sync() : res;
    }
    default:
        return -EOPNOTSUPP;
    }
}

std::expected<engine::ByteRange, std::int32_t> File::range_after_growth(const engine::Io& io) const noexcept
{
    if (all_of_it_) {
        if (const auto now = bytes_of(fd_.get()); now && *now > size())
            size_.store(*now, std::memory_order_relaxed);
    }
    return engine::byte_range(io, size());
}

std::int32_t File::read_all(std::span<std::byte> data, std::uint64_t offset) const noexcept
{
    std::size_t done = 0;
    while (done < data.size()) {
        const ssize_t n =
            ::pread(fd_.get(), data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += static_cast<std::size_t>(n);
    }
    return static_cast<std::int32_t>(done);
}

std::int32_t File::write_all(std::span<const std::byte> data, std::uint64_t offset, bool durable) noexcept
{
    std::size_t done = 0;
    while (done < data.size()) {
        // writev takes what it must not change as non-const.
        const iovec piece{const_cast<std::byte*>(data.data()) + done, data.size() - done};
        const ssize_t n =
            ::pwritev2(fd_.get(), &piece, 1, static_cast<off_t>(offset + done), durable ? RWF_DSYNC : 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        pages_.written({offset + done, static_cast<std::uint64_t>(n)});
        done += static_cast<std::size_t>(n);
    }
    return static_cast<std::int32_t>(done);
}

std::int32_t File::sync() const noexcept
{
    return ::fdatasync(fd_.get()) == 0 ? 0 : -errno;
}

std::int32_t File::punch(engine::ByteRange range) noexcept
{
    pages_.discard(range);
    return allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range);
}

std::int32_t File::allocate(int mode, engine::ByteRange range) const noexcept
{
    if (range.length == 0)
        return 0;
    int res = 0;
    do {
        res =
            ::fallocate(fd_.get(), mode, static_cast<off_t>(range.offset), static_cast<off_t>(range.length));
    } while (res != 0 && errno == EINTR);
    if (res == 0)
        return 0;
    // What a file system cannot do is one answer, whichever of its names the call found for it.
    return errno == ENOSYS || errno == ENODEV ? -EOPNOTSUPP : -errno;
}

std::int32_t File::zero(engine::ByteRange range, bool keep_allocated) noexcept
{
    constexpr int zero = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    std::int32_t res = keep_allocated ? allocate(zero, range) : punch(range);
    if (res == -EOPNOTSUPP && !keep_allocated)
        res = allocate(zero, range);
    if (res != -EOPNOTSUPP)
        return res;
    for (std::uint64_t done = 0; done < range.length;) {
        const std::uint64_t piece = std::min<std::uint64_t>(range.length - done, zeroes.size());
        res = write_all(std::span(zeroes).first(static_cast<std::size_t>(piece)), range.offset + done, false);
        if (res < 0)
            return res;
        done += piece;
    }
    return 0;
}

} // namespace ublk::backends
