// UBLK-CTRL-DEL: deleting a device, at once, waiting, or without waiting.
#include "conformance/driver/case.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <fcntl.h>
#include <optional>
#include <unistd.h>

namespace conformance {

namespace {

// The effective identity of this process, with root to come back to.
void act_as(unsigned id)
{
    if (::seteuid(0) != 0 || ::setegid(id) != 0 || ::seteuid(id) != 0)
        fail("acting as another user", errno_text(errno));
}

} // namespace

CASE("UBLK-CTRL-DEL-001", contract,
     "DEL_DEV of a device that was never started removes its node and frees its id at once")
{
    Driver driver;
    const auto device = driver.make();
    expect_true(device.has_char_node(), "ublkcN exists after ADD_DEV");
    expect_ok(device.del());
    expect_true(!device.has_char_node(), "ublkcN is gone after DEL_DEV");
    expect_ok(driver.add({.dev_id = device.id()}), "ADD_DEV of the same id");
}

CASE("UBLK-CTRL-DEL-002", contract, "DEL_DEV of a live device stops it first, and waits as STOP_DEV does")
{
    Driver driver;
    const auto device = driver.make();
    std::optional<Server> server(std::in_place, device);
    server->go_live();
    auto app = App::read(device, 0, 4096);
    const auto request = server->expect_request("the read");
    Pending del = device.begin_del();
    del.expect_pending("DEL_DEV while the server holds a request");
    expect_true(!app.done(), "the read waits for the server");
    server->commit(request.q, request.tag, 4096);
    expect_eq(4096, server->serve_until(app), "bytes read");
    expect_true(server->serve_until([&] { return !device.has_disk(); }), "the disk goes");
    server.reset();
    expect_ok(del.result(), "DEL_DEV after the server ended");
}

CASE("UBLK-CTRL-DEL-003", contract, "DEL_DEV waits until neither ublkcN nor ublkbN is open any more")
{
    Driver driver;
    {
        const auto device = driver.make();
        Fd bystander = device.open_char_soon(O_RDONLY);
        Pending del = device.begin_del();
        del.expect_pending("DEL_DEV while ublkcN is open");
        bystander.reset();
        expect_ok(del.result(), "DEL_DEV after the last close of ublkcN");
    }
    const auto device = driver.make();
    std::optional<Server> server(std::in_place, device);
    server->go_live();
    Fd application = open_block(*server, O_RDONLY);
    Pending del = device.begin_del();
    expect_true(server->serve_until([&] { return !device.has_disk(); }), "the disk goes");
    server.reset();
    del.expect_pending("DEL_DEV while ublkbN is open");
    application.reset();
    expect_ok(del.result(), "DEL_DEV after the last close of ublkbN");
}

CASE("UBLK-CTRL-DEL-004", contract,
     "An interrupted DEL_DEV returns EINTR, and the deletion goes on without it")
{
    Driver driver;
    const auto device = driver.make();
    Fd bystander = device.open_char_soon(O_RDWR);
    Pending del = device.begin_del();
    del.expect_pending("DEL_DEV while ublkcN is open");
    del.cancel();
    expect_error(EINTR, del.result(), "the cancelled DEL_DEV");
    expect_true(!device.has_char_node(), "ublkcN stays gone");
    expect_error(EEXIST, driver.add({.dev_id = device.id()}), "ADD_DEV of the id that is still in use");
    bystander.reset();
    expect_true(eventually([&] { return driver.add({.dev_id = device.id()}) == 0; }),
                "the id is free again after the last close");
}

CASE("UBLK-CTRL-DEL-005", contract,
     "A second DEL_DEV waits for the first one's end, and GET_DEV_INFO answers until then")
{
    Driver driver;
    const auto device = driver.make();
    Fd bystander = device.open_char_soon(O_RDWR);
    Pending first = device.begin_del();
    first.expect_pending("the first DEL_DEV");
    Pending second = device.begin_del();
    second.expect_pending("the second DEL_DEV");
    expect_true(device.state() == DevState::dead, "GET_DEV_INFO says DEAD");
    bystander.reset();
    expect_ok(first.result(), "the first DEL_DEV");
    expect_ok(second.result(), "the second DEL_DEV");
}

CASE("UBLK-CTRL-DEL-006", contract, "After the end of a device each command for its id is answered ENODEV")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.del());
    alignas(8) std::byte buffer[256] = {};
    for (const auto nr :
         {CtrlNr::get_queue_affinity, CtrlNr::get_dev_info, CtrlNr::del_dev, CtrlNr::start_dev,
          CtrlNr::stop_dev, CtrlNr::set_params, CtrlNr::get_params, CtrlNr::start_user_recovery,
          CtrlNr::end_user_recovery, CtrlNr::get_dev_info2, CtrlNr::del_dev_async, CtrlNr::update_size,
          CtrlNr::quiesce_dev, CtrlNr::try_stop_dev, CtrlNr::reg_buf, CtrlNr::unreg_buf})
        expect_error(ENODEV, driver.control(nr, device.cmd(buffer, sizeof(buffer), 1)),
                     fmt::format("command 0x{:02x}", static_cast<unsigned>(nr)));
}

CASE("UBLK-CTRL-DEL-007", contract,
     "DEL_DEV_ASYNC does not wait for the last close, and the id stays taken until then")
{
    Driver driver;
    const auto device = driver.make();
    Fd bystander = device.open_char_soon(O_RDWR);
    expect_ok(device.control(CtrlNr::del_dev_async), "DEL_DEV_ASYNC while ublkcN is open");
    expect_error(EEXIST, driver.add({.dev_id = device.id()}), "ADD_DEV of the same id");
    bystander.reset();
    expect_true(eventually([&] { return driver.add({.dev_id = device.id()}) == 0; }),
                "the id is free again after the last close");
}

CASE("UBLK-CTRL-DEL-008", contract,
     "DEL_DEV_ASYNC waits for requests that the server holds, as STOP_DEV does")
{
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.go_live();
    auto app = App::read(device, 0, 4096);
    const auto request = server.expect_request("the read");
    Pending del = device.begin(CtrlNr::del_dev_async);
    del.expect_pending("DEL_DEV_ASYNC while the server holds a request");
    server.commit(request.q, request.tag, 4096);
    expect_ok(server.serve_until(del), "DEL_DEV_ASYNC while ublkcN is still open");
    expect_eq(4096, server.serve_until(app), "bytes read");
}

CASE("UBLK-CTRL-DEL-009", behaviour,
     "DEL_DEV_ASYNC is refused with EINVAL for an unprivileged device, where DEL_DEV works",
     needs(Feature::unprivileged_dev))
{
    Child owner([](Child&) {
        Driver driver;
        act_as(1000);
        const auto device = driver.make({.flags = Feature::unprivileged_dev});
        const auto path = device.char_path();
        act_as(0);
        expect_ok(sys(::chown(path.c_str(), 1000, 1000)), "giving ublkcN to its owner, as udev does");
        act_as(1000);
        auto cmd = device.cmd(path.data(), path.size());
        cmd.dev_path_len = static_cast<std::uint16_t>(path.size());
        expect_error(EINVAL, driver.control(CtrlNr::del_dev_async, cmd), "DEL_DEV_ASYNC by the owner");
        expect_ok(driver.control(CtrlNr::del_dev, cmd), "DEL_DEV by the owner");
        return 0;
    });
    expect_eq(0, owner.join(), "exit of the owner's process");
}

CASE("UBLK-CTRL-DEL-010", contract, "A deleted device takes no more FETCH, and its node does not open again")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    Server server(device);
    const auto armed = server.send(IoNr::fetch_req, server.cmd(0, 0));
    Pending del = device.begin_del();
    expect_error(ENODEV, server.wait(armed, patience).value_or(0), "the armed FETCH");
    if (fixed_in({{7, 3, 4}})) {
        expect_error(ENODEV, server.io(IoNr::fetch_req, server.cmd(0, 0)), "FETCH of that tag");
        expect_error(ENODEV, server.io(IoNr::fetch_req, server.cmd(0, 1)), "FETCH of another tag");
    } else {
        // Before 7.3.4 a tag that was never fetched is still accepted, and stays out.
        expect_any_error({EBUSY, EINVAL, ENODEV}, server.io(IoNr::fetch_req, server.cmd(0, 0)),
                         "FETCH of that tag");
    }
    long reopened = 0;
    eventually([&] {
        reopened = sys(::open(device.char_path().c_str(), O_RDWR | O_CLOEXEC));
        return reopened != -EBUSY;
    });
    expect_any_error({ENOENT, ENXIO}, reopened, "opening ublkcN by its path");
    expect_true(!del.done(), "DEL_DEV waits for ublkcN");
}

CASE("UBLK-CTRL-DEL-011", contract, "DEL_DEV gives each armed command back with ENODEV")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2, .queue_depth = 5});
    std::optional<Server> server(std::in_place, device);
    server->go_live();
    Pending del = device.begin_del();
    expect_true(server->serve_until([&] { return server->aborted() == device.queues() * device.depth(); }),
                "all FETCHes come back with ENODEV");
    server.reset();
    expect_ok(del.result(), "DEL_DEV");
}

CASE("UBLK-CTRL-DEL-012", behaviour,
     "A DEL_DEV that waits for a server holds up ADD_DEV and DEL_DEV of all other devices")
{
    Driver driver;
    const auto slow = driver.make();
    const auto other = driver.make();
    std::optional<Server> server(std::in_place, slow);
    server->go_live();
    auto app = App::read(slow, 0, 4096);
    const auto request = server->expect_request("the read");
    Pending del_slow = slow.begin_del();
    del_slow.expect_pending("DEL_DEV while the server holds a request");
    Pending del_other = other.begin_del();
    // Under an id of its own: DEL_DEV waits until its id is free, and with the lowest free one, which is that
    // of the device just deleted, ADD_DEV can be quicker than the look at it.
    constexpr std::uint32_t id = 77;
    auto info = to_info({.dev_id = id});
    Pending add =
        driver.begin(CtrlNr::add_dev,
                     {.dev_id = id, .len = sizeof(info), .addr = reinterpret_cast<std::uintptr_t>(&info)});
    del_other.expect_pending("DEL_DEV of another device");
    add.expect_pending("ADD_DEV of another device");
    server->commit(request.q, request.tag, 4096);
    expect_ok(server->serve_until(del_other), "DEL_DEV of another device, after the commit");
    expect_ok(server->serve_until(add), "ADD_DEV, after the commit");
    expect_eq(4096, server->serve_until(app), "bytes read");
    server.reset();
    expect_ok(del_slow.result(), "DEL_DEV");
    expect_ok(driver.del(id), "DEL_DEV of the added device");
}

} // namespace conformance
