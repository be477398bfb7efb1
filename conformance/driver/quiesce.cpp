// UBLK-QUIESCE: ending a living server without a failed request.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"
#include "conformance/driver/shmem_verbs.hpp"

#include <algorithm>
#include <span>

namespace conformance {

namespace {

constexpr auto can_quiesce = Feature::quiesce;
constexpr std::uint64_t no_limit = 0; // of the wait for a command to tell the server by

Features quiescent(Features flavour)
{
    return flavour | can_quiesce;
}

std::vector<Flavour> two_flavours()
{
    return {{waiting, DevState::quiesced, "USER_RECOVERY"},
            {failing, DevState::fail_io, "USER_RECOVERY_FAIL_IO"}};
}

long quiesce(Server& server, std::uint64_t milliseconds = no_limit, Where where = Where::current())
{
    return control_served(server, CtrlNr::quiesce_dev, milliseconds, where);
}

} // namespace

CASE("UBLK-QUIESCE-001", contract, "QUIESCE_DEV is not supported on a device that was made without the flag",
     needs(can_quiesce))
{
    Driver driver;
    const auto device = driver.make({.flags = waiting});
    expect_error(EOPNOTSUPP, device.control(CtrlNr::quiesce_dev), "never started");
    Server server(device);
    server.go_live();
    expect_error(EOPNOTSUPP, quiesce(server), "live");
    expect_true(!server.next(settle), "the server keeps its commands");
}

CASE("UBLK-QUIESCE-002", contract, "QUIESCE_DEV of a device without a disk is refused with ENODEV",
     needs(can_quiesce))
{
    Driver driver;
    const auto device = driver.make({.flags = quiescent(waiting)});
    expect_error(ENODEV, device.control(CtrlNr::quiesce_dev), "never started");
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory().resize(8192 * ublk::uapi::sector_size);
    server.fetch_all();
    expect_error(ENODEV, device.control(CtrlNr::quiesce_dev), "with a server, not started");
    expect_true(!server.next(settle), "the server keeps its commands");
    expect_ok(control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())), "START_DEV");
    expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV");
    expect_error(ENODEV, device.control(CtrlNr::quiesce_dev), "stopped");
}

CASE("UBLK-QUIESCE-003", contract, "QUIESCE_DEV of a device that has no server works, and changes nothing",
     needs(can_quiesce))
{
    Driver driver;
    for (const auto& flavour : two_flavours()) {
        Mortal mortal(driver, {.flags = quiescent(flavour.flags)});
        mortal.lose_server(flavour.without_server);
        expect_ok(mortal.device.control(CtrlNr::quiesce_dev), flavour.name);
        expect_ok(mortal.device.control(CtrlNr::quiesce_dev), fmt::format("{}, again", flavour.name));
        expect_true(mortal.device.state() == flavour.without_server,
                    fmt::format("the state stays, {}", flavour.name));
        recover(mortal.device, mortal.server);
        auto read = App::read(mortal.device, 0, 4096);
        expect_eq(4096, mortal.server->serve_until(read), "bytes read after a recovery");
    }
}

CASE("UBLK-QUIESCE-004", contract,
     "QUIESCE_DEV gives a live server its commands back with ENODEV; the state is LIVE until it has let go",
     needs(can_quiesce))
{
    Driver driver;
    for (const auto& flavour : two_flavours()) {
        Mortal mortal(driver, {.nr_hw_queues = 2, .queue_depth = 3, .flags = quiescent(flavour.flags)});
        Server& server = *mortal.server;
        expect_ok(quiesce(server), flavour.name);
        expect_true(server.serve_until([&] { return server.aborted() == 6; }),
                    fmt::format("all FETCHes come back with ENODEV, {}", flavour.name));
        expect_true(!eventually([&] { return mortal.device.state() != DevState::live; }, settle),
                    fmt::format("LIVE while ublkcN is open, {}", flavour.name));
        expect_true(mortal.device.has_disk(), "ublkbN stays");
        mortal.lose_server(flavour.without_server);
    }
}

CASE("UBLK-QUIESCE-005", contract,
     "After QUIESCE_DEV new I/O waits, or fails if the device fails I/O; what the server has it may finish",
     needs(can_quiesce))
{
    Driver driver;
    for (const auto& flavour : two_flavours()) {
        Mortal mortal(driver, {.queue_depth = 2, .flags = quiescent(flavour.flags)});
        Server& server = *mortal.server;
        const auto held = hold(server, read_back(mortal.device, 4096).app);
        expect_ok(quiesce(server), flavour.name);
        expect_true(server.serve_until([&] { return server.aborted() == 1; }), "the armed tag comes back");
        const auto later = App::read(mortal.device, 8, 4096);
        if (flavour.without_server == DevState::fail_io)
            expect_error(EIO, result_soon(later, "a read"), "a read after QUIESCE_DEV");
        else
            expect_waits(server, later, "a read after QUIESCE_DEV");
        expect_true(!held.app.done(), "the read that the server has is neither failed nor done");
        server.commit(held.request.q, held.request.tag, 4096);
        expect_eq(4096, result_soon(held.app, "the read that the server had"), "its bytes");
        mortal.lose_server(flavour.without_server);
        if (flavour.without_server == DevState::fail_io) {
            const auto last = App::read(mortal.device, 8, 4096);
            expect_error(EREMOTEIO, result_soon(last, "a read"), "a read after the server's end");
        } else {
            expect_waits(later, "the read, after the server's end");
            expect_ok(mortal.device.stop(), "STOP_DEV");
            expect_error(EIO, result_soon(later, "the read"), "the read, after STOP_DEV");
        }
    }
}

CASE("UBLK-QUIESCE-006", contract,
     "A quiesced server that commits what it has and leaves, and the next one that recovers, fail no I/O",
     needs(can_quiesce))
{
    Driver driver;
    for (const Features flags : {waiting, reissuing}) {
        Mortal mortal(driver, {.queue_depth = 2, .flags = quiescent(flags)});
        auto held = hold(*mortal.server, write_data(mortal.device, pattern(4096, 1), 0));
        expect_ok(quiesce(*mortal.server), "QUIESCE_DEV");
        std::vector<App> later;
        for (unsigned i = 1; i <= 4; ++i)
            later.push_back(write_data(mortal.device, pattern(4096, 1 + i), 8 * i));
        mortal.server->commit(held.request.q, held.request.tag, 4096);
        expect_eq(4096, mortal.server->serve_until(held.app), "bytes of the held write");
        mortal.lose_server(DevState::quiesced);
        recover(mortal.device, mortal.server);
        for (auto& write : later)
            expect_eq(4096, mortal.server->serve_until(write), "bytes of a write that waited");
        for (unsigned i = 1; i <= 4; ++i) {
            const auto at = mortal.server->memory().begin() + 4096 * i;
            expect_true(std::ranges::equal(pattern(4096, 1 + i), std::span(at, 4096)), "its data");
        }
        expect_eq(4U, count_seen(*mortal.server, IoOp::write), "writes at the next server");
    }
}

CASE("UBLK-QUIESCE-007", contract,
     "QUIESCE_DEV ends with EBUSY after its timeout while the server has every tag of a queue",
     needs(can_quiesce))
{
    Driver driver;
    Mortal mortal(driver, {.queue_depth = 1, .flags = quiescent(waiting)});
    auto held = hold(*mortal.server, App::read(mortal.device, 0, 4096));
    Pending busy = mortal.device.begin(CtrlNr::quiesce_dev, 500);
    expect_error(EBUSY, busy.result(), "QUIESCE_DEV with nothing to tell the server by");
}

CASE("UBLK-QUIESCE-008", contract, "A timeout of more than 32 bits is a long one", needs(can_quiesce))
{
    Driver driver;
    Mortal mortal(driver, {.flags = quiescent(waiting)});
    expect_ok(quiesce(*mortal.server, std::uint64_t{1} << 32), "QUIESCE_DEV of a server that has no request");
}

CASE("UBLK-QUIESCE-009", contract, "A QUIESCE_DEV that fails leaves the device as it was", needs(can_quiesce))
{
    Driver driver;
    Mortal mortal(driver, {.queue_depth = 2, .flags = quiescent(waiting)});
    if (quiesce(*mortal.server, std::uint64_t{1} << 32) == 0)
        skip("needs a QUIESCE_DEV that fails, and where 32 bits of timeout count this one does not");
    expect_true(!mortal.server->next(settle), "the server keeps its commands");
    auto read = App::read(mortal.device, 0, 4096);
    expect_eq(4096, mortal.server->serve_until(read), "bytes read");
}

CASE("UBLK-QUIESCE-010", behaviour, "A QUIESCE_DEV that was interrupted before its wait ends with EINTR",
     needs(can_quiesce | Feature::shmem_zc))
{
    // REG_BUF waits for the request that is held, and QUIESCE_DEV for REG_BUF.
    Driver driver;
    Mortal mortal(driver, {.queue_depth = 2, .flags = quiescent(waiting) | Feature::shmem_zc});
    auto held = hold(*mortal.server, App::read(mortal.device, 0, 4096));
    SharedPages pages(1);
    ublk::uapi::ShmemBufReg reg{.addr = reinterpret_cast<std::uintptr_t>(pages.map()), .len = pages.bytes()};
    Pending blocker = driver.begin(CtrlNr::reg_buf, mortal.device.cmd(&reg, sizeof(reg)));
    blocker.expect_pending("REG_BUF while a request is out");
    Pending waits = mortal.device.begin(CtrlNr::quiesce_dev, no_limit);
    waits.expect_pending("QUIESCE_DEV behind REG_BUF");
    waits.cancel();
    mortal.server->commit(held.request.q, held.request.tag, 4096);
    expect_error(EINTR, mortal.server->serve_until(waits), "the interrupted QUIESCE_DEV");
    expect_ok(mortal.server->serve_until(blocker), "REG_BUF");
}

CASE("UBLK-QUIESCE-015", contract,
     "QUIESCE_DEV of a device that waits for its recovery leaves the next server its commands",
     needs(can_quiesce))
{
    Driver driver;
    for (const auto& flavour : two_flavours()) {
        Mortal mortal(driver, {.queue_depth = 2, .flags = quiescent(flavour.flags)});
        mortal.lose_server(flavour.without_server);
        start_recovery(mortal.device);
        mortal.server.emplace(mortal.device);
        mortal.server->fetch(0, 0);
        expect_ok(quiesce(*mortal.server), fmt::format("QUIESCE_DEV, {}", flavour.name));
        expect_true(!mortal.server->serve_until([&] { return mortal.server->aborted() != 0; }, settle),
                    fmt::format("the next server's FETCH stays with the driver, {}", flavour.name));
    }
}

CASE("UBLK-QUIESCE-016", contract,
     "I/O on a device whose next server was quiesced is answered by that server or by the one after it",
     needs(can_quiesce))
{
    Driver driver;
    Mortal mortal(driver, {.flags = quiescent(reissuing)});
    mortal.lose_server(DevState::quiesced);
    start_recovery(mortal.device);
    mortal.server.emplace(mortal.device);
    mortal.server->fetch_all();
    expect_ok(quiesce(*mortal.server), "QUIESCE_DEV");
    auto read = App::read(mortal.device, 0, 4096);
    mortal.server->serve_until([&] { return read.done(); }, settle);
    mortal.lose_server(DevState::quiesced);
    recover(mortal.device, mortal.server);
    expect_eq(4096, mortal.server->serve_until(read), "bytes read");
}

CASE("UBLK-QUIESCE-013", behaviour,
     "An unprivileged device keeps QUIESCE without USER_RECOVERY, and fails all I/O after QUIESCE_DEV",
     needs(can_quiesce))
{
    as_user([](User::Self& self) {
        Driver driver;
        const Device device = self.make(driver, {.flags = quiescent(waiting)});
        const auto flags = Features::from_raw(device.added().flags);
        expect_true(flags.has(can_quiesce), "QUIESCE is kept");
        expect_true(!flags.has(Feature::user_recovery), "USER_RECOVERY is not");
        Server server(device);
        server.go_live();
        self.get_nodes();
        auto before = App::read(device, 0, 4096);
        expect_eq(4096, server.serve_until(before), "bytes read before QUIESCE_DEV");
        expect_ok(quiesce(server), "QUIESCE_DEV");
        const auto after = App::read(device, 0, 4096);
        expect_error(EIO, result_soon(after, "a read"), "a read after QUIESCE_DEV");
    });
}

} // namespace conformance
