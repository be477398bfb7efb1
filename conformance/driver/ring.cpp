// UBLK-RING: the rings and surroundings that a server may have.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <set>
#include <sys/mount.h>
#include <sys/stat.h>

namespace conformance {

namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

namespace {

wire::Ring open_ring(Where where = Where::current())
{
    auto ring = wire::Ring::open({.sqe128 = false});
    if (!ring)
        fail("io_uring_setup works", errno_text(ring.error()), where);
    return std::move(*ring);
}

// A device with one tag, whose server is nothing but a node, a buffer and a map: any ring may send its
// commands.
struct OneTag {
    Device device;
    Fd node;
    wire::DescriptorMap map;
    Bytes buffer;
    unsigned requests = 0; // that serve() met

    explicit OneTag(Driver& driver)
        : device(driver.make({.queue_depth = 1})), node(device.open_char_soon(O_RDWR)), buffer(64 * 1024)
    {
        expect_ok(device.set_params(basic_params()), "SET_PARAMS");
        auto mapped = wire::DescriptorMap::map(node.get(), 0, 1);
        expect_true(mapped.has_value(), "the descriptors map");
        map = std::move(*mapped);
    }
    // `file` is an index of the ring's registered files if it is given.
    void send(wire::Ring& ring, IoNr nr, std::int32_t result, std::uint64_t user_data, int file = -1)
    {
        wire::prep_io(*ring.sqe(), file >= 0 ? file : node.get(), uapi::opcode(nr),
                      {.result = result, .addr = reinterpret_cast<std::uintptr_t>(buffer.data())}, user_data,
                      file >= 0);
        expect_eq(1, ring.submit(), "entries taken");
    }
    std::int32_t bytes() const
    {
        return static_cast<std::int32_t>(map.read(0).nr_sectors * uapi::sector_size);
    }
};

// Serves one device through `ring` until `holds`; every command has user_data 0.
bool serve(OneTag& tag, wire::Ring& ring, const std::function<bool()>& holds, int file = -1,
           Millis limit = patience)
{
    return eventually(
        [&] {
            if (const auto done = ring.wait(1ms); done && done->res == 0) {
                ++tag.requests;
                tag.send(ring, IoNr::commit_and_fetch_req, tag.bytes(), 0, file);
            }
            return holds();
        },
        limit);
}

// START_DEV, and the partition scan where it cannot be suppressed: see Server::serve_partition_scan().
void start(OneTag& tag, wire::Ring& ring, int file = -1, Where where = Where::current())
{
    auto command = tag.device.begin_start();
    expect_true(serve(tag, ring, [&] { return command.done(); }, file), "START_DEV ends", where);
    expect_ok(command.result(), "START_DEV", where);
    if (offers(Feature::no_auto_part_scan) || !serve(tag, ring, [&] { return tag.requests > 0; }, file, 2s))
        return;
    const auto open = app_with(tag.device, O_RDONLY, [](int) { return 0L; });
    expect_true(serve(tag, ring, [&] { return open.done(); }, file), "the partition scan ends", where);
}

unsigned reads_in_flight(const Device& device)
{
    unsigned reads = 0, writes = 0;
    std::sscanf(device.sysfs("inflight").c_str(), "%u %u", &reads, &writes);
    return reads;
}

void serve_read(Server& server, Where where = Where::current())
{
    auto app = App::read(server.device(), 0, 4096);
    expect_eq(4096, server.serve_until(app, where), "bytes read", where);
}

} // namespace

CASE("UBLK-RING-001", contract,
     "A server's ring may run its completions as it likes; with DEFER_TASKRUN they wait until it enters")
{
    constexpr unsigned coop = 1U << 8, single = 1U << 12, defer = 1U << 13; // IORING_SETUP_*
    for (const unsigned flags : {0U, coop, single, single | defer}) {
        Driver driver;
        const auto device = driver.make();
        Server server(device, {.ring = {.entries = 64, .sqe128 = false, .flags = flags}});
        server.go_live();
        for (int round = 0; round < 4; ++round)
            serve_read(server);
        if ((flags & defer) == 0)
            continue;
        auto app = App::read(device, 0, 4096);
        expect_true(eventually([&] { return reads_in_flight(device) == 1; }), "a read is on its way");
        expect_true(!eventually([&] { return io_uring_cq_ready(&server.ring().raw()) > 0; }, settle),
                    "its completion waits");
        expect_eq(4096, server.serve_until(app), "bytes read once the server enters");
    }
}

CASE("UBLK-RING-002", contract,
     "A ring with SQPOLL serves; its thread is the tags', so that nobody commits through another ring")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    Server server(device, {.ring = {.entries = 64, .sqe128 = false, .flags = IORING_SETUP_SQPOLL}});
    server.go_live();
    for (int round = 0; round < 4; ++round)
        serve_read(server);
    auto app = App::read(device, 0, 4096);
    server.expect_request("the application's read");
    auto other = open_ring();
    expect_error(EINVAL, io_through(other, server, IoNr::commit_and_fetch_req, server.cmd(0, 0, 4096)),
                 "COMMIT through a plain ring");
    expect_true(!app.done(), "the read waits for the right ring's commit");
    server.commit(0, 0, 4096);
    expect_eq(4096, server.serve_until(app), "bytes read");
}

CASE("UBLK-RING-003", contract,
     "A registered file of ublkcN serves as its descriptor does, and keeps it open")
{
    Driver driver;
    OneTag tag(driver);
    std::optional<wire::Ring> ring = open_ring();
    const int fd = tag.node.get();
    expect_ok(ring->register_files(&fd, 1), "registering the file");
    tag.send(*ring, IoNr::fetch_req, 0, 0, 0);
    start(tag, *ring, 0);
    const auto first = App::read(tag.device, 0, 4096);
    expect_true(serve(tag, *ring, [&] { return first.done(); }, 0), "a read ends");
    expect_eq(4096, first.result(), "bytes read");

    tag.map = {};
    tag.node.reset();
    expect_true(!eventually([&] { return tag.device.open_char(O_RDWR).has_value(); }, settle),
                "ublkcN stays taken without its descriptor");
    const auto second = App::read(tag.device, 0, 4096);
    const auto done = ring->wait(patience);
    expect_true(done && done->res == 0, "the next request comes");
    tag.send(*ring, IoNr::commit_and_fetch_req, 4096, 0, 0);
    expect_true(eventually([&] { return second.done(); }), "it ends");
    expect_eq(4096, second.result(), "bytes read");
}

CASE("UBLK-RING-004", contract, "A completion queue that is too short loses no request")
{
    constexpr unsigned depth = 16;
    auto params = basic_params();
    params.basic.max_sectors = 8;
    Driver driver;
    const auto device = driver.make({.queue_depth = depth});
    Server server(device, {.ring = {.entries = 2, .cq_entries = 2, .sqe128 = false}});
    server.go_live(params);
    auto app = App::read(device, 0, depth * std::size_t{4096});
    expect_true(eventually([&] { return reads_in_flight(device) == depth; }), "all tags have a request");
    expect_true(eventually([&] { return (*server.ring().raw().sq.kflags & IORING_SQ_CQ_OVERFLOW) != 0; }),
                "the completion queue overflows");
    std::set<unsigned> tags;
    for (unsigned i = 0; i < depth; ++i)
        tags.insert(server.expect_request("a part of the read").tag);
    expect_eq(std::size_t{depth}, tags.size(), "tags that came");
    for (const auto tag : tags)
        server.commit(0, tag, 4096);
    expect_eq(depth * 4096L, server.serve_until(app), "bytes read");
}

CASE("UBLK-RING-005", contract, "One ring may serve several devices")
{
    Driver driver;
    OneTag tags[] = {OneTag(driver), OneTag(driver), OneTag(driver)};
    auto ring = open_ring();
    unsigned served[3] = {};
    const auto serve_until = [&](const std::function<bool()>& holds) {
        return eventually([&] {
            if (const auto done = ring.wait(1ms); done && done->res == 0) {
                auto& tag = tags[done->user_data];
                ++served[done->user_data];
                tag.send(ring, IoNr::commit_and_fetch_req, tag.bytes(), done->user_data);
            }
            return holds();
        });
    };
    for (std::uint64_t i = 0; i < std::size(tags); ++i) {
        tags[i].send(ring, IoNr::fetch_req, 0, i);
        auto start = tags[i].device.begin_start();
        expect_true(serve_until([&] { return start.done(); }), "START_DEV ends");
        expect_ok(start.result(), "START_DEV");
    }
    for (int round = 0; round < 4; ++round) {
        const App apps[] = {App::read(tags[0].device, 0, 4096), App::read(tags[1].device, 0, 4096),
                            App::read(tags[2].device, 0, 4096)};
        for (const auto& app : apps) {
            expect_true(serve_until([&] { return app.done(); }), "each device's read ends");
            expect_eq(4096, app.result(), "bytes read");
        }
    }
    for (const unsigned requests : served)
        expect_true(requests >= 4, "requests of each device");
}

CASE("UBLK-RING-006", contract, "A request's completion carries the user_data of the command it answers")
{
    Driver driver;
    OneTag tag(driver);
    auto ring = open_ring();
    tag.send(ring, IoNr::fetch_req, 0, 0);
    start(tag, ring);
    std::uint64_t expected = 0; // of the command that is out
    for (const std::uint64_t next : {~0ULL, 1ULL << 63, 0x0123'4567'89ab'cdefULL, 0ULL, 7ULL}) {
        const auto app = App::read(tag.device, 0, 4096);
        const auto done = ring.wait(patience);
        expect_true(done && done->res == 0, "a request comes");
        expect_eq(expected, done->user_data, "user_data");
        tag.send(ring, IoNr::commit_and_fetch_req, tag.bytes(), next);
        expected = next;
        expect_true(eventually([&] { return app.done(); }), "the read ends");
    }
}

CASE("UBLK-RING-007", contract, "A server that waits for STOP_DEV and its own request at once can be killed",
     timeout(10s))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    Child child([&](Child& self) {
        Driver own;
        Server server(Device(own, device.added()));
        server.go_live();
        self.tell();
        server.expect_request("the application's read");
        auto stop = server.device().begin(CtrlNr::stop_dev);
        self.tell();
        stop.wait(10min);
        return 0;
    });
    child.hear();
    const auto app = App::read(device, 0, 4096);
    child.hear();
    expect_true(!eventually([&] { return app.done(); }, settle), "the read waits");
    child.kill(SIGKILL);
    expect_eq(128 + SIGKILL, child.join(), "exit of the killed server");
    expect_true(eventually([&] { return app.done(); }), "the read ends");
    expect_error(EIO, app.result(), "its result");
    expect_true(eventually([&] { return device.state() == DevState::dead && !device.has_disk(); }),
                "the device is DEAD, and its disk gone");
}

CASE("UBLK-RING-012", contract, "A FETCH that comes while STOP_DEV waits for the server is refused at once",
     timeout(10s))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    Child child([&](Child& self) {
        Driver own;
        Server server(Device(own, device.added()));
        server.go_live();
        self.tell();
        const auto request = server.expect_request("the application's read");
        self.tell();
        self.hear();
        expect_any_error({EBUSY, ENODEV}, server.io(IoNr::fetch_req, server.cmd(0, 0)), "FETCH");
        self.tell();
        server.commit(request.q, request.tag, 4096);
        server.serve_for(10min);
        return 0;
    });
    child.hear();
    const auto app = App::read(device, 0, 4096);
    child.hear();
    auto stop = device.begin(CtrlNr::stop_dev);
    stop.expect_pending("STOP_DEV");
    child.tell();
    child.hear();
    expect_ok(stop.result(), "STOP_DEV");
    expect_true(eventually([&] { return app.done(); }), "the read ends");
    expect_eq(4096, app.result(), "bytes read");
}

CASE("UBLK-RING-008", contract,
     "A server may live in namespaces of its own, in which its pid and the paths it names are looked up",
     since(7, 0))
{
    in_pid_namespace([] {
        expect_ok(sys(::unshare(CLONE_NEWNS)), "a new mount namespace");
        expect_ok(sys(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr)), "private mounts");
        expect_ok(sys(::mount("none", "/tmp", "tmpfs", 0, nullptr)),
                  "a file system that only this process sees");
        Driver driver;
        const auto device = driver.make();
        Server server(device);
        server.go_live();
        serve_read(server);
        expect_eq(1, device.info().ublksrv_pid, "ublksrv_pid as this namespace numbers it");
        struct stat node{};
        expect_ok(sys(::stat(device.char_path().c_str(), &node)), "stat of ublkcN");
        const std::string path = "/tmp/node";
        expect_ok(sys(::mknod(path.c_str(), S_IFCHR | 0600, node.st_rdev)), "mknod");
        std::string buffer = path + std::string(sizeof(DevInfo), '\0');
        auto cmd = device.cmd(buffer.data(), buffer.size());
        cmd.dev_path_len = static_cast<std::uint16_t>(path.size());
        expect_ok(driver.control(CtrlNr::get_dev_info2, cmd), "GET_DEV_INFO2 by a path of this namespace");
        expect_ok(sys(::umount("/tmp")), "umount");
        expect_error(ENOENT, driver.control(CtrlNr::get_dev_info2, cmd),
                     "GET_DEV_INFO2 when the path is gone");
    });
}

CASE("UBLK-RING-010", contract, "CPUs that go and come back lose no request", timeout(60s))
{
    constexpr const char* online = "/sys/devices/system/cpu/cpu1/online";
    if (::access(online, W_OK) != 0)
        skip("needs a second CPU that can be taken away");
    Driver driver;
    Live live(driver, basic_params(), {.nr_hw_queues = 2});
    for (int round = 0; round < 6; ++round) {
        std::ofstream(online) << (round % 2 == 0 ? "0" : "1") << std::flush;
        for (const unsigned cpu : {0U, 1U}) {
            auto app = round % 2 == 0 ? App::read(live.device, 0, 4096)
                                      : write_data(live.device, pattern(4096), 0, cpu);
            expect_eq(4096, live.server.serve_until(app), "bytes of a request");
        }
        std::vector<App> apps;
        for (int i = 0; i < 4; ++i)
            apps.push_back(App::read(live.device, 0, 4096));
        for (auto& app : apps)
            expect_eq(4096, live.server.serve_until(app), "bytes of one of several requests");
    }
}

} // namespace conformance
