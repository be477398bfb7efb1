#include "conformance/server/disk_io.hpp"

#include "conformance/server/stamp.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace conformance {

Buffer::Buffer(std::size_t bytes)
    : memory_(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096), &std::free), bytes_(bytes)
{
    if (memory_ == nullptr)
        fail("memory for a buffer", "there is none");
}

DiskIo::DiskIo(const Subject& subject, Path path, int flags, Where where)
    : subject_(subject), durable_(path == Path::durable)
{
    auto fd = ublk::wire::open_node(subject.disk(), flags | (path == Path::cached ? 0 : O_DIRECT));
    if (!fd)
        refuse("opening " + subject.disk(), -fd.error(), where);
    fd_ = subject.keep(std::move(*fd));
}

long DiskIo::try_write(std::uint64_t offset, std::span<const std::byte> data) const
{
    const Waiting waiting(subject_, "write", offset, data.size());
    return durable_ ? write_durably(offset, data)
                    : sys(::pwrite(fd(), data.data(), data.size(), static_cast<off_t>(offset)));
}

// The kernel follows a synchronous write to an O_DSYNC device with a flush, which would hide a server that
// drops FUA. An asynchronous one is a FUA request and no more.
long DiskIo::write_durably(std::uint64_t offset, std::span<const std::byte> data) const
{
    ::aio_context_t context = 0;
    if (::syscall(SYS_io_setup, 1, &context) != 0)
        return -errno;
    ::iocb request{};
    request.aio_lio_opcode = IOCB_CMD_PWRITE;
    request.aio_fildes = static_cast<std::uint32_t>(fd());
    request.aio_buf = reinterpret_cast<std::uintptr_t>(data.data());
    request.aio_nbytes = data.size();
    request.aio_offset = static_cast<std::int64_t>(offset);
    request.aio_rw_flags = RWF_DSYNC;
    ::iocb* requests[] = {&request};
    ::io_event event{};
    long res = sys(::syscall(SYS_io_submit, context, 1, requests));
    if (res == 1) {
        while ((res = sys(::syscall(SYS_io_getevents, context, 1, 1, &event, nullptr))) == -EINTR) {
        }
        res = res == 1 ? static_cast<long>(event.res) : res;
    }
    ::syscall(SYS_io_destroy, context);
    return res;
}

long DiskIo::try_read(std::uint64_t offset, std::span<std::byte> data) const
{
    const Waiting waiting(subject_, "read", offset, data.size());
    return sys(::pread(fd(), data.data(), data.size(), static_cast<off_t>(offset)));
}

long DiskIo::try_flush() const
{
    const Waiting waiting(subject_, "flush", 0, 0);
    return sys(::fsync(fd()));
}

long DiskIo::try_range(unsigned long request, std::uint64_t offset, std::uint64_t bytes) const
{
    const Waiting waiting(subject_, "discard or write-zeroes", offset, bytes);
    std::uint64_t range[2] = {offset, bytes};
    return sys(::ioctl(fd(), request, range));
}

long DiskIo::try_punch(std::uint64_t offset, std::uint64_t bytes) const
{
    const Waiting waiting(subject_, "write-zeroes", offset, bytes);
    return sys(::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                           static_cast<off_t>(bytes)));
}

void DiskIo::write(std::uint64_t offset, std::span<const std::byte> data, Where where) const
{
    if (const long res = try_write(offset, data); res != static_cast<long>(data.size()))
        refuse("writing " + place_text(offset, data.size()), res, where);
    count_check();
}

void DiskIo::read(std::uint64_t offset, std::span<std::byte> data, Where where) const
{
    if (const long res = try_read(offset, data); res != static_cast<long>(data.size()))
        refuse("reading " + place_text(offset, data.size()), res, where);
    count_check();
}

void DiskIo::flush(Where where) const
{
    if (const long res = try_flush(); res != 0)
        refuse("fsync", res, where);
    count_check();
}

void DiskIo::refuse(std::string_view what, long result, Where where) const
{
    subject_.fail(fmt::format("{} succeeds", what), fmt::format("{} gave {}", what, result_text(result)),
                  where);
}

} // namespace conformance
