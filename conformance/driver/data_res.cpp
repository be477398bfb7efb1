// UBLK-DATA-RES: what a server's result means to the application.
#include "conformance/driver/case.hpp"
#include "conformance/driver/live.hpp"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <memory>
#include <vector>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

// Answers requests of kind `op` with `result`, others as a sound server.
void answer(Server& server, IoOp op, std::int32_t result)
{
    server.seen.clear();
    server.handler = [&server, op, result](const Server::Request& request) {
        return std::optional(is_op(request, op) ? result : server.serve_from_memory(request));
    };
}

// Each sector of the disk holds its own number.
void number_sectors(Server& server)
{
    auto& memory = server.memory();
    for (std::size_t at = 0; at + sizeof(std::uint64_t) <= memory.size(); at += sizeof(std::uint64_t)) {
        const std::uint64_t sector = at / uapi::sector_size;
        std::memcpy(memory.data() + at, &sector, sizeof(sector));
    }
}

bool same_as_disk(Server& server, const std::vector<std::byte>& data)
{
    return std::equal(data.begin(), data.end(), server.memory().begin());
}

} // namespace

CASE("UBLK-DATA-RES-001", contract,
     "A negative result is the application's error if block devices know it, else EIO")
{
    Driver driver;
    Live live(driver);
    const auto expect_answer = [&](int expected, std::int32_t result) {
        auto held = live.hold_read();
        expect_error(expected, live.finish(held, result), fmt::format("result {}", result));
    };
    for (const int err : {EOPNOTSUPP, ETIMEDOUT, ENOSPC, ENOLINK, EREMOTEIO, EBADE, ENODATA, EILSEQ, ENOMEM,
                          EBUSY, EAGAIN, ENODEV, ETOOMANYREFS, EOVERFLOW, ETIME, EREMCHG, EINVAL})
        expect_answer(err, -err);
    for (const std::int32_t result : {-EIO, -EPERM, -EACCES, -EFAULT, -EINTR, -4095, -4096, INT_MIN})
        expect_answer(EIO, result);
}

CASE("UBLK-DATA-RES-002", contract, "A buffered read sees any error of the server as EIO")
{
    Driver driver;
    Live live(driver);
    for (const int err : {ENOSPC, ETIMEDOUT, EREMOTEIO}) {
        answer(live.server, IoOp::read, -err);
        auto app = app_with(live.device, O_RDONLY, [](int fd) {
            char byte = 0;
            return sys(::pread(fd, &byte, 1, 65536));
        });
        expect_error(EIO, live.server.serve_until(app), errno_text(err));
        expect_true(!live.server.seen.empty(), "the server was asked");
    }
}

CASE("UBLK-DATA-RES-003", contract, "A read of which the server delivers nothing fails")
{
    Driver driver;
    Live live(driver);
    auto held = live.hold_read();
    expect_error(EIO, live.finish(held, 0));
}

CASE("UBLK-DATA-RES-004", contract, "Discard, flush and zeroing succeed with any result that is not negative")
{
    Driver driver;
    Live live(driver, discard_params(Attr::volatile_cache));
    for (const std::int32_t result : {0, 1, 512, INT_MAX}) {
        const auto expect_done = [&](IoOp op, std::function<long(int)> call, std::string_view what) {
            answer(live.server, op, result);
            auto app = app_with(live.device, O_RDWR, std::move(call));
            expect_ok(live.server.serve_until(app), fmt::format("{} answered {}", what, result));
            expect_eq(1U, count_seen(live.server, op), fmt::format("requests of {}", what));
        };
        expect_done(IoOp::discard, [](int fd) { return range_ioctl(fd, BLKDISCARD, 8192); }, "BLKDISCARD");
        expect_done(
            IoOp::write_zeroes, [](int fd) { return range_ioctl(fd, BLKZEROOUT, 8192); }, "BLKZEROOUT");
        expect_done(IoOp::flush, [](int fd) { return sys(::fsync(fd)); }, "fsync");
    }
}

CASE("UBLK-DATA-RES-005", contract, "What a short read leaves out comes back as a request of its own")
{
    Driver driver;
    Live live(driver);
    number_sectors(live.server);
    auto read = read_back(live.device, 4096);
    const auto first = live.server.expect_request("the application's read");
    live.server.serve_from_memory(first);
    live.server.commit(first.q, first.tag, 1024);
    const auto rest = live.server.expect_request("the rest of it");
    expect_eq(2U, rest.desc.start_sector, "start_sector of the rest");
    expect_eq(6U, rest.desc.nr_sectors, "nr_sectors of the rest");
    expect_true(!read.app.done(), "the read waits for the rest");
    live.server.commit(rest.q, rest.tag, live.server.serve_from_memory(rest));
    expect_eq(4096, live.server.serve_until(read.app), "bytes read");
    expect_true(same_as_disk(live.server, *read.data), "the application got what the disk holds");
}

CASE("UBLK-DATA-RES-006", contract, "A read result that is no whole number of sectors gives no wrong data")
{
    for (const std::int32_t result : {1, 513, 4095}) {
        Driver driver;
        Live live(driver);
        number_sectors(live.server);
        auto read = read_back(live.device, 4096);
        const auto first = live.server.expect_request("the application's read");
        live.server.serve_from_memory(first);
        live.server.commit(first.q, first.tag, result);
        const long res = live.server.serve_until(read.app);
        expect_true(res < 0 || (res == 4096 && same_as_disk(live.server, *read.data)),
                    fmt::format("result {}: the read fails or brings what the disk holds", result));
    }
}

CASE("UBLK-DATA-RES-007", behaviour, "A short write counts as whole from 7.3 on; before, the rest came back")
{
    Driver driver;
    Live live(driver);
    auto held = live.hold_write();
    live.server.seen.clear();
    expect_eq(4096, live.finish(held, 1024), "bytes written");
    if (kernel_version() >= uapi::KernelVersion{7, 3}) {
        expect_eq(0U, live.server.seen.size(), "requests after the short result");
        return;
    }
    expect_eq(1U, live.server.seen.size(), "requests after the short result");
    expect_eq(2U, live.server.seen[0].desc.start_sector, "start_sector of the rest");
    expect_eq(6U, live.server.seen[0].desc.nr_sectors, "nr_sectors of the rest");
}

CASE("UBLK-DATA-RES-008", behaviour,
     "A short read without copying counts as whole from 7.3 on; before, the rest came back")
{
    Driver driver;
    Live live(driver, basic_params(), {.flags = Feature::user_copy});
    auto held = live.hold_read();
    live.server.seen.clear();
    expect_eq(4096, live.finish(held, 1024), "bytes read");
    expect_eq(kernel_version() >= uapi::KernelVersion{7, 3} ? 0U : 1U, live.server.seen.size(),
              "requests after the short result");
}

CASE("UBLK-DATA-RES-009", contract,
     "A result longer than the request counts as whole, and nothing more is copied")
{
    Driver driver;
    Live live(driver);
    for (const std::int32_t result : {4096 + 512, INT_MAX}) {
        number_sectors(live.server);
        auto read = read_back(live.device, 4096);
        const auto request = live.server.expect_request("the application's read");
        live.server.serve_from_memory(request);
        live.server.commit(request.q, request.tag, result);
        expect_eq(4096, live.server.serve_until(read.app), fmt::format("bytes read, result {}", result));
        expect_true(same_as_disk(live.server, *read.data), "the application got what the disk holds");
        auto write = live.hold_write();
        expect_eq(4096, live.finish(write, result), fmt::format("bytes written, result {}", result));
    }
}

CASE("UBLK-DATA-RES-010", contract,
     "A discard that the server does not support is no error; any other failure is")
{
    Driver driver;
    Live live(driver, discard_params());
    for (const int err : {EOPNOTSUPP, EIO, ENOSPC}) {
        answer(live.server, IoOp::discard, -err);
        auto app = app_with(live.device, O_RDWR, [](int fd) { return range_ioctl(fd, BLKDISCARD, 8192); });
        const long res = live.server.serve_until(app);
        expect_eq(1U, count_seen(live.server, IoOp::discard), "discards at the server");
        expect_eq(err == EOPNOTSUPP ? 0 : -err, res, fmt::format("BLKDISCARD answered -{}", errno_text(err)));
    }
}

CASE("UBLK-DATA-RES-011", contract,
     "Zeroing that the server does not support is done by writes, or refused for holes")
{
    Driver driver;
    Live zeroout(driver, discard_params());
    answer(zeroout.server, IoOp::write_zeroes, -EOPNOTSUPP);
    auto app = app_with(zeroout.device, O_RDWR, [](int fd) { return range_ioctl(fd, BLKZEROOUT, 8192); });
    expect_ok(zeroout.server.serve_until(app), "BLKZEROOUT");
    expect_true(count_seen(zeroout.server, IoOp::write_zeroes) > 0, "the server was asked to zero");
    expect_true(count_seen(zeroout.server, IoOp::write) > 0, "the server was then asked to write");

    Live punch(driver, discard_params()); // the refusal above has taken the first disk's ability away
    answer(punch.server, IoOp::write_zeroes, -EOPNOTSUPP);
    auto hole = app_with(punch.device, O_RDWR, [](int fd) {
        return sys(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192));
    });
    expect_error(EOPNOTSUPP, punch.server.serve_until(hole), "punching a hole");
    expect_eq(0U, count_seen(punch.server, IoOp::write), "writes");
}

CASE("UBLK-DATA-RES-012", contract, "A flush that fails fails fsync")
{
    Driver driver;
    Live live(driver, discard_params(Attr::volatile_cache));
    answer(live.server, IoOp::flush, -EIO);
    auto app = app_with(live.device, O_RDWR, [](int fd) { return sys(::fsync(fd)); });
    expect_error(EIO, live.server.serve_until(app));
    answer(live.server, IoOp::flush, 0);
    auto again = app_with(live.device, O_RDWR, [](int fd) { return sys(::fsync(fd)); });
    expect_ok(live.server.serve_until(again), "fsync when the flush works again");
}

CASE("UBLK-DATA-RES-013", contract, "An error fails every I/O that was merged into the request")
{
    constexpr unsigned parts = 4; // io_uring plugs from three on
    Driver driver;
    Live live(driver);
    auto results = std::make_shared<std::vector<long>>();
    auto app = app_with(live.device, O_RDONLY | O_DIRECT, [results](int fd) -> long {
        auto ring = ublk::wire::Ring::open({.sqe128 = false});
        const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(4096, parts * 4096),
                                                                 &std::free);
        for (unsigned i = 0; ring && i < parts; ++i)
            io_uring_prep_read(ring->sqe(), fd, static_cast<std::byte*>(buffer.get()) + i * 4096, 4096,
                               i * 4096);
        if (!ring || ring->submit() != parts)
            return -EIO;
        for (unsigned i = 0; i < parts; ++i) {
            if (const auto done = ring->wait(patience))
                results->push_back(done->res);
        }
        return results->size();
    });
    const auto request = live.server.expect_request("the merged reads");
    if (request.desc.nr_sectors != parts * 8)
        skip("the block layer did not merge the reads");
    live.server.commit(request.q, request.tag, -EIO);
    expect_eq(parts, live.server.serve_until(app), "I/Os that ended");
    for (const long res : *results)
        expect_error(EIO, res, "a merged read");
}

} // namespace conformance
