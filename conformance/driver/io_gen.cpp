// UBLK-IO-GEN: what holds for every I/O command.
#include "conformance/driver/case.hpp"
#include "conformance/driver/live.hpp"

#include <functional>
#include <optional>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr std::uint32_t unknown_op =
    uapi::encode_opcode(uapi::Direction::read_write, uapi::opcode_type_ublk, 0x30, sizeof(IoCmd));

// Server::send() with IOSQE_ASYNC.
std::uint64_t send_async(Server& server, IoNr nr, const IoCmd& cmd, std::uint64_t token)
{
    io_uring_sqe* sqe = server.ring().sqe();
    ublk::wire::prep_io(*sqe, server.fd(), uapi::opcode(nr), cmd, token);
    sqe->flags |= IOSQE_ASYNC;
    if (const int res = server.ring().submit(); res < 0)
        fail("io_uring_enter takes the command", result_text(res));
    return token;
}

// Serves queue 0, tag 0 until `done`: whenever the command `token` completes with a request, `send` commits
// it and returns the next token.
bool serve_tag(Server& server, std::uint64_t token, const std::function<std::uint64_t(const IoCmd&)>& send,
               const std::function<bool()>& done)
{
    return server.serve_until([&] {
        if (server.wait(token, 0ms) == 0L)
            token = send(server.cmd(0, 0, server.desc(0, 0).nr_sectors * uapi::sector_size));
        return done();
    });
}

// START_DEV, then a read by an application, served as serve_tag() does.
void start_and_read(Server& server, std::uint64_t token,
                    const std::function<std::uint64_t(const IoCmd&)>& send)
{
    std::optional<App> app;
    auto start = server.device().begin_start();
    expect_true(serve_tag(server, token, send,
                          [&] {
                              if (!app && start.done())
                                  app.emplace(App::read(server.device(), 0, 4096));
                              return app && app->done();
                          }),
                "START_DEV and the application's read complete");
    expect_ok(start.result(), "START_DEV");
    expect_eq(4096, app->result(), "bytes read");
}

} // namespace

CASE("UBLK-IO-GEN-001", contract, "I/O commands fit 64-byte submission entries")
{
    Driver driver;
    Live live(driver);
    expect_true(!live.server.ring().sqe128(), "the server's ring has small entries");
    auto held = live.hold_read();
    expect_eq(4096, live.finish(held, 4096), "bytes read");
}

CASE("UBLK-IO-GEN-002", contract, "An opcode of another type than ublk's is not supported")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    Server server(device);
    for (const char type : {'t', 'v', '\xff'}) {
        const auto op = uapi::encode_opcode(uapi::Direction::read_write, type,
                                            static_cast<std::uint32_t>(IoNr::fetch_req), sizeof(IoCmd));
        expect_error(EOPNOTSUPP, server.io(op, server.cmd(0, 0)));
    }
    server.expect_accepted(IoNr::fetch_req, server.cmd(0, 0), "FETCH of ublk's own type");
}

CASE("UBLK-IO-GEN-003", contract, "A queue or a tag that the device does not have is refused")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2, .queue_depth = 1});
    Server server(device);
    for (const auto nr : {IoNr::fetch_req, IoNr::commit_and_fetch_req}) {
        auto cmd = server.cmd(0, 0);
        for (const unsigned q : {device.queues(), uapi::max_nr_queues, 0xffffU}) {
            cmd.q_id = q;
            expect_error(EINVAL, server.io(nr, cmd), fmt::format("queue {}", q));
        }
        cmd.q_id = device.queues() - 1;
        for (const unsigned tag : {device.depth(), uapi::max_queue_depth, 0xffffU}) {
            cmd.tag = tag;
            expect_error(EINVAL, server.io(nr, cmd), fmt::format("tag {}", tag));
        }
    }
    server.expect_accepted(IoNr::fetch_req, server.cmd(device.queues() - 1, device.depth() - 1),
                           "FETCH of the last tag");
}

CASE("UBLK-IO-GEN-004", behaviour,
     "An unknown command is invalid, or met with busy where the driver has the tag")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    Server server(device);
    expect_error(EINVAL, server.io(unknown_op, server.cmd(0, 0)), "unfetched");
    server.go_live();
    auto app = App::read(device, 0, 4096);
    const auto request = server.expect_request("the application's read");
    expect_error(EINVAL, server.io(unknown_op, server.cmd(0, request.tag)), "owned");
    expect_error(EBUSY, server.io(unknown_op, server.cmd(0, 1 - request.tag)), "armed");
    server.commit(0, request.tag, 4096);
    expect_eq(4096, server.serve_until(app), "bytes read");
}

CASE("UBLK-IO-GEN-005", behaviour,
     "The opcode's number alone selects the command; direction and size do not matter")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    Server server(device);
    expect_ok(device.set_params(basic_params()));
    const auto op = [](IoNr nr) {
        return uapi::encode_opcode(uapi::Direction::none, uapi::opcode_type_ublk,
                                   static_cast<std::uint32_t>(nr), 5);
    };
    const auto fetch = server.send(op(IoNr::fetch_req), server.cmd(0, 0));
    start_and_read(server, fetch,
                   [&](const IoCmd& cmd) { return server.send(op(IoNr::commit_and_fetch_req), cmd); });
}

CASE("UBLK-IO-GEN-006", contract, "Commands that io_uring is told to run asynchronously work as any other")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    Server server(device);
    expect_ok(device.set_params(basic_params()));
    std::uint64_t token = 1ULL << 40; // apart from the Server's own
    const auto send = [&](IoNr nr, const IoCmd& cmd) { return send_async(server, nr, cmd, ++token); };
    const auto fetch = send(IoNr::fetch_req, server.cmd(0, 0));
    start_and_read(server, fetch, [&](const IoCmd& cmd) { return send(IoNr::commit_and_fetch_req, cmd); });
    const auto again = send(IoNr::fetch_req, server.cmd(0, 0));
    expect_error(EBUSY, server.wait(again, patience).value_or(0), "FETCH of the armed tag");
}

CASE("UBLK-IO-GEN-007", contract,
     "A command that is refused leaves the tag as it was: the right one then works")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    Server server(device);
    const auto refuse_all = [&](std::string_view state) {
        auto no_buffer = server.cmd(0, 0);
        no_buffer.addr = 0;
        auto no_tag = server.cmd(0, 0);
        no_tag.tag = 1;
        for (const auto nr : {IoNr::fetch_req, IoNr::commit_and_fetch_req}) {
            expect_true(server.io(nr, no_buffer) < 0, fmt::format("{}: refused without a buffer", state));
            expect_true(server.io(nr, no_tag) < 0, fmt::format("{}: refused with a wrong tag", state));
        }
        expect_true(server.io(unknown_op, server.cmd(0, 0)) < 0, fmt::format("{}: unknown refused", state));
        expect_true(server.io(IoNr::need_get_data, server.cmd(0, 0)) < 0,
                    fmt::format("{}: NEED_GET_DATA refused", state));
    };
    refuse_all("unfetched");
    server.go_live();
    refuse_all("armed");
    auto app = App::write(device, 8, 4096, std::byte{0x3e});
    const auto request = server.expect_request("the application's write");
    refuse_all("owned");
    expect_true(!app.done(), "the write waits for its commit");
    expect_true(*server.buffer(0, 0) == std::byte{0x3e}, "the server got the data");
    server.commit(0, request.tag, 4096);
    expect_eq(4096, server.serve_until(app), "bytes written");
}

} // namespace conformance
