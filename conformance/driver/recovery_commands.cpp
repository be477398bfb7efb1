// UBLK-RECOV-START, UBLK-RECOV-END: the two commands of a recovery.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <fcntl.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

long start_command(const Device& device)
{
    return device.control(CtrlNr::start_user_recovery);
}

// A server in a recovery that has fetched nothing yet.
struct Rescuer : Server {
    explicit Rescuer(const Device& device) : Server(device) { memory().resize(8192 * uapi::sector_size); }
};

void fetch_queue(Server& server, unsigned q)
{
    for (unsigned tag = 0; tag < server.device().depth(); ++tag)
        server.fetch(q, tag);
}

} // namespace

CASE("UBLK-RECOV-START-001", contract, "START_USER_RECOVERY of a device without USER_RECOVERY is EINVAL")
{
    Driver driver;
    Mortal mortal(driver);
    expect_error(EINVAL, start_command(mortal.device), "live");
    mortal.lose_server(DevState::dead);
    expect_error(EINVAL, start_command(mortal.device), "after the server's end");
}

CASE("UBLK-RECOV-START-002", contract,
     "START_USER_RECOVERY is EBUSY while ublkcN is in use, or the device has not lost a server",
     needs(can_recover))
{
    Driver driver;
    for (const auto& flavour : recovery_flavours()) {
        const Device device = driver.make({.flags = flavour.flags});
        ServerProcess first(device);
        expect_error(EBUSY, start_command(device), fmt::format("live, {}", flavour.name));
        first.kill();
        expect_state(device, flavour.without_server, "after the server's death");
        {
            const Fd opener = device.open_char_soon(O_RDWR);
            expect_error(EBUSY, start_command(device), fmt::format("ublkcN open, {}", flavour.name));
        }
        start_recovery(device);
        std::optional<Rescuer> next(device);
        next->fetch_all();
        expect_ok(end_recovery(*next), "END_USER_RECOVERY");
        expect_error(EBUSY, start_command(device), fmt::format("live again, {}", flavour.name));
        expect_ok(control_served(*next, CtrlNr::stop_dev), "STOP_DEV");
        next.reset();
        expect_any_error({EBUSY, EINVAL}, start_command(device), fmt::format("stopped, {}", flavour.name));
    }
}

CASE("UBLK-RECOV-START-003", behaviour,
     "START_USER_RECOVERY of a device that was never started is EBUSY; before 6.16 EINVAL, no queue being "
     "fetched",
     needs(can_recover))
{
    Driver driver;
    const auto device = driver.make({.flags = waiting});
    const int err = kernel_before(6, 16) ? EINVAL : EBUSY;
    expect_error(err, start_command(device), "never started");
    expect_ok(device.set_params(basic_params()));
    expect_error(err, start_command(device), "with parameters");
}

CASE("UBLK-RECOV-START-004", behaviour,
     "START_USER_RECOVERY can be repeated and left out; before 6.16 it makes tags ready for FETCH, once",
     needs(can_recover))
{
    Driver driver;
    const Device first = orphan(driver, {.flags = waiting}), second = orphan(driver, {.flags = waiting});
    const auto expect_recovered = [](const Device& device) {
        Rescuer server(device);
        server.fetch_all();
        expect_ok(end_recovery(server), "END_USER_RECOVERY");
        auto read = App::read(device, 0, 4096);
        expect_eq(4096, server.serve_until(read), "bytes read");
    };
    start_recovery(first);
    if (kernel_before(6, 16)) {
        expect_error(EINVAL, start_command(first), "again, before any FETCH");
        Server server(second, {.map = false}); // that is refused as well
        expect_any_error({EBUSY, EINVAL}, server.io(IoNr::fetch_req, server.cmd(0, 0)),
                         "FETCH without START_USER_RECOVERY");
    } else {
        expect_ok(start_command(first), "again");
        expect_ok(start_command(first), "and again");
        expect_recovered(second); // without it
    }
    expect_recovered(first);
}

CASE("UBLK-RECOV-END-001", contract,
     "END_USER_RECOVERY waits until every tag is fetched; interrupted it is EINTR, and can be repeated",
     needs(can_recover))
{
    Driver driver;
    const Device device = orphan(driver, {.nr_hw_queues = 2, .queue_depth = 2, .flags = waiting});
    start_recovery(device);
    Rescuer server(device);
    fetch_queue(server, 0);
    server.fetch(1, 1);
    const auto pid = static_cast<std::uint64_t>(::getpid());
    Pending end = device.begin(CtrlNr::end_user_recovery, pid);
    end.expect_pending("END_USER_RECOVERY with one tag left out");
    end.cancel();
    expect_error(EINTR, end.result(), "END_USER_RECOVERY, interrupted");
    expect_true(device.state() == DevState::quiesced, "the state is QUIESCED");
    Pending again = device.begin(CtrlNr::end_user_recovery, pid);
    again.expect_pending("END_USER_RECOVERY, again");
    server.fetch(1, 0);
    expect_ok(server.serve_until(again), "END_USER_RECOVERY after the last FETCH");
    expect_state(device, DevState::live, "after END_USER_RECOVERY");
}

CASE("UBLK-RECOV-END-002", contract,
     "END_USER_RECOVERY refuses any process id but the server's, before it looks at flags and state; before "
     "6.16 it takes and tells what it is given",
     needs(can_recover))
{
    Driver driver;
    const Device device = orphan(driver, {.flags = waiting});
    start_recovery(device);
    Rescuer server(device);
    server.fetch_all();
    if (kernel_before(6, 16)) {
        expect_ok(end_recovery(server, 1), "pid 1");
        expect_eq(1, device.info().ublksrv_pid, "ublksrv_pid");
        return;
    }
    for (const pid_t wrong : {1, 0, -1, ::getppid()})
        expect_error(EINVAL, end_recovery(server, wrong), fmt::format("pid {}", wrong));
    expect_true(device.state() == DevState::quiesced, "the state stays");
    expect_ok(end_recovery(server), "the server's");
    expect_error(EINVAL, end_recovery(server, 1), "pid 1, live");
    expect_error(EBUSY, end_recovery(server), "the server's, live");
}

CASE("UBLK-RECOV-END-003", contract,
     "END_USER_RECOVERY is EINVAL without USER_RECOVERY, and EBUSY if the device has not lost a server",
     needs(can_recover))
{
    Driver driver;
    const Mortal plain(driver);
    const auto pid = static_cast<std::uint64_t>(::getpid());
    expect_error(EINVAL, plain.device.control(CtrlNr::end_user_recovery, pid), "without USER_RECOVERY");
    for (const auto& flavour : recovery_flavours()) {
        const Mortal mortal(driver, {.flags = flavour.flags});
        expect_error(EBUSY, mortal.device.control(CtrlNr::end_user_recovery, pid), flavour.name);
        expect_true(mortal.device.state() == DevState::live, "the device is LIVE");
    }
}

CASE("UBLK-RECOV-END-004", contract,
     "After END_USER_RECOVERY the state is LIVE, the pid the new server's, and I/O that waited is served",
     needs(can_recover))
{
    Driver driver;
    const auto device = driver.make({.flags = waiting});
    ServerProcess first(device);
    expect_eq(first.pid(), device.info().ublksrv_pid, "ublksrv_pid of the first server");
    first.kill();
    expect_state(device, DevState::quiesced, "after its death");
    auto write = write_data(device, pattern(4096, 9), 8);
    expect_waits(write, "a write");
    std::optional<Server> next;
    recover(device, next);
    expect_true(device.state() == DevState::live, "the state is LIVE");
    expect_eq(::getpid(), device.info().ublksrv_pid, "ublksrv_pid");
    expect_eq(4096, next->serve_until(write), "bytes written");
}

CASE("UBLK-RECOV-END-005", behaviour,
     "New I/O is served before END_USER_RECOVERY: from 7.0 on once its queue is fetched, from 6.15 on once "
     "all "
     "are",
     needs(can_recover))
{
    Driver driver;
    const Device device = orphan(driver, {.nr_hw_queues = 2, .queue_depth = 2, .flags = waiting});
    const auto cpu_of = [&](unsigned q) { return queue_cpus(device, q).front(); };
    const unsigned cpus[] = {cpu_of(0), cpu_of(1)};
    start_recovery(device);
    Rescuer server(device);
    fetch_queue(server, 0);
    auto first = write_data(device, pattern(4096, 1), 0, cpus[0]);
    auto other = write_data(device, pattern(4096, 2), 64, cpus[1]);
    if (kernel_before(7, 0))
        expect_waits(server, first, "a write for the fetched queue, another being left out");
    else
        expect_eq(4096, server.serve_until(first), "bytes of a write for the fetched queue");
    expect_waits(server, other, "a write for the queue that is not fetched");
    fetch_queue(server, 1);
    if (!kernel_before(6, 15)) {
        auto later = write_data(device, pattern(4096, 3), 128, cpus[1]);
        expect_eq(4096, server.serve_until(later), "bytes of a write after all FETCHes");
    } else {
        auto later = write_data(device, pattern(4096, 3), 128, cpus[1]);
        expect_waits(server, later, "a write after all FETCHes");
    }
    expect_true(device.state() == DevState::quiesced, "the state is QUIESCED until END_USER_RECOVERY");
    expect_ok(end_recovery(server), "END_USER_RECOVERY");
    expect_eq(4096, server.serve_until(first), "bytes of the first write");
    expect_eq(4096, server.serve_until(other), "bytes of the write that waited");
}

CASE("UBLK-RECOV-END-006", behaviour,
     "A device that fails I/O serves it before END_USER_RECOVERY: from 7.0 on once its queue is fetched, "
     "before once all are",
     needs(failing))
{
    Driver driver;
    const Device device =
        orphan(driver, {.nr_hw_queues = 2, .queue_depth = 2, .flags = failing}, DevState::fail_io);
    const auto cpu_of = [&](unsigned q) { return queue_cpus(device, q).front(); };
    const unsigned cpus[] = {cpu_of(0), cpu_of(1)};
    start_recovery(device);
    Rescuer server(device);
    const auto write = [&](unsigned q) {
        auto app = write_data(device, pattern(4096, q), 64 * q, cpus[q]);
        return server.serve_until(app);
    };
    expect_error(EREMOTEIO, write(0), "queue 0, nothing fetched");
    fetch_queue(server, 0);
    if (kernel_before(7, 0))
        expect_error(EREMOTEIO, write(0), "queue 0, fetched");
    else
        expect_eq(4096, write(0), "bytes for queue 0, fetched");
    expect_error(EREMOTEIO, write(1), "queue 1, not fetched");
    fetch_queue(server, 1);
    expect_eq(4096, write(1), "bytes for queue 1, fetched");
    expect_eq(4096, write(0), "bytes for queue 0");
    expect_true(device.state() == DevState::fail_io, "the state is FAIL_IO until END_USER_RECOVERY");
    expect_ok(end_recovery(server), "END_USER_RECOVERY");
}

CASE("UBLK-RECOV-END-007", contract, "A second END_USER_RECOVERY is EBUSY", needs(can_recover))
{
    Driver driver;
    for (const auto& flavour : recovery_flavours()) {
        const Device device = orphan(driver, {.flags = flavour.flags}, flavour.without_server);
        std::optional<Server> server;
        recover(device, server);
        expect_error(EBUSY, end_recovery(*server), flavour.name);
        auto read = App::read(device, 0, 4096);
        expect_eq(4096, server->serve_until(read), "bytes read");
    }
}

} // namespace conformance
