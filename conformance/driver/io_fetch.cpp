// UBLK-IO-FETCH: giving a tag to the driver.
#include "conformance/driver/case.hpp"
#include "conformance/driver/live.hpp"

#include <climits>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

bool at_least(unsigned major, unsigned minor)
{
    return kernel_version() >= uapi::KernelVersion{major, minor};
}

IoCmd with_addr(IoCmd cmd, std::uint64_t addr)
{
    cmd.addr = addr;
    return cmd;
}

// FETCH of the only tag of a new device of this kind. (6.12 warns of a server that goes with its queue half
// fetched, which is no matter of these cases: they fetch whole queues.)
void expect_fetch_takes(Features flags, std::uint64_t good_addr, std::uint64_t bad_addr,
                        Where where = Where::current())
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1, .flags = flags});
    Server server(device);
    const auto kind = uapi::to_string(flags);
    expect_error(EINVAL, server.io(IoNr::fetch_req, with_addr(server.cmd(0, 0), bad_addr)),
                 fmt::format("{}, address {:#x}", kind, bad_addr), where);
    server.expect_accepted(IoNr::fetch_req, with_addr(server.cmd(0, 0), good_addr),
                           fmt::format("{}, address {:#x}", kind, good_addr), where);
}

} // namespace

CASE("UBLK-IO-FETCH-001", contract,
     "An accepted FETCH is answered when a request or the end comes, not before")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    Server server(device);
    server.expect_accepted(IoNr::fetch_req, server.cmd(0, 0), "FETCH before START_DEV");
    server.close();

    Live live(driver, basic_params(), {.queue_depth = 1});
    expect_true(!live.server.next(settle).has_value(), "no completion on an idle device");
    auto held = live.hold_read();
    expect_eq(0, held.request.res, "result of the completion");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
    expect_true(!live.server.next(settle).has_value(), "no completion after the commit");
    auto stop = live.device.begin(CtrlNr::stop_dev);
    const auto aborted = live.server.next(patience);
    expect_true(aborted.has_value(), "STOP_DEV gives the tag back");
    expect_error(ENODEV, aborted->res, "the tag at STOP_DEV");
    expect_ok(stop.result(), "STOP_DEV");
}

CASE("UBLK-IO-FETCH-002", contract,
     "FETCH in copy mode brings a buffer, unless the server gets data on demand")
{
    std::uint64_t word = 0;
    const auto addr = reinterpret_cast<std::uintptr_t>(&word);
    expect_fetch_takes({}, addr, 0);
    Driver driver;
    const auto device = driver.make({.queue_depth = 2, .flags = Feature::need_get_data});
    Server server(device);
    server.expect_accepted(IoNr::fetch_req, with_addr(server.cmd(0, 0), 0), "NEED_GET_DATA, no buffer");
    server.expect_accepted(IoNr::fetch_req, server.cmd(0, 1), "NEED_GET_DATA, a buffer");
}

CASE("UBLK-IO-FETCH-003", contract, "FETCH without copying brings no buffer")
{
    std::uint64_t word = 0;
    const auto addr = reinterpret_cast<std::uintptr_t>(&word);
    for (const auto feature : {Feature::user_copy, Feature::support_zero_copy, Feature::auto_buf_reg}) {
        if (offers(feature))
            expect_fetch_takes(feature, 0, addr);
    }
}

CASE("UBLK-IO-FETCH-004", contract, "FETCH does not look at the buffer")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    Server server(device);
    const GuardedPages pages;
    server.expect_accepted(IoNr::fetch_req, with_addr(server.cmd(0, 0), 1), "address 1");
    server.expect_accepted(IoNr::fetch_req,
                           with_addr(server.cmd(0, 1), reinterpret_cast<std::uintptr_t>(pages.end())),
                           "an address that faults");
}

CASE("UBLK-IO-FETCH-005", contract, "FETCH of an armed tag is refused while the device is not ready")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.fetch(0, 0);
    expect_error(at_least(6, 17) ? EINVAL : EBUSY, server.io(IoNr::fetch_req, server.cmd(0, 0)));
    server.fetch(0, 1);
    auto start = device.begin_start();
    expect_ok(server.serve_until(start), "START_DEV with the first FETCH still in force");
}

CASE("UBLK-IO-FETCH-006", contract,
     "FETCH is busy once all queues are fetched; before, it is invalid on an armed tag")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2});
    if (device.queues() < 2)
        skip("needs two queues, so two processors");
    Server server(device);
    for (unsigned tag = 0; tag < device.depth(); ++tag)
        server.fetch(0, tag);
    // Up to 6.17 only the queue's own tags count.
    expect_error(at_least(6, 18) ? EINVAL : EBUSY, server.io(IoNr::fetch_req, server.cmd(0, 0)),
                 "its own queue complete, the other not");
    for (unsigned tag = 0; tag < device.depth(); ++tag)
        server.fetch(1, tag);
    for (const unsigned q : {0, 1})
        expect_error(EBUSY, server.io(IoNr::fetch_req, server.cmd(q, 0)), "both queues complete");
}

CASE("UBLK-IO-FETCH-007", contract, "FETCH after STOP_DEV is told that the device is gone")
{
    Driver driver;
    Live live(driver);
    auto stop = live.device.begin(CtrlNr::stop_dev);
    expect_ok(live.server.serve_until(stop), "STOP_DEV");
    const auto err = fixed_in({{7, 3, 4}}) ? ENODEV : EBUSY;
    for (unsigned tag = 0; tag < live.device.depth(); ++tag)
        expect_error(err, live.server.io(IoNr::fetch_req, live.server.cmd(0, tag)),
                     fmt::format("tag {}", tag));
}

CASE("UBLK-IO-FETCH-008", contract, "FETCH of a tag that the server owns is refused, and the request stays")
{
    Driver driver;
    Live live(driver);
    auto held = live.hold_read();
    expect_error(EBUSY, live.server.io(IoNr::fetch_req, live.server.cmd(held.request.q, held.request.tag)));
    expect_true(!held.app.done(), "the read waits for its commit");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
}

CASE("UBLK-IO-FETCH-009", contract, "Tags may be fetched before the parameters are set")
{
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.fetch_all();
    expect_true(!server.next(settle).has_value(), "the FETCHes stay out");
    expect_ok(device.set_params(basic_params()));
    auto start = device.begin_start();
    expect_ok(server.serve_until(start), "START_DEV");
}

CASE("UBLK-IO-FETCH-010", contract, "Whoever has the file may FETCH, and its thread then serves the tag")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    Server server(device);
    Worker other;
    const auto by_other = [&](IoNr nr, unsigned tag, Millis limit = patience) {
        return other.io(server.fd(), nr, server.cmd(0, tag), limit);
    };
    const auto by_us = [&](unsigned tag) {
        return server.io(IoNr::commit_and_fetch_req, server.cmd(0, tag));
    };
    expect_error(ETIME, by_other(IoNr::fetch_req, 0, settle), "FETCH by another thread, within its limit");
    server.fetch(0, 1);
    // Who serves an armed tag is told that it is busy, anybody else that it is not his. Without
    // PER_IO_DAEMON the thread of the last FETCH serves the queue.
    const bool per_tag = offers(Feature::per_io_daemon);
    expect_error(EBUSY, by_us(1), "our COMMIT of our tag");
    expect_error(EINVAL, by_other(IoNr::commit_and_fetch_req, 1), "the other's COMMIT of our tag");
    expect_error(per_tag ? EINVAL : EBUSY, by_us(0), "our COMMIT of the other's tag");
    expect_error(per_tag ? EBUSY : EINVAL, by_other(IoNr::commit_and_fetch_req, 0),
                 "the other's COMMIT of its tag");
    expect_ok(device.stop(), "STOP_DEV"); // gives both tags back before either thread ends
}

CASE("UBLK-IO-FETCH-011", contract,
     "Tags are fetched in any order, and START_DEV waits for exactly all of them")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    auto start = device.begin_start();
    start.expect_pending("START_DEV without any tag");
    for (unsigned tag = device.depth(); tag-- > 1;) {
        for (unsigned q = device.queues(); q-- > 0;)
            server.fetch(q, tag);
    }
    for (unsigned q = 1; q < device.queues(); ++q)
        server.fetch(q, 0);
    start.expect_pending("START_DEV with one tag missing");
    server.fetch(0, 0);
    expect_ok(server.serve_until(start), "START_DEV with all tags");
}

CASE("UBLK-IO-FETCH-012", contract, "FETCH ignores the result field")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 3});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    unsigned tag = 0;
    for (const std::int32_t result : {-1, INT_MIN, INT_MAX})
        server.expect_accepted(IoNr::fetch_req, server.cmd(0, tag++, result),
                               fmt::format("result {}", result));
    device.begin_start();
    expect_true(eventually([&] { return device.has_disk(); }), "the device is ready and START_DEV goes on");
}

} // namespace conformance
