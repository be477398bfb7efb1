// UBLK-RECOV: what becomes of a device and its I/O when its server ends, and the next one comes.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <span>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

const Features can_fail = failing;

bool holds_pattern(Server& server, std::uint64_t sector, const Bytes& data)
{
    return std::ranges::equal(data,
                              std::span(server.memory()).subspan(sector * uapi::sector_size, data.size()));
}

// What the limits of a disk are, as sysfs has them.
std::string limits_of(const Device& device)
{
    std::string text;
    for (const char* name : {"size", "ro", "queue/logical_block_size", "queue/physical_block_size",
                             "queue/max_hw_sectors_kb", "queue/discard_granularity", "queue/write_cache"})
        text += fmt::format("{}={} ", name, device.sysfs(name));
    return text;
}

} // namespace

CASE("UBLK-RECOV-001", contract,
     "When the server dies the disk stays, of the same size and limits, and can be opened",
     needs(can_recover))
{
    Driver driver;
    for (const Features flags : {waiting, reissuing}) {
        const auto device = driver.make({.flags = flags});
        ServerProcess server(device);
        const auto before = limits_of(device);
        server.kill();
        expect_state(device, DevState::quiesced, "after the server's death");
        expect_true(device.has_disk(), "ublkbN stays");
        expect_eq(before, limits_of(device), "limits");
        const App open([path = device.block_path()] { return open_result(path, O_RDWR); });
        expect_ok(result_soon(open, "open of ublkbN"), "open of ublkbN");
    }
}

CASE("UBLK-RECOV-002", contract,
     "Without USER_RECOVERY_REISSUE the requests that the server had fail with EIO when it dies",
     needs(can_recover))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4, .flags = waiting});
    Keeper server(device);
    const App read = App::read(device, 0, 4096), write = App::write(device, 8, 4096, std::byte{1});
    server.expect_kept(2);
    expect_waits(read, "a read that the server has");
    server.kill();
    expect_error(EIO, result_soon(read, "the read"), "the read");
    expect_error(EIO, result_soon(write, "the write"), "the write");
    expect_state(device, DevState::quiesced, "after the server's death");
}

CASE("UBLK-RECOV-003", contract,
     "With USER_RECOVERY_REISSUE the requests that the server had wait, and come to the next server",
     needs(can_recover | Feature::user_recovery_reissue))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4, .flags = reissuing});
    Keeper first(device);
    auto write = write_data(device, pattern(4096, 3), 16);
    auto read = App::read(device, 64, 8192);
    first.expect_kept(2);
    first.kill();
    expect_state(device, DevState::quiesced, "after the server's death");
    expect_waits(write, "the write");
    expect_waits(read, "the read");
    std::optional<Server> next;
    recover(device, next);
    expect_eq(4096, next->serve_until(write), "bytes written");
    expect_eq(8192, next->serve_until(read), "bytes read");
    expect_eq(2U, next->seen.size(), "requests at the next server");
    for (const auto& request : next->seen) {
        const bool is_write = is_op(request, IoOp::write);
        expect_eq(is_write ? 16U : 64U, request.desc.start_sector, "start_sector");
        expect_eq(is_write ? 8U : 16U, request.desc.nr_sectors, "nr_sectors");
    }
    expect_true(holds_pattern(*next, 16, pattern(4096, 3)), "the write's data is there");
}

CASE("UBLK-RECOV-004", contract,
     "I/O of a device without a server waits, and reaches the next server once and whole", needs(can_recover))
{
    Driver driver;
    for (const Features flags : {waiting, reissuing}) {
        const Device device = orphan(driver, {.queue_depth = 2, .flags = flags});
        std::vector<App> writes; // more than there are tags
        for (unsigned i = 0; i < 5; ++i)
            writes.push_back(write_data(device, pattern(4096, i), 16 * i));
        expect_waits(writes.back(), "a write without a server");
        std::optional<Server> next;
        recover(device, next);
        for (auto& write : writes)
            expect_eq(4096, next->serve_until(write), "bytes written");
        expect_eq(5U, count_seen(*next, IoOp::write), "writes at the next server");
        for (unsigned i = 0; i < 5; ++i)
            expect_true(holds_pattern(*next, 16 * i, pattern(4096, i)), "its data is there");
    }
}

CASE("UBLK-RECOV-005", contract,
     "With USER_RECOVERY_FAIL_IO the server's death makes the state FAIL_IO, and its requests fail with EIO",
     needs(can_fail))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4, .flags = failing});
    Keeper server(device);
    const App read = App::read(device, 0, 4096), write = App::write(device, 8, 4096, std::byte{1});
    server.expect_kept(2);
    server.kill();
    expect_error(EIO, result_soon(read, "the read"), "the read");
    expect_error(EIO, result_soon(write, "the write"), "the write");
    expect_state(device, DevState::fail_io, "after the server's death");
    expect_true(device.has_disk(), "ublkbN stays");
}

CASE("UBLK-RECOV-006", contract,
     "While the state is FAIL_IO new I/O fails at once: with EREMOTEIO, through the page cache with EIO",
     needs(can_fail))
{
    Driver driver;
    Mortal mortal(driver, {.flags = failing});
    mortal.lose_server(DevState::fail_io);
    const App read = App::read(mortal.device, 0, 4096);
    expect_error(EREMOTEIO, result_soon(read, "a direct read"), "a direct read");
    const App write = App::write(mortal.device, 0, 4096, std::byte{1});
    expect_error(EREMOTEIO, result_soon(write, "a direct write"), "a direct write");
    const App cached = app_with(mortal.device, O_RDONLY, [](int fd) {
        char byte = 0;
        return sys(::pread(fd, &byte, 1, 0));
    });
    expect_error(EIO, result_soon(cached, "a cached read"), "a cached read");
    recover(mortal.device, mortal.server);
    auto again = App::read(mortal.device, 0, 4096);
    expect_eq(4096, mortal.server->serve_until(again), "bytes read after the recovery");
}

CASE("UBLK-RECOV-007", contract,
     "Between the end of the server's ring and its release of ublkcN new I/O fails with EIO, not EREMOTEIO",
     needs(can_fail))
{
    Driver driver;
    Mortal mortal(driver, {.queue_depth = 8, .flags = failing});
    mortal.server->close(); // the mappings stay
    expect_error(EIO, read_without_ring(mortal.device), "a read");
    expect_state(mortal.device, DevState::live, "while ublkcN is mapped");
    mortal.lose_server(DevState::fail_io);
    const App read = App::read(mortal.device, 0, 4096);
    expect_error(EREMOTEIO, result_soon(read, "a read"), "a read after the release");
}

CASE("UBLK-RECOV-008", contract,
     "A server that dies while it fetches for a recovery leaves the device as it was: the next one recovers "
     "it",
     needs(can_recover), timeout(60s))
{
    Driver driver;
    constexpr unsigned depth = 3;
    for (const auto& flavour : recovery_flavours()) {
        const Device device =
            orphan(driver, {.queue_depth = depth, .flags = flavour.flags}, flavour.without_server);
        const auto die_after = [&](unsigned fetches) {
            start_recovery(device);
            Child server([&](Child& self) {
                Driver own;
                Server inside(Device(own, device.added()));
                for (unsigned tag = 0; tag < fetches; ++tag)
                    inside.fetch(0, tag);
                expect_true(!inside.next(0ms), fmt::format("{} FETCHes are accepted", fetches));
                self.tell();
                self.hear();
                return 0;
            });
            server.hear();
            server.kill(SIGKILL);
            server.join();
            expect_state(device, flavour.without_server, fmt::format("after {} FETCHes", fetches));
        };
        for (unsigned fetches = 0; fetches <= depth; ++fetches)
            die_after(fetches);
        std::optional<Server> last;
        recover(device, last);
        auto read = App::read(device, 0, 4096);
        expect_eq(4096, last->serve_until(read), fmt::format("bytes read, {}", flavour.name));
        const Device other =
            orphan(driver, {.queue_depth = depth, .flags = flavour.flags}, flavour.without_server);
        start_recovery(other);
        std::optional<Server> half(std::in_place, other);
        half->fetch(0, 0);
        half.reset();
        expect_ok(other.del(), "DEL_DEV after the end of a server that had fetched one tag");
    }
}

CASE("UBLK-RECOV-009", contract, "A device is recovered as often as its servers die", needs(can_recover),
     timeout(120s))
{
    Driver driver;
    for (const auto& flavour : recovery_flavours()) {
        const Device device =
            orphan(driver, {.queue_depth = 2, .flags = flavour.flags}, flavour.without_server);
        for (unsigned round = 0; round < 30; ++round) {
            Child server([&](Child&) {
                Driver own;
                std::optional<Server> next;
                recover(Device(own, device.added()), next);
                auto write = write_data(device, pattern(4096, round), 8);
                expect_eq(4096, next->serve_until(write), "bytes written");
                expect_true(holds_pattern(*next, 8, pattern(4096, round)), "the data is there");
                return 0;
            });
            expect_eq(0, server.join(), fmt::format("exit of server {}, {}", round, flavour.name));
            expect_state(device, flavour.without_server, "after its end");
        }
    }
}

CASE("UBLK-RECOV-010", contract,
     "A server in another pid namespace recovers a device, by the process id that it has there",
     needs(can_recover), since(6, 18), timeout(30s))
{
    Driver driver;
    const Device abandoned = orphan(driver, {.flags = waiting});
    in_pid_namespace([&] {
        Driver other;
        const Device device(other, abandoned.added());
        start_recovery(device);
        Server server(device);
        server.memory().resize(8192 * uapi::sector_size);
        server.fetch_all();
        expect_eq(1, ::getpid(), "the server's process id");
        expect_ok(end_recovery(server), "END_USER_RECOVERY");
        expect_eq(1, device.info().ublksrv_pid, "ublksrv_pid, as the server has it");
        auto read = App::read(device, 0, 4096);
        expect_eq(4096, server.serve_until(read), "bytes read");
    });
    expect_state(abandoned, DevState::quiesced, "after that server's end");
}

CASE("UBLK-RECOV-011", contract, "A recovery changes neither queues nor depth nor parameters",
     needs(can_recover))
{
    Driver driver;
    const Device device = orphan(driver, {.nr_hw_queues = 2, .queue_depth = 3, .flags = waiting},
                                 DevState::quiesced, basic_params(4096));
    Params before;
    expect_ok(device.get_params(before), "GET_PARAMS");
    expect_error(EACCES, device.set_params(basic_params(1024)), "SET_PARAMS without a server");
    start_recovery(device);
    expect_error(EACCES, device.set_params(basic_params(1024)), "SET_PARAMS in a recovery");
    Server server(device);
    for (const auto& [q, tag] : {std::pair{2U, 0U}, std::pair{0U, 3U}}) {
        auto cmd = server.cmd(0, 0);
        cmd.q_id = q;
        cmd.tag = tag;
        expect_error(EINVAL, server.io(IoNr::fetch_req, cmd), "FETCH of what there was not before");
    }
    server.fetch_all();
    expect_ok(end_recovery(server), "END_USER_RECOVERY");
    Params after;
    expect_ok(device.get_params(after), "GET_PARAMS");
    expect_true(before == after, "the parameters are the same");
    const auto info = device.info();
    expect_eq(2, info.nr_hw_queues, "nr_hw_queues");
    expect_eq(3, info.queue_depth, "queue_depth");
    expect_eq("4096", device.sysfs("size"), "size");
}

CASE("UBLK-RECOV-012", contract, "A device without a server can be asked, resized, stopped and deleted",
     needs(can_recover))
{
    Driver driver;
    const auto lose = [&] {
        Mortal mortal(driver, {.flags = waiting});
        mortal.lose_server(DevState::quiesced);
        return mortal.device;
    };
    const Device asked = lose();
    Params params;
    expect_ok(asked.get_params(params), "GET_PARAMS");
    expect_eq(8192U, params.basic.dev_sectors, "dev_sectors");
    std::vector<std::uint64_t> mask(128);
    expect_ok(driver.control(CtrlNr::get_queue_affinity, asked.cmd(mask.data(), 1024)), "GET_QUEUE_AFFINITY");
    if (offers(Feature::update_size)) {
        expect_ok(asked.control(CtrlNr::update_size, 4096), "UPDATE_SIZE");
        expect_eq("4096", asked.sysfs("size"), "size");
    }
    expect_true(asked.state() == DevState::quiesced, "all that leaves the state");
    expect_ok(asked.del(), "DEL_DEV");
    expect_true(!asked.has_char_node(), "ublkcN is gone");
    const Device stopped = lose();
    expect_ok(stopped.stop(), "STOP_DEV");
    expect_true(!stopped.has_disk(), "ublkbN is gone");
    if (offers(Feature::safe_stop_dev)) {
        const Device tried = lose();
        expect_ok(tried.control(CtrlNr::try_stop_dev), "TRY_STOP_DEV");
        expect_true(!tried.has_disk(), "ublkbN is gone");
    }
}

CASE("UBLK-RECOV-013", contract, "DEL_DEV of a device without a server fails the I/O that waits with EIO",
     needs(can_recover))
{
    Driver driver;
    for (const Features flags : {waiting, reissuing}) {
        Mortal mortal(driver, {.queue_depth = 2, .flags = flags});
        mortal.lose_server(DevState::quiesced);
        std::vector<App> reads;
        for (unsigned i = 0; i < 4; ++i) // more than there are tags
            reads.push_back(App::read(mortal.device, 8 * i, 4096));
        expect_waits(reads.back(), "a read without a server");
        expect_ok(mortal.device.del(), "DEL_DEV");
        for (const auto& read : reads)
            expect_error(EIO, result_soon(read, "a read"), "a read that waited");
        expect_true(!mortal.device.has_disk(), "ublkbN is gone");
        expect_true(!mortal.device.has_char_node(), "ublkcN is gone");
    }
}

CASE("UBLK-RECOV-014", behaviour,
     "Of a device whose I/O waits for a recovery, only what was synced before STOP_DEV reaches the server",
     needs(can_recover))
{
    Driver driver;
    Mortal mortal(driver, {.flags = waiting});
    Server& server = *mortal.server;
    const Fd disk = open_block(server, O_RDWR);
    const auto put = [&](std::uint64_t sector, unsigned seed) {
        const auto data = pattern(4096, seed);
        expect_eq(4096,
                  sys(::pwrite(disk.get(), data.data(), data.size(),
                               static_cast<off_t>(sector * uapi::sector_size))),
                  "bytes made dirty");
    };
    put(0, 1);
    App sync([fd = disk.get()] { return sys(::fsync(fd)); });
    expect_ok(server.serve_until(sync), "fsync");
    put(64, 2);
    expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV");
    expect_true(holds_pattern(server, 0, pattern(4096, 1)), "what was synced is there");
    expect_true(holds_pattern(server, 64, Bytes(4096)), "what was not is lost");
}

CASE("UBLK-RECOV-015", contract, "A server that closes ublkcN and its ring on purpose is as good as dead",
     needs(can_recover), since(6, 15))
{
    Driver driver;
    for (const auto& flavour : recovery_flavours()) {
        Mortal mortal(driver, {.queue_depth = 2, .flags = flavour.flags});
        auto held = hold(*mortal.server, write_data(mortal.device, pattern(4096, 5), 8));
        mortal.lose_server(flavour.without_server);
        if (flavour.flags == reissuing)
            expect_waits(held.app, "the write that the server had");
        else
            expect_error(EIO, result_soon(held.app, "the write"), flavour.name);
        recover(mortal.device, mortal.server);
        if (flavour.flags == reissuing)
            expect_eq(4096, mortal.server->serve_until(held.app), "bytes written after the recovery");
        expect_state(mortal.device, DevState::live, "after the recovery");
    }
}

CASE("UBLK-RECOV-016", behaviour,
     "The close of ublkcN beside a ring with commands does nothing; that of the ring is a death before 6.15, "
     "and from then on once ublkcN is released",
     needs(can_recover))
{
    Driver driver;
    Mortal mortal(driver, {.flags = waiting});
    mortal.server->close_node(); // the mappings stay
    expect_true(!eventually([&] { return mortal.device.state() != DevState::live; }, settle),
                "LIVE after the close of ublkcN");
    auto held = hold(*mortal.server, App::read(mortal.device, 0, 4096));
    mortal.server->close();
    if (kernel_version() < uapi::KernelVersion{6, 15, 0}) {
        expect_state(mortal.device, DevState::quiesced, "after the ring's end");
    } else {
        expect_true(!eventually([&] { return mortal.device.state() != DevState::live; }, settle),
                    "LIVE after the ring's end, while ublkcN is mapped");
        expect_true(!held.app.done(), "the request waits");
    }
    mortal.lose_server(DevState::quiesced);
    expect_error(EIO, result_soon(held.app, "the read"), "the read");
}

} // namespace conformance
