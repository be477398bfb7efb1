// Suite "server": size, ends, read-only devices, and errors of the disk below.
#include "conformance/server/ledger.hpp"
#include "conformance/server/suite.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

namespace conformance {

namespace {

} // namespace

CASE("SERVER-SIZE-001", contract,
     "the size in sysfs is the size that BLKGETSIZE64 tells, and all of it can be read", server_suite)
{
    Subject subject;
    const DiskIo io(subject, Path::direct, O_RDONLY);
    std::uint64_t size = 0;
    expect_ok(sys(::ioctl(io.fd(), BLKGETSIZE64, &size)), "BLKGETSIZE64");
    expect_eq(subject.size(), size, "the size that BLKGETSIZE64 tells");
    expect_eq(0UL, size % subject.block(), "what a last block would be short of");
    const Buffer buffer(1 << 20);
    // All of a small device; the beginning, places on the way and the end of a large one.
    const std::uint64_t step = std::max<std::uint64_t>(buffer.span().size(), size / 64 / 4096 * 4096);
    for (std::uint64_t at = 0; at < size; at += step)
        io.read(at, buffer.first(std::min<std::uint64_t>(buffer.span().size(), size - at)));
    const auto tail = std::min<std::uint64_t>(size, 64 * 1024);
    io.read(size - tail, buffer.first(tail));
    io.read(size - subject.block(), buffer.first(subject.block()));
    subject.finish();
}

CASE("SERVER-SIZE-002", contract, "beyond the end nothing can be read or written", server_suite)
{
    Subject subject;
    const bool writable = subject.sysfs("ro") == "0";
    const DiskIo io(subject, Path::direct, writable ? O_RDWR : O_RDONLY);
    const Buffer buffer(2 * subject.block());
    expect_eq(0L, io.try_read(subject.size(), buffer.span()), "bytes read at the end");
    expect_eq(static_cast<long>(subject.block()),
              io.try_read(subject.size() - subject.block(), buffer.span()),
              "bytes read of one block and one beyond the end");
    if (writable)
        expect_error(ENOSPC, io.try_write(subject.size(), buffer.span()), "writing at the end");
    subject.finish();
}

CASE("SERVER-RO-001", contract, "a read-only device refuses writes and can be read", server_suite)
{
    Subject subject;
    const bool says_so = subject.sysfs("ro") == "1";
    if (!says_so && !profile().read_only)
        skip("the device is not read-only");
    const Buffer buffer(std::max<std::size_t>(subject.block(), 4096));
    // Refused when it is opened or when it is written, as the release has it.
    long res = -EROFS;
    if (const auto fd = ublk::wire::open_node(subject.disk(), O_RDWR | O_DIRECT); fd)
        res = sys(::pwrite(fd->get(), buffer.span().data(), buffer.span().size(), 0));
    else
        res = -fd.error();
    if (res >= 0)
        subject.fail("a read-only device refuses writes",
                     fmt::format("written through: {} bytes were taken, and sysfs says ro = {}", res,
                                 subject.sysfs("ro")));
    expect_any_error({EPERM, EROFS, EACCES}, res, "writing");
    expect_true(says_so, "sysfs says ro = 1");
    DiskIo(subject, Path::direct, O_RDONLY).read(0, buffer.span());
    subject.finish();
}

CASE("SERVER-ERROR-001", contract,
     "errors of the disk below reach the application, and all other requests go on", server_suite)
{
    needs_data();
    if (!profile().wants_disk())
        skip("needs a server of a disk: {disk} in its command");
    Subject subject;
    needs_writable(subject);
    constexpr std::uint64_t good = 2 << 20;
    if (subject.size() < 2 * good)
        skip(fmt::format("needs a device of {} bytes", 2 * good));
    Ledger ledger(subject, good);
    const DiskIo io(subject);
    ledger.write_all(io);
    subject.power_disk()->set_bad(good, good, true);
    const Buffer buffer(4096);
    DevInfo info;
    const CtrlCmd ask{
        .dev_id = subject.id(), .len = sizeof(info), .addr = reinterpret_cast<std::uintptr_t>(&info)};
    expect_ok(subject.control().control(CtrlNr::get_dev_info, ask), "GET_DEV_INFO");
    // More errors than the device has tags: none of them may be lost.
    const unsigned errors = std::min(600U, 2U * info.nr_hw_queues * info.queue_depth);
    for (unsigned i = 0; i < errors; ++i) {
        const auto offset = good + i * 4096ULL % good;
        const long res =
            i % 4 == 3 ? io.try_write(offset, buffer.span()) : io.try_read(offset, buffer.span());
        if (res >= 0)
            subject.fail("an error of the disk below reaches the application",
                         fmt::format("hidden: {} of {} gave {}", i % 4 == 3 ? "a write" : "a read",
                                     place_text(offset, 4096), res));
        if (res != -EIO)
            io.refuse("a request to a bad sector, with EIO", res);
    }
    ledger.check_all(io);
    subject.power_disk()->set_bad(good, good, false);
    ledger.write_all(io);
    ledger.check_all(io);
    subject.finish();
}

} // namespace conformance
