// UBLK-CTRL-STOP: stopping a device, with and without I/O, a server, an application.
#include "conformance/driver/case.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <algorithm>
#include <fcntl.h>
#include <numeric>
#include <optional>

namespace conformance {

namespace {

constexpr std::size_t dirty_bytes = 65536;

// Writes through the page cache, and does not sync.
long write_dirty(int fd, std::byte fill)
{
    const std::vector<std::byte> data(dirty_bytes, fill);
    return sys(::pwrite(fd, data.data(), data.size(), 0));
}

// Bytes of the WRITE requests that the server met.
std::size_t written(const Server& server)
{
    std::size_t bytes = 0;
    for (const auto& request : server.seen) {
        if (static_cast<IoOp>(request.desc.op()) == IoOp::write)
            bytes += std::size_t{request.desc.nr_sectors} * ublk::uapi::sector_size;
    }
    return bytes;
}

} // namespace

CASE("UBLK-CTRL-STOP-001", contract,
     "STOP_DEV returns 0, on a device that was never started or is stopped, too")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.stop(), "never started");
    expect_ok(device.stop(), "never started, again");
    Server server(device);
    server.go_live();
    expect_ok(control_served(server, CtrlNr::stop_dev), "live");
    expect_ok(device.stop(), "stopped");
}

CASE("UBLK-CTRL-STOP-002", contract,
     "STOP_DEV of a live device removes the disk, and keeps id, parameters and ublkcN")
{
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.go_live(basic_params(4096));
    expect_true(device.has_disk(), "ublkbN is there before STOP_DEV");
    expect_ok(control_served(server, CtrlNr::stop_dev));
    expect_true(!device.has_disk(), "ublkbN is gone");
    expect_true(device.state() == DevState::dead, "the state is DEAD");
    expect_eq(-1, device.info().ublksrv_pid, "ublksrv_pid");
    expect_true(device.has_char_node(), "ublkcN stays");
    Params params;
    expect_ok(device.get_params(params));
    expect_eq(4096U, params.basic.dev_sectors, "dev_sectors");
    expect_error(EEXIST, driver.add({.dev_id = device.id()}), "ADD_DEV of the same id");
}

CASE("UBLK-CTRL-STOP-003", contract, "STOP_DEV gives each armed command back with ENODEV")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2, .queue_depth = 5});
    Server server(device);
    server.go_live();
    expect_ok(control_served(server, CtrlNr::stop_dev));
    expect_true(server.serve_until([&] { return server.aborted() == device.queues() * device.depth(); }),
                "all FETCHes come back with ENODEV");
}

CASE("UBLK-CTRL-STOP-004", contract,
     "STOP_DEV first has the dirty page cache written to the server, unless I/O would wait for a recovery")
{
    Driver driver;
    std::vector<Features> flavours{Features{}};
    if (offers(Feature::user_recovery_fail_io))
        flavours.emplace_back(Feature::user_recovery | Feature::user_recovery_fail_io);
    for (const auto flags : flavours) {
        const auto device = driver.make({.flags = flags});
        Server server(device);
        server.go_live();
        const Fd application = open_block(server, O_RDWR);
        expect_eq(long{dirty_bytes}, write_dirty(application.get(), std::byte{0xd1}), "bytes made dirty");
        expect_ok(control_served(server, CtrlNr::stop_dev));
        expect_eq(dirty_bytes, written(server), "bytes written to the server");
        expect_true(std::all_of(server.memory().begin(), server.memory().begin() + dirty_bytes,
                                [](auto byte) { return byte == std::byte{0xd1}; }),
                    "the server has the application's data");
    }
}

CASE("UBLK-CTRL-STOP-005", behaviour,
     "STOP_DEV of a device with USER_RECOVERY fails new requests, dirty page cache too, and waits for old "
     "ones",
     needs(Feature::user_recovery))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::user_recovery});
    Server server(device);
    server.go_live();
    const Fd application = open_block(server, O_RDWR);
    auto app = App::read(device, 4096, 4096);
    const auto request = server.expect_request("the read");
    expect_eq(long{dirty_bytes}, write_dirty(application.get(), std::byte{0xd1}), "bytes made dirty");
    Pending stop = device.begin(CtrlNr::stop_dev);
    stop.expect_pending("STOP_DEV while the server holds a request");
    server.commit(request.q, request.tag, 4096);
    expect_ok(server.serve_until(stop));
    expect_eq(4096, server.serve_until(app), "bytes read by the old request");
    expect_eq(0U, written(server), "bytes written to the server");
}

CASE("UBLK-CTRL-STOP-006", contract,
     "STOP_DEV waits while the server holds a request, and ends after its commit")
{
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.go_live();
    auto app = App::write(device, 0, 4096, std::byte{0x77});
    const auto request = server.expect_request("the write");
    Pending stop = device.begin(CtrlNr::stop_dev);
    stop.expect_pending("STOP_DEV while the server holds a request");
    server.commit(request.q, request.tag, 4096);
    expect_ok(server.serve_until(stop), "STOP_DEV after the commit");
    expect_eq(4096, server.serve_until(app), "bytes written");
}

CASE("UBLK-CTRL-STOP-007", contract,
     "While an application keeps ublkbN open, a stopped device takes neither SET_PARAMS nor START_DEV")
{
    Driver driver;
    const auto device = driver.make();
    std::optional<Server> server(std::in_place, device);
    server->go_live();
    Fd application = open_block(*server, O_RDONLY);
    expect_ok(control_served(*server, CtrlNr::stop_dev));
    if (fixed_in({{7, 3, 4}})) {
        // From here on a stopped device has to be left and attached to again.
        server.reset();
        server.emplace(device);
        server->fetch_all();
    }
    expect_error(EACCES, device.set_params(basic_params()), "SET_PARAMS while ublkbN is open");
    expect_error(EEXIST, device.start(), "START_DEV while ublkbN is open");
    application.reset();
    expect_true(eventually([&] { return device.set_params(basic_params()) == 0; }),
                "SET_PARAMS works after the last close");
}

CASE("UBLK-CTRL-STOP-008", contract,
     "A stopped device whose ublkcN is still open refuses START_DEV with EBUSY and FETCH with ENODEV")
{
    Driver driver;
    const auto device = driver.make();
    std::optional<Server> server(std::in_place, device);
    server->go_live();
    expect_ok(control_served(*server, CtrlNr::stop_dev));
    expect_error(EBUSY, device.start(), "START_DEV");
    expect_error(ENODEV, server->io(IoNr::fetch_req, server->cmd(0, 0)), "FETCH");
    server.reset();
    server.emplace(device);
    server->go_live();
    expect_true(device.state() == DevState::live, "a server that attaches afterwards gets LIVE");
}

CASE("UBLK-CTRL-STOP-009", contract, "STOP_DEV ends a START_DEV that waits for a server's FETCHes")
{
    Driver driver;
    // The pid given to START_DEV is looked at only then.
    for (const auto& [pid, err] : {std::pair{::getpid(), EBUSY}, std::pair{pid_t{1}, EINVAL}}) {
        const auto device = driver.make({.queue_depth = 2});
        expect_ok(device.set_params(basic_params()));
        Server server(device);
        server.fetch(0, 0);
        Pending start = device.begin_start(pid);
        start.expect_pending("START_DEV without all FETCHes");
        expect_ok(device.stop());
        expect_error(err, start.result(), fmt::format("START_DEV, ended by STOP_DEV (err {})", err));
    }
}

CASE("UBLK-CTRL-STOP-010", contract,
     "After STOP_DEV and the server's end a new server can start the same device, again and again",
     timeout(60s))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    for (unsigned round = 1; round <= 20; ++round) {
        const std::uint64_t sectors = 1024 * round;
        expect_true(eventually([&] { return device.set_params(basic_params(sectors)) == 0; }),
                    "SET_PARAMS works on the stopped device");
        Server server(device);
        server.fetch_all();
        // Seen before START_DEV: kernels that refuse here would start a disk without commands.
        expect_true(!server.next(0ms), "FETCH is accepted");
        server.memory().resize(sectors * ublk::uapi::sector_size);
        expect_ok(control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())),
                  "START_DEV");
        expect_eq(std::to_string(sectors), device.sysfs("size"), "sectors of the disk");
        auto app = App::read(device, 0, 4096);
        expect_eq(4096, server.serve_until(app), "bytes read");
        expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV");
    }
}

CASE("UBLK-CTRL-STOP-011", contract,
     "STOP_DEV of a device that nobody serves leaves it ready for a new server at once",
     needs(Feature::user_recovery))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::user_recovery});
    ServerProcess(device).kill();
    expect_true(eventually([&] { return device.state() == DevState::quiesced; }), "the device gets QUIESCED");
    expect_ok(device.stop());
    Server server(device);
    server.fetch_all();
    expect_true(!server.next(0ms), "FETCH is accepted");
    expect_ok(control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())), "START_DEV");
    expect_true(device.state() == DevState::live, "the state is LIVE");
}

CASE("UBLK-CTRL-STOP-012", contract,
     "STOP_DEV of a quiesced device fails the I/O that waits with EIO, and removes the disk",
     needs(Feature::user_recovery))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::user_recovery});
    ServerProcess server(device);
    const Fd application = open_block(device, O_RDONLY | O_DIRECT);
    server.kill();
    expect_true(eventually([&] { return device.state() == DevState::quiesced; }), "the device gets QUIESCED");
    Sleeper read([&] {
        alignas(4096) static std::byte buffer[4096];
        return sys(::pread(application.get(), buffer, sizeof(buffer), 0));
    });
    read.expect_asleep("a read of a quiesced device");
    expect_ok(device.stop());
    expect_error(EIO, read.app().result(), "the read");
    expect_true(!device.has_disk(), "ublkbN is gone");
    expect_true(device.state() == DevState::dead, "the state is DEAD");
}

CASE("UBLK-CTRL-STOP-013", contract, "STOP_DEV of a device that fails I/O returns 0 and removes the disk",
     needs(Feature::user_recovery | Feature::user_recovery_fail_io))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::user_recovery | Feature::user_recovery_fail_io});
    ServerProcess(device).kill();
    expect_true(eventually([&] { return device.state() == DevState::fail_io; }), "the device gets FAIL_IO");
    expect_true(device.has_disk(), "ublkbN stays until STOP_DEV");
    expect_ok(device.stop());
    expect_true(!device.has_disk(), "ublkbN is gone");
    expect_true(device.state() == DevState::dead, "the state is DEAD");
}

CASE("UBLK-CTRL-STOP-014", contract,
     "On a stopped device's ublkbN that is still open no read or write moves a byte")
{
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.go_live();
    const Fd direct = open_block(server, O_RDWR | O_DIRECT);
    const Fd cached = open_block(server, O_RDWR);
    expect_ok(control_served(server, CtrlNr::stop_dev));
    alignas(4096) static std::byte buffer[4096];
    for (const auto* fd : {&direct, &cached}) {
        const std::string how = fd == &direct ? "direct " : "cached ";
        const long got = sys(::pread(fd->get(), buffer, sizeof(buffer), 0));
        expect_true(got == 0 || got == -EIO, how + "read: end of file or EIO");
        expect_any_error({ENOSPC, EIO}, sys(::pwrite(fd->get(), buffer, sizeof(buffer), 0)), how + "write");
    }
}

CASE("UBLK-CTRL-STOP-016", contract,
     "STOP_DEV while the partition scan is with the server waits for it, and leaves nothing of it",
     since(6, 18))
{
    Driver driver;
    const auto device = driver.make({}, true);
    std::optional<Server> server(std::in_place, device);
    expect_ok(device.set_params(basic_params()));
    server->memory().resize(8192 * ublk::uapi::sector_size);
    server->fetch_all();
    expect_ok(device.start());
    const auto request = server->expect_request("the partition scan's read");
    Pending stop = device.begin(CtrlNr::stop_dev);
    stop.expect_pending("STOP_DEV while the server holds the scan's read");
    server->commit(request.q, request.tag, server->serve_from_memory(request));
    expect_ok(server->serve_until(stop), "STOP_DEV after the commit");
    expect_true(!device.has_disk(), "ublkbN is gone");
    server.reset();
    expect_ok(device.del(), "DEL_DEV");
}

} // namespace conformance
