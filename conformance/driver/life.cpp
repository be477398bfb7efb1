// UBLK-LIFE: the death of a server, and what becomes of its device and of I/O.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <algorithm>
#include <csignal>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr Millis without_delay = 5s; // far below the 30 s of a request's timeout

} // namespace

CASE("UBLK-LIFE-001", contract,
     "Without recovery the server's death fails its requests with EIO and removes the disk; id and ublkcN "
     "stay")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4});
    Keeper server(device);
    const App read = App::read(device, 0, 4096), write = App::write(device, 8, 4096, std::byte{1});
    server.expect_kept(2);
    server.kill();
    expect_error(EIO, result_soon(read, "the read"), "the read");
    expect_error(EIO, result_soon(write, "the write"), "the write");
    expect_state(device, DevState::dead, "after the server's death");
    expect_true(eventually([&] { return !device.has_disk(); }), "ublkbN goes");
    expect_true(device.has_char_node(), "ublkcN stays");
    expect_error(EEXIST, driver.add({.dev_id = device.id()}), "ADD_DEV of the same id");
    expect_ok(device.del(), "DEL_DEV");
    expect_true(!device.has_char_node(), "ublkcN goes with DEL_DEV");
}

CASE("UBLK-LIFE-002", contract,
     "Requests fail soon after the server's death even if it had every tag; before 6.15 their timeout may "
     "pass",
     timeout(60s))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    Keeper server(device);
    const App reads[] = {App::read(device, 0, 4096), App::read(device, 8, 4096)};
    server.expect_kept(2);
    server.kill();
    const auto done = [&] { return reads[0].done() && reads[1].done(); };
    expect_true(eventually(done, kernel_before(6, 15) ? Millis(45s) : without_delay), "the reads return");
    for (const auto& read : reads)
        expect_error(EIO, read.result(), "a read");
}

CASE("UBLK-LIFE-003", behaviour,
     "Requests fail when ublkcN is released: the end of the ring leaves them be; before 6.15 it fails them")
{
    Driver driver;
    Mortal mortal(driver, {.queue_depth = 4});
    auto held = hold(*mortal.server, App::read(mortal.device, 0, 4096));
    mortal.server->close(); // the mappings stay
    if (kernel_before(6, 15)) {
        expect_error(EIO, result_soon(held.app, "the read"), "the read, after the ring's end");
        return;
    }
    expect_waits(held.app, "the read, while ublkcN is mapped");
    expect_true(mortal.device.has_disk(), "ublkbN stays");
    mortal.end_server();
    expect_error(EIO, result_soon(held.app, "the read"), "the read, after the release");
    expect_state(mortal.device, DevState::dead, "after the release");
}

CASE("UBLK-LIFE-004", behaviour,
     "Without its ring, but with ublkcN in use, a server is LIVE: new I/O fails with EIO, or waits for a "
     "recovery",
     since(6, 15))
{
    Driver driver;
    std::vector<Flavour> flavours{{Features{}, DevState::dead, "no recovery"}};
    for (const auto& flavour : recovery_flavours())
        flavours.push_back(flavour);
    for (const auto& [flags, without_server, name] : flavours) {
        Mortal mortal(driver, {.queue_depth = 8, .flags = flags});
        mortal.server->close(); // the mappings stay
        const bool waits = without_server == DevState::quiesced;
        if (!waits)
            expect_error(EIO, read_without_ring(mortal.device), fmt::format("a read, {}", name));
        const auto read = App::read(mortal.device, 0, 4096);
        if (waits)
            expect_waits(read, fmt::format("a read, {}", name));
        expect_state(mortal.device, DevState::live, fmt::format("while ublkcN is mapped, {}", name));
        mortal.lose_server(without_server);
    }
}

CASE("UBLK-LIFE-007", contract,
     "A server that ends before START_DEV, however much it had fetched, leaves the device to the next one")
{
    Driver driver;
    constexpr unsigned depth = 3;
    const auto device = driver.make({.queue_depth = depth});
    expect_ok(device.set_params(basic_params()));
    for (unsigned fetched = 0; fetched <= depth; ++fetched) {
        Server server(device);
        for (unsigned tag = 0; tag < fetched; ++tag)
            server.fetch(0, tag);
        expect_true(!server.next(settle), fmt::format("{} FETCHes are accepted", fetched));
    }
    Server last(device);
    last.memory().resize(8192 * uapi::sector_size);
    last.fetch_all();
    expect_true(!last.next(0ms), "all FETCHes are accepted");
    expect_ok(control_served(last, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())), "START_DEV");
    auto read = App::read(device, 0, 4096);
    expect_eq(4096, last.serve_until(read), "bytes read");
}

CASE("UBLK-LIFE-008", contract,
     "A START_DEV that waits outlives the server that it waits for, and wants the next one's process id")
{
    Driver driver;
    for (const bool right : {true, false}) {
        const auto device = driver.make({.queue_depth = 2});
        expect_ok(device.set_params(basic_params()));
        Child first([&](Child& self) {
            Driver own;
            Server server(Device(own, device.added()));
            server.fetch(0, 0);
            self.tell();
            self.hear();
            return 0;
        });
        first.hear();
        Pending start = device.begin_start(right ? ::getpid() : first.pid());
        start.expect_pending("START_DEV without all FETCHes");
        first.kill(SIGKILL);
        expect_eq(128 + SIGKILL, first.join(), "exit of the first server");
        start.expect_pending("START_DEV after that server's death");
        Server next(device);
        next.memory().resize(8192 * uapi::sector_size);
        next.fetch_all();
        const long res = next.serve_until(start);
        if (right)
            expect_ok(res, "START_DEV with the second server's pid");
        else
            expect_error(EINVAL, res, "START_DEV with the first server's pid");
    }
}

CASE("UBLK-LIFE-009", contract, "STOP_DEV and DEL_DEV that wait for a request end when the server dies")
{
    Driver driver;
    for (const Features flags : {Features{}, waiting, reissuing}) {
        for (const auto nr : {CtrlNr::stop_dev, CtrlNr::del_dev}) {
            const auto what = fmt::format("{}, {}", nr == CtrlNr::stop_dev ? "STOP_DEV" : "DEL_DEV",
                                          uapi::to_string(flags));
            const auto device = driver.make({.queue_depth = 4, .flags = flags});
            Keeper server(device);
            const App read = App::read(device, 0, 4096);
            server.expect_kept(1);
            Pending command = device.begin(nr);
            command.expect_pending(what);
            server.kill();
            expect_ok(command.result(), what);
            expect_error(EIO, result_soon(read, "the read"), fmt::format("the read, {}", what));
            expect_true(!device.has_disk(), fmt::format("ublkbN is gone, {}", what));
        }
    }
}

CASE("UBLK-LIFE-010", contract, "A server that dies with the partition scan's read is as dead as any other",
     since(6, 18))
{
    Driver driver;
    for (const Features flags : {Features{}, waiting}) {
        const auto device = driver.make({.flags = flags}, true);
        expect_ok(device.set_params(basic_params()));
        SharedCounter requests;
        Child server([&](Child& self) {
            Driver own;
            Server inside(Device(own, device.added()));
            inside.handler = [&](const Server::Request&) -> std::optional<std::int32_t> {
                requests.add();
                return std::nullopt;
            };
            inside.fetch_all();
            self.tell();
            inside.serve_for(10min);
            return 0;
        });
        server.hear();
        expect_ok(device.start(server.pid()), "START_DEV");
        expect_true(eventually([&] { return requests.value() > 0; }), "the scan's read reaches the server");
        server.kill(SIGKILL);
        expect_eq(128 + SIGKILL, server.join(), "exit of the server");
        const auto then = flags.empty() ? DevState::dead : DevState::quiesced;
        expect_true(eventually([&] { return device.state() == then; }, without_delay),
                    fmt::format("the state gets {}", static_cast<int>(then)));
        expect_ok(device.del(), "DEL_DEV");
    }
}

CASE("UBLK-LIFE-011", contract,
     "Without recovery I/O that waits for a tag fails with EIO, too, when the server dies")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2, .queue_depth = 2});
    Keeper server(device);
    if (kernel_before(6, 15))
        set_io_timeout(device, 1000ms); // what the requests fail by there
    std::vector<App> reads;
    for (unsigned i = 0; i < 12; ++i)
        reads.push_back(App::read(device, 8 * i, 4096));
    expect_true(eventually([&] { return server.kept() >= 2; }), "the server has all tags of a queue");
    expect_waits(reads.front(), "a read that the server has");
    server.kill();
    expect_true(eventually([&] { return std::ranges::all_of(reads, [](auto& read) { return read.done(); }); },
                           patience),
                "all reads return");
    for (const auto& read : reads)
        expect_any_error({EIO, ENXIO, ENODEV, ENOENT}, read.result(), "a read");
    expect_state(device, DevState::dead, "after the server's death");
}

CASE("UBLK-LIFE-016", contract,
     "After its death without recovery the server's successor can start the device; before 6.15 FETCH is "
     "EBUSY")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    ServerProcess(device).kill();
    expect_state(device, DevState::dead, "after the server's death");
    expect_true(eventually([&] { return !device.has_disk(); }), "ublkbN goes");
    Server next(device, {.map = !kernel_before(6, 15)}); // which is refused as well
    if (kernel_before(6, 15)) {
        expect_any_error({EBUSY, EINVAL}, next.io(IoNr::fetch_req, next.cmd(0, 0)), "FETCH");
        return;
    }
    next.memory().resize(8192 * uapi::sector_size);
    next.fetch_all();
    expect_true(!next.next(0ms), "FETCH is accepted");
    expect_ok(control_served(next, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())), "START_DEV");
    auto read = App::read(device, 64, 4096);
    expect_eq(4096, next.serve_until(read), "bytes read");
    expect_state(device, DevState::live, "with the next server");
}

CASE(
    "UBLK-LIFE-017", contract,
    "Commands that STOP_DEV or QUIESCE_DEV ends come back with ENODEV, once each; requests that are out stay")
{
    Driver driver;
    for (const auto nr : {CtrlNr::stop_dev, CtrlNr::quiesce_dev}) {
        if (nr == CtrlNr::quiesce_dev && !offers(Feature::quiesce))
            continue;
        const auto flags = nr == CtrlNr::quiesce_dev ? waiting | Feature::quiesce : Features{};
        Mortal mortal(driver, {.nr_hw_queues = 2, .queue_depth = 4, .flags = flags});
        Server& server = *mortal.server;
        auto held = hold(server, App::read(mortal.device, 0, 4096));
        Pending command = mortal.device.begin(nr);
        if (nr == CtrlNr::stop_dev)
            command.expect_pending("STOP_DEV while a request is out");
        server.commit(held.request.q, held.request.tag, 4096);
        expect_ok(server.serve_until(command), nr == CtrlNr::stop_dev ? "STOP_DEV" : "QUIESCE_DEV");
        expect_eq(4096, server.serve_until(held.app), "bytes read");
        server.serve_until([&] { return server.aborted() >= 8; });
        server.serve_for(settle);
        expect_eq(8U, server.aborted(), "commands that came back with ENODEV");
    }
}

CASE("UBLK-LIFE-018", contract, "A server that is stopped by a signal delays I/O, and fails none")
{
    Driver driver;
    const auto device = driver.make();
    ServerProcess server(device);
    expect_ok(sys(::kill(server.pid(), SIGSTOP)), "SIGSTOP");
    const App read = App::read(device, 0, 4096);
    expect_waits(read, "a read of a stopped server");
    expect_true(device.state() == DevState::live, "the device is LIVE");
    expect_ok(sys(::kill(server.pid(), SIGCONT)), "SIGCONT");
    expect_eq(4096, result_soon(read, "the read"), "bytes read");
}

} // namespace conformance
