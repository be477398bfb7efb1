// UBLK-IO-COMMIT: finishing a request and giving its tag back.
#include "conformance/driver/case.hpp"
#include "conformance/driver/live.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <vector>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr auto commit = IoNr::commit_and_fetch_req;

bool filled_with(const std::vector<std::byte>& data, std::byte value)
{
    return !data.empty() && std::ranges::all_of(data, [=](std::byte b) { return b == value; });
}

} // namespace

CASE("UBLK-IO-COMMIT-001", contract, "COMMIT of a tag that was never fetched is refused")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    Server server(device);
    expect_error(EINVAL, server.io(commit, server.cmd(0, 0)), "no tag fetched");
    server.fetch(0, 0);
    expect_error(EINVAL, server.io(commit, server.cmd(0, 1)), "another tag fetched");
    server.expect_accepted(IoNr::fetch_req, server.cmd(0, 1), "FETCH afterwards");
}

CASE("UBLK-IO-COMMIT-002", contract, "COMMIT of a tag that the driver has is busy")
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 1});
    expect_error(EBUSY, live.server.io(commit, live.server.cmd(0, 0)), "no request came yet");
    auto held = live.hold_read();
    expect_eq(4096, live.finish(held, 4096), "bytes read");
    expect_error(EBUSY, live.server.io(commit, live.server.cmd(0, 0, 4096)), "a second COMMIT");
    auto again = live.hold_read();
    expect_eq(4096, live.finish(again, 4096), "bytes of the next read");
}

CASE("UBLK-IO-COMMIT-003", contract,
     "COMMIT is for the thread that fetched the tag; another's changes nothing")
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 1});
    Worker other;
    const auto by_other = [&] { return other.io(live.server.fd(), commit, live.server.cmd(0, 0, 4096)); };
    expect_error(EINVAL, by_other(), "armed tag");
    auto held = live.hold_read();
    expect_error(EINVAL, by_other(), "owned tag");
    expect_true(!held.app.done(), "the read waits for the right thread's commit");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
}

CASE("UBLK-IO-COMMIT-004", contract, "A write whose data is still to be got cannot be committed",
     needs(Feature::need_get_data))
{
    Driver driver;
    Live live(driver, basic_params(), {.flags = Feature::need_get_data});
    auto held = live.hold_write();
    const auto cmd = live.server.cmd(held.request.q, held.request.tag);
    expect_eq(uapi::io_res_need_get_data, held.request.res, "result of the write's first completion");
    auto failed = cmd;
    failed.result = -EIO;
    expect_error(EINVAL, live.server.io(commit, failed), "COMMIT with an error");
    expect_ok(live.server.io(IoNr::need_get_data, cmd), "NEED_GET_DATA");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-IO-COMMIT-005", contract,
     "COMMIT in copy mode brings a buffer; where data is got on demand, for reads only",
     needs(Feature::need_get_data))
{
    const auto no_buffer = [](Live& live, const Live::Held& held) {
        auto cmd = live.server.cmd(held.request.q, held.request.tag, 4096);
        cmd.addr = 0;
        return cmd;
    };
    for (const auto flags : {Features{}, Features(Feature::need_get_data)}) {
        Driver driver;
        Live live(driver, basic_params(), {.flags = flags});
        auto read = live.hold_read();
        expect_error(EINVAL, live.server.io(commit, no_buffer(live, read)), "a read");
        expect_eq(4096, live.finish(read, 4096), "bytes read");
        auto write = live.hold_write();
        if (flags.empty()) {
            expect_error(EINVAL, live.server.io(commit, no_buffer(live, write)), "a write");
            expect_eq(4096, live.finish(write, 4096), "bytes written");
        } else {
            const auto cmd = live.server.cmd(write.request.q, write.request.tag);
            expect_ok(live.server.io(IoNr::need_get_data, cmd), "NEED_GET_DATA");
            live.server.expect_accepted(commit, no_buffer(live, write), "a write, data on demand");
            expect_eq(4096, live.server.serve_until(write.app), "bytes written");
        }
    }
}

CASE("UBLK-IO-COMMIT-006", contract, "COMMIT without copying brings no buffer")
{
    for (const auto feature : {Feature::user_copy, Feature::support_zero_copy, Feature::auto_buf_reg}) {
        if (!offers(feature))
            continue;
        Driver driver;
        const auto device = driver.make({.queue_depth = 1, .flags = feature});
        Server server(device, {.copy_buffers = false});
        if (feature ==
            Feature::auto_buf_reg) // each request is registered in the first slot of the ring's table
            expect_ok(io_uring_register_buffers_sparse(&server.ring().raw(), 1), "a buffer table");
        server.go_live();
        auto app = App::write(device, 0, 4096, std::byte{1});
        const auto request = server.expect_request("the application's write");
        auto cmd = server.cmd(0, request.tag, 4096);
        cmd.addr = reinterpret_cast<std::uintptr_t>(&cmd);
        expect_error(EINVAL, server.io(commit, cmd), uapi::to_string(feature));
        expect_true(!app.done(), "the write waits for its commit");
        server.commit(0, request.tag, 4096);
        expect_eq(4096, server.serve_until(app), "bytes written");
    }
}

CASE("UBLK-IO-COMMIT-007", contract, "The data of a read is taken from the buffer that its COMMIT names")
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 1});
    auto first = read_back(live.device, 4096);
    live.server.expect_request("the application's read");
    std::memset(live.server.buffer(0, 0), 0xa1, 4096);
    alignas(4096) static std::byte other[4096];
    std::memset(other, 0xb2, sizeof(other));
    auto cmd = live.server.cmd(0, 0, 4096);
    cmd.addr = reinterpret_cast<std::uintptr_t>(other);
    const auto token = live.server.send(commit, cmd);
    expect_eq(4096, live.server.serve_until(first.app), "bytes read");
    expect_true(filled_with(*first.data, std::byte{0xb2}),
                "the application got what is in the COMMIT's buffer");

    auto next = App::read(live.device, 8, 4096);
    expect_ok(live.server.wait(token, patience).value_or(-ETIME), "the next request");
    expect_eq(cmd.addr, live.server.desc(0, 0).addr, "its descriptor's address");
    live.server.commit(0, 0, 4096);
    expect_eq(4096, live.server.serve_until(next), "bytes of the next read");
}

CASE("UBLK-IO-COMMIT-008", contract, "A good COMMIT is answered with the tag's next request, and not before")
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 1});
    auto held = live.hold_read(0);
    const auto token = live.server.expect_accepted(commit, live.server.cmd(0, 0, 4096), "COMMIT");
    expect_eq(4096, live.server.serve_until(held.app), "bytes read");
    auto next = App::read(live.device, 24, 4096);
    expect_ok(live.server.wait(token, patience).value_or(-ETIME), "the COMMIT's answer");
    expect_eq(24U, live.server.desc(0, 0).start_sector, "start_sector");
    live.server.commit(0, 0, 4096);
    expect_eq(4096, live.server.serve_until(next), "bytes of the next read");
}

CASE("UBLK-IO-COMMIT-009", contract,
     "The tag's thread may commit through another ring; the answer comes there")
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 1});
    auto ring = ublk::wire::Ring::open({.sqe128 = false});
    expect_true(ring.has_value(), "a second ring opens");
    const auto commit_there = [&](std::uint64_t token) {
        ublk::wire::prep_io(*ring->sqe(), live.server.fd(), uapi::opcode(commit), live.server.cmd(0, 0, 4096),
                            token);
        expect_eq(1, ring->submit(), "entries taken");
    };
    auto held = live.hold_read();
    commit_there(1);
    expect_eq(4096, live.server.serve_until(held.app), "bytes read");
    auto next = App::read(live.device, 8, 4096);
    const auto done = ring->wait(patience);
    expect_true(done.has_value(), "the next request comes to the second ring");
    expect_ok(done->res, "its completion");
    commit_there(2);
    expect_eq(4096, live.server.serve_until(next), "bytes of the next read");
}

CASE("UBLK-IO-COMMIT-010", behaviour,
     "A COMMIT finishes the application's request before its submission returns")
{
    Driver driver;
    Live live(driver);
    for (int round = 0; round < 8; ++round) {
        auto held = live.hold_read();
        const auto counts = [&] {
            unsigned reads = ~0U, writes = ~0U;
            std::sscanf(live.device.sysfs("inflight").c_str(), "%u %u", &reads, &writes);
            return reads;
        };
        expect_eq(1U, counts(), "reads in flight before the COMMIT");
        live.server.commit(held.request.q, held.request.tag, 4096);
        expect_eq(0U, counts(), "reads in flight after the COMMIT");
        expect_eq(4096, live.server.serve_until(held.app), "bytes read");
    }
}

} // namespace conformance
