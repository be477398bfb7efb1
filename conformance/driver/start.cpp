// UBLK-START: what START_DEV demands, what it waits for, what it leaves behind.
#include "conformance/driver/case.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <optional>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <thread>

namespace conformance {

namespace {

// A server that has FETCHed all tags of a device with basic parameters, so that START_DEV need not wait.
void make_ready(const Device& device, Server& server)
{
    if (const long res = device.set_params(basic_params()); res != 0)
        fail("SET_PARAMS takes basic parameters", result_text(res));
    server.memory().resize(8192 * ublk::uapi::sector_size);
    server.fetch_all();
}

long start_served(Server& server, pid_t pid = ::getpid())
{
    return control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(pid));
}

} // namespace

CASE("UBLK-START-001", contract,
     "START_DEV refuses a process id that is not positive, and does not wait for FETCHes first")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.set_params(basic_params()));
    for (const std::uint64_t pid : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0xffffffff},
                                    std::uint64_t{1} << 31, std::uint64_t{1} << 32})
        expect_error(EINVAL, device.control(CtrlNr::start_dev, pid), fmt::format("data[0] = {:#x}", pid));
}

CASE("UBLK-START-002", contract,
     "START_DEV refuses a device without parameters, and does not wait for FETCHes first")
{
    Driver driver;
    const auto device = driver.make();
    expect_error(EINVAL, device.start(), "START_DEV without parameters");
    auto bad = basic_params();
    bad.basic.logical_bs_shift = 40;
    expect_error(EINVAL, device.set_params(bad), "SET_PARAMS");
    expect_error(EINVAL, device.start(), "START_DEV after refused parameters");
}

CASE("UBLK-START-003", contract, "START_DEV waits until every tag of every queue is FETCHed, and no longer")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2, .queue_depth = 3});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory().resize(8192 * ublk::uapi::sector_size);
    const unsigned last = device.queues() - 1;
    for (unsigned q = 0; q < device.queues(); ++q) {
        for (unsigned tag = 0; tag < device.depth(); ++tag) {
            if (q != last || tag != 1)
                server.fetch(q, tag);
        }
    }
    Pending start = device.begin_start();
    start.expect_pending("START_DEV with one tag left out");
    server.fetch(last, 1);
    expect_ok(server.serve_until(start), "START_DEV after the last FETCH");
}

CASE("UBLK-START-004", behaviour,
     "Parameters set while START_DEV waits count for the capacity, but not for the limits")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.set_params(basic_params(8192)));
    Server server(device);
    Pending start = device.begin_start();
    start.expect_pending("START_DEV without FETCHes");
    auto later = basic_params(4096);
    later.basic.logical_bs_shift = 12;
    expect_ok(device.set_params(later), "SET_PARAMS while START_DEV waits");
    server.memory().resize(8192 * ublk::uapi::sector_size);
    server.fetch_all();
    expect_ok(server.serve_until(start));
    expect_eq("4096", device.sysfs("size"), "size");
    expect_eq("512", device.sysfs("queue/logical_block_size"), "queue/logical_block_size");
}

CASE("UBLK-START-005", contract,
     "A waiting START_DEV that is interrupted changes nothing, and can be repeated")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.set_params(basic_params()));
    Child issuer([&](Child& self) {
        Driver own;
        Pending start = Device(own, device.added()).begin_start();
        start.expect_pending("START_DEV of a process that will be killed");
        self.tell();
        self.hear();
        return 0;
    });
    issuer.hear();
    issuer.kill(SIGKILL);
    expect_eq(128 + SIGKILL, issuer.join(), "exit of the killed process");
    Pending start = device.begin_start();
    start.expect_pending("START_DEV without FETCHes");
    start.cancel();
    expect_error(EINTR, start.result(), "the cancelled START_DEV");
    expect_true(device.state() == DevState::dead, "the state is DEAD");
    Server server(device);
    make_ready(device, server);
    expect_ok(start_served(server), "START_DEV again");
}

CASE("UBLK-START-006", contract,
     "START_DEV refuses any process id but the server's, once all tags are FETCHed")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory().resize(8192 * ublk::uapi::sector_size);
    server.fetch(0, 0);
    Pending early = device.begin_start(1);
    early.expect_pending("START_DEV with a wrong pid, before all tags are FETCHed");
    server.fetch(0, 1);
    if (kernel_version() < ublk::uapi::KernelVersion{6, 16, 0}) {
        // Until then any positive number was taken, and reported.
        expect_ok(server.serve_until(early), "START_DEV with pid 1");
        expect_eq(1, device.info().ublksrv_pid, "ublksrv_pid");
        return;
    }
    expect_error(EINVAL, server.serve_until(early), "START_DEV with pid 1");
    App thread([&] { return static_cast<long>(::syscall(SYS_gettid)); });
    expect_error(EINVAL, device.start(static_cast<pid_t>(thread.result())), "START_DEV with a thread's id");
    expect_true(device.state() == DevState::dead, "the state is DEAD");
    expect_ok(start_served(server), "START_DEV with the server's pid");
    if (kernel_version() < ublk::uapi::KernelVersion{6, 18, 0})
        return;
    const auto inner = driver.make();
    in_pid_namespace([&] {
        Driver own;
        const Device same(own, inner.added());
        Server inside(same);
        make_ready(same, inside);
        expect_eq(1, ::getpid(), "own pid");
        expect_ok(start_served(inside, 1), "START_DEV with the pid that its issuer's namespace has");
    });
}

CASE("UBLK-START-007", contract,
     "START_DEV of a device that has a disk is refused with EEXIST, live or recovering")
{
    Driver driver;
    {
        const auto device = driver.make();
        Server server(device);
        make_ready(device, server);
        Pending one = device.begin_start();
        Pending two = device.begin_start();
        const long a = server.serve_until(one), b = server.serve_until(two);
        expect_ok(std::max(a, b), "the quicker of two START_DEV");
        expect_error(EEXIST, std::min(a, b), "the slower of two START_DEV");
        expect_error(EEXIST, device.start(), "START_DEV of a live device");
    }
    for (const auto more : {Features{}, Features(Feature::user_recovery_fail_io)}) {
        if (!offers(Feature::user_recovery) || !(more.empty() || offers(Feature::user_recovery_fail_io)))
            continue;
        const auto device = driver.make({.flags = more | Feature::user_recovery});
        ServerProcess(device).kill();
        expect_true(eventually([&] { return device.control(CtrlNr::start_user_recovery) == 0; }),
                    "START_USER_RECOVERY works");
        Server server(device);
        server.memory().resize(8192 * ublk::uapi::sector_size);
        server.fetch_all();
        expect_error(EEXIST, device.start(), "START_DEV where END_USER_RECOVERY is due");
        expect_ok(control_served(server, CtrlNr::end_user_recovery, static_cast<std::uint64_t>(::getpid())),
                  "END_USER_RECOVERY");
    }
}

CASE("UBLK-START-008", contract,
     "After START_DEV the disk exists and was announced, the state is LIVE, the pid the server's")
{
    Driver driver;
    const auto device = driver.make();
    Uevents events;
    expect_true(!device.has_disk(), "no ublkbN before START_DEV");
    Server server(device);
    server.go_live();
    expect_true(device.has_disk(), "ublkbN exists");
    expect_true(device.state() == DevState::live, "the state is LIVE");
    expect_eq(::getpid(), device.info().ublksrv_pid, "ublksrv_pid");
    expect_true(events.wait_for(disk_event("add", device)), "the kernel announces the disk");
}

CASE("UBLK-START-010", contract, "After a server's end START_DEV waits for the FETCHes of the next one")
{
    Driver driver;
    const auto device = driver.make();
    ServerProcess(device).kill();
    expect_true(eventually([&] { return device.state() == DevState::dead && !device.has_disk(); }),
                "the device gets DEAD");
    Server server(device); // opens once the release of the dead one is over
    server.memory().resize(8192 * ublk::uapi::sector_size);
    Pending start = device.begin_start();
    start.expect_pending("START_DEV before the next server's FETCHes");
    server.fetch_all();
    expect_ok(server.serve_until(start), "START_DEV after the next server's FETCHes");
    auto app = App::read(device, 0, 4096);
    expect_eq(4096, server.serve_until(app), "bytes read");
}

CASE("UBLK-START-011", contract,
     "START_DEV returns though the server answers no request, the partition scan's neither")
{
    Driver driver;
    const auto device = driver.make({}, true);
    Server server(device);
    make_ready(device, server);
    Pending start = device.begin_start();
    if (kernel_version() < ublk::uapi::KernelVersion{6, 18, 0}) {
        // Until then the partition table was read within START_DEV.
        const auto request = server.expect_request("the partition scan's read");
        start.expect_pending("START_DEV while the server holds the scan's read");
        server.commit(request.q, request.tag, server.serve_from_memory(request));
        expect_ok(server.serve_until(start), "START_DEV");
        return;
    }
    expect_ok(start.result(), "START_DEV");
    const auto request = server.expect_request("the partition scan's read");
    server.commit(request.q, request.tag, server.serve_from_memory(request));
    expect_true(device.state() == DevState::live, "the state is LIVE");
}

CASE("UBLK-START-012", contract, "START_DEV with a ready server does not stall for seconds", timeout(120s))
{
    Driver driver;
    int stalls = 0;
    constexpr int rounds = 20;
    for (int round = 0; round < rounds; ++round) {
        const auto device = driver.make();
        std::optional<Server> server(std::in_place, device);
        make_ready(device, *server);
        // The stalls meant are of 3 and 30 s, and come each time. One slow round may be the host's doing.
        Pending start = device.begin_start();
        if (!server->serve_until([&] { return start.done(); }, 2500ms))
            ++stalls;
        expect_ok(server->serve_until(start));
        expect_ok(control_served(*server, CtrlNr::stop_dev));
        server.reset();
        expect_ok(device.del());
    }
    expect_true(stalls < rounds / 2, "half of the STARTs take less than 2.5 s");
}

CASE("UBLK-START-013", contract,
     "START_DEV is refused with EBUSY while a server that was told to stop still has ublkcN open")
{
    Driver driver;
    const auto device = driver.make();
    std::optional<Server> server(std::in_place, device);
    make_ready(device, *server);
    expect_ok(device.stop(), "STOP_DEV of a device that was never started");
    expect_error(EBUSY, device.start(), "START_DEV");
    expect_true(!device.has_disk(), "no ublkbN");
    server.reset();
    server.emplace(device);
    make_ready(device, *server);
    expect_ok(start_served(*server), "START_DEV with the next server");
}

CASE("UBLK-START-014", contract,
     "START_DEV that loses its server on the way waits for the next one or starts a disk that goes with it",
     since(7, 3, 4), timeout(240s))
{
    Driver driver;
    // One round in about thirty meets the race, if the server goes at once.
    for (unsigned round = 0; round < 300; ++round) {
        const auto device = driver.make({.queue_depth = 1});
        std::optional<Server> server(std::in_place, device);
        make_ready(device, *server);
        Pending start = device.begin_start();
        server.reset();
        // What is decided by the time that the dead server's release is over.
        server.emplace(device);
        if (eventually([&] { return start.done(); }, 60ms)) {
            const long res = start.result();
            if (res != 0)
                expect_any_error({ENODEV, EINVAL}, res, "START_DEV that lost its server");
            if (!eventually([&] { return device.state() == DevState::dead; }, 3s))
                fail("the device gets DEAD, for its server is dead",
                     fmt::format("START_DEV returned {}, and the device is live without a FETCH, round {}",
                                 result_text(res), round));
            count_check();
        } else {
            make_ready(device, *server);
            expect_ok(server->serve_until(start), "START_DEV with the next server");
            auto app = App::read(device, 0, 4096);
            expect_eq(4096, server->serve_until(app), "bytes read");
        }
        server.reset();
        expect_ok(device.del());
    }
}

CASE("UBLK-START-015", contract,
     "Capacity, limits and the read-only mark are final when the disk is announced")
{
    Driver driver;
    const auto device = driver.make();
    Uevents events;
    std::array<std::string, 3> seen;
    std::thread listener([&] {
        if (events.wait_for(disk_event("add", device)))
            seen = {device.sysfs("size"), device.sysfs("ro"), device.sysfs("queue/logical_block_size")};
    });
    auto params = basic_params(6144);
    params.basic.attrs = static_cast<std::uint32_t>(Attr::read_only);
    params.basic.logical_bs_shift = 12;
    Server server(device);
    server.go_live(params);
    listener.join();
    expect_eq("6144", seen[0], "size at the time of the event");
    expect_eq("1", seen[1], "ro at the time of the event");
    expect_eq("4096", seen[2], "queue/logical_block_size at the time of the event");
}

CASE("UBLK-START-016", contract,
     "ublkbN has the extended block major, and GET_PARAMS reports the numbers of both nodes")
{
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.go_live();
    struct stat disk{}, node{};
    expect_ok(sys(::stat(device.block_path().c_str(), &disk)), "stat of ublkbN");
    expect_ok(sys(::stat(device.char_path().c_str(), &node)), "stat of ublkcN");
    std::ifstream list("/proc/devices");
    unsigned extended = 0;
    for (std::string number, name; list >> number >> name;) {
        if (name == "blkext")
            extended = static_cast<unsigned>(std::stoul(number));
    }
    expect_eq(extended, major(disk.st_rdev), "major of ublkbN");
    Params params;
    expect_ok(device.get_params(params));
    expect_eq(disk.st_rdev, makedev(params.devt.disk_major, params.devt.disk_minor), "number of ublkbN");
    expect_eq(node.st_rdev, makedev(params.devt.char_major, params.devt.char_minor), "number of ublkcN");
}

} // namespace conformance
