// UBLK-ZONE: what a zoned device asks of its server, and what comes of the answers.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <linux/blkzoned.h>
#include <sys/ioctl.h>
#include <thread>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

using uapi::ZoneCond;
using uapi::ZoneReport;
using uapi::ZoneType;

const auto zones = needs(Feature::zoned | Feature::user_copy);
constexpr std::uint64_t zone_count = 8;

ZoneReport empty_zone(std::uint64_t number, std::uint64_t sectors = zone_sectors)
{
    return {.start = number * sectors,
            .len = sectors,
            .wp = number * sectors,
            .type = static_cast<std::uint8_t>(ZoneType::sequential_write_required),
            .cond = static_cast<std::uint8_t>(ZoneCond::empty),
            .capacity = sectors};
}

bool is_report(const Server::Request& request)
{
    return static_cast<IoOp>(request.desc.op()) == IoOp::report_zones;
}

// The result of a report that is not to be asked for again: before 7.3 one that is short of the buffer's
// bytes is, and how long the buffer is nobody tells.
constexpr std::int32_t all_told = 1 << 20;

// Gives as many zones as are asked for and `table` has, from the one asked for on.
std::int32_t answer_from(const std::vector<ZoneReport>& table, const Server& server,
                         const Server::Request& request, std::uint64_t sectors = zone_sectors)
{
    const std::span all(table);
    const auto first = std::min<std::size_t>(request.desc.start_sector / sectors, table.size());
    const auto count = std::min<std::size_t>(request.desc.nr_sectors, table.size() - first);
    const long res = copy_in(server, request, std::as_bytes(all.subspan(first, count)));
    return res < 0 ? static_cast<std::int32_t>(res) : all_told;
}

std::vector<ZoneReport> empty_zones(std::uint64_t count = zone_count, std::uint64_t sectors = zone_sectors)
{
    std::vector<ZoneReport> table;
    for (std::uint64_t i = 0; i < count; ++i)
        table.push_back(empty_zone(i, sectors));
    return table;
}

// A zoned device that is about to start, with a server that has fetched all.
struct Starting {
    Driver driver;
    Device device;
    Server server;

    explicit Starting(const Params& params = zoned_params(), Features flags = Feature::user_copy)
        : device(driver.make({.flags = flags | Feature::zoned})), server(device, {.copy_buffers = false})
    {
        expect_ok(device.set_params(params), "SET_PARAMS");
        server.fetch_all();
    }
    long start() { return control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())); }

    // `answer` gives the result of each report. Reads are of the partition scan, which kernels without
    // NO_AUTO_PART_SCAN cannot go without, and end whole.
    void on_report(std::function<std::int32_t(const Server::Request&)> answer)
    {
        server.handler = [answer = std::move(answer)](const Server::Request& request) {
            return std::optional(
                is_report(request) ? answer(request)
                                   : static_cast<std::int32_t>(request.desc.nr_sectors * uapi::sector_size));
        };
    }
};

// As struct blk_zone_report.
struct ReportedZones {
    std::uint64_t sector = 0;
    std::uint32_t nr_zones = zone_count + 1, flags = 0;
    ZoneReport zones[zone_count + 1];

    App ask(const Device& device)
    {
        return app_with(device, O_RDONLY, [this](int fd) { return sys(::ioctl(fd, BLKREPORTZONE, this)); });
    }
};

App zone_ioctl(const Device& device, unsigned long request, std::uint64_t zone, std::uint64_t count = 1)
{
    return app_with(device, O_RDWR, [=](int fd) {
        blk_zone_range range{.sector = zone * zone_sectors, .nr_sectors = count * zone_sectors};
        return sys(::ioctl(fd, request, &range));
    });
}

} // namespace

CASE("UBLK-ZONE-001", contract,
     "START_DEV of a zoned device asks its server for the zones, and waits for them", zones)
{
    Starting device;
    auto start = device.device.begin_start();
    const auto request = device.server.expect_request("START_DEV's report");
    expect_eq(static_cast<unsigned>(IoOp::report_zones), request.desc.op(), "operation");
    start.expect_pending("START_DEV");
    serve_zones(device.server);
    device.server.commit(request.q, request.tag, report_zones(device.server, request));
    expect_ok(device.server.serve_until(start), "START_DEV");
    expect_true(device.device.state() == DevState::live, "the state is LIVE");
}

CASE("UBLK-ZONE-002", contract,
     "A report names the first zone and how many; 64 bytes for each come by position or registered buffer",
     zones)
{
    for (const auto path : {Feature::user_copy, Feature::support_zero_copy}) {
        // Without BUF_REG_OFF_DAEMON a report's pages cannot be given back through its own tag.
        if (!offers(path) || (path == Feature::support_zero_copy && !offers(Feature::buf_reg_off_daemon)))
            continue;
        Starting device(zoned_params(), path);
        auto& server = device.server;
        expect_ok(server.ring().register_empty_buffers(buffer_slots), "a table of fixed buffers");
        std::uint64_t asked = 0;
        device.on_report([&](const Server::Request& request) -> std::int32_t {
            expect_eq(asked * zone_sectors, request.desc.start_sector, "first sector of a report");
            expect_true(request.desc.nr_sectors > 0, "zones of a report");
            Bytes answer(request.desc.nr_sectors * sizeof(ZoneReport));
            for (std::uint64_t i = 0; i < request.desc.nr_sectors && asked < zone_count; ++i, ++asked) {
                const auto zone = empty_zone(asked);
                std::memcpy(answer.data() + i * sizeof(zone), &zone, sizeof(zone));
            }
            const auto bytes = static_cast<long>(answer.size());
            if (path == Feature::user_copy) {
                expect_eq(bytes, copy_in(server, request, answer), "bytes given by position");
                return kernel_version() >= uapi::KernelVersion{7, 3} ? 0 : all_told;
            }
            expect_ok(register_buffer(server, request), "REGISTER");
            const MemoryFile file(answer);
            expect_eq(bytes, read_fixed(server, file.fd(), {.bytes = answer.size()}), "bytes given");
            expect_ok(unregister_buffer(server), "UNREGISTER");
            return all_told;
        });
        expect_ok(device.start(), uapi::to_string(path));
        expect_eq(zone_count, asked, "zones that were asked for");
        expect_eq(std::string("8"), device.device.sysfs("queue/nr_zones"), "nr_zones");
    }
}

CASE("UBLK-ZONE-003", contract,
     "A report may give fewer zones than asked for; the kernel goes on behind them", zones)
{
    Starting device;
    std::vector<std::uint64_t> starts;
    device.on_report([&](const Server::Request& request) {
        starts.push_back(request.desc.start_sector / zone_sectors);
        std::vector<ZoneReport> some(std::min(request.desc.nr_sectors, 4U)); // the last has length 0
        for (std::size_t i = 0; i < std::min<std::size_t>(some.size(), 3); ++i)
            some[i] = empty_zone(starts.back() + i);
        const long res = copy_in(device.server, request, std::as_bytes(std::span(some)));
        return res < 0 ? static_cast<std::int32_t>(res) : all_told;
    });
    expect_ok(device.start(), "START_DEV");
    expect_true(starts == std::vector<std::uint64_t>{0, 3, 6}, "reports begin with zones 0, 3 and 6");
    expect_eq(std::string("8"), device.device.sysfs("queue/nr_zones"), "nr_zones");
}

CASE("UBLK-ZONE-015", behaviour, "A report that gives no zone is asked for again, however often that was so",
     zones)
{
    constexpr unsigned empty_answers = 64;
    Starting device;
    const auto table = empty_zones();
    unsigned asked = 0;
    device.on_report([&](const Server::Request& request) {
        expect_eq(asked <= empty_answers ? 0U : 1U, static_cast<unsigned>(request.desc.start_sector != 0),
                  "a report begins at the start until a zone was given");
        if (++asked > empty_answers)
            return answer_from(table, device.server, request);
        const std::vector<ZoneReport> none(request.desc.nr_sectors);
        const long res = copy_in(device.server, request, std::as_bytes(std::span(none)));
        return res < 0 ? static_cast<std::int32_t>(res) : all_told;
    });
    expect_ok(device.start(), "START_DEV");
    expect_eq(empty_answers + 1, asked, "reports that were asked for");
}

CASE("UBLK-ZONE-004", contract,
     "Zones that do not fit fail START_DEV with ENODEV, a failed report with its error; it can be repeated",
     zones)
{
    Starting device;
    auto table = empty_zones();
    const auto good = table;
    std::int32_t error = 0;
    device.on_report([&](const Server::Request& request) {
        return error != 0 ? error : answer_from(table, device.server, request);
    });
    const auto expect_fails = [&](int err, std::string_view what) {
        expect_error(err, device.start(), what);
        expect_true(device.device.state() == DevState::dead, "the state is DEAD");
        expect_true(!device.device.has_disk(), "no ublkbN");
        table = good;
        error = 0;
    };
    table[3].len = zone_sectors / 2;
    expect_fails(ENODEV, "a zone that is too short");
    table[5].start += 8;
    expect_fails(ENODEV, "a gap between zones");
    table[2].type = 9;
    expect_fails(ENODEV, "a type that does not exist");
    error = -EIO;
    expect_fails(EIO, "a report that fails with EIO");
    error = -ENOSPC;
    expect_fails(ENOSPC, "a report that fails with ENOSPC");
    expect_ok(device.start(), "zones that fit");
    expect_true(device.device.state() == DevState::live, "the state is LIVE");
}

CASE("UBLK-ZONE-005", contract, "A zoned device without sectors does not start, and its server is not asked",
     zones)
{
    auto params = zoned_params();
    params.basic.dev_sectors = 0;
    params.zoned.max_open_zones = params.zoned.max_active_zones = 0;
    Starting device(params);
    expect_error(ENODEV, device.start(), "START_DEV");
    expect_eq(0U, device.server.seen.size(), "requests at the server");
    expect_ok(device.device.set_params(zoned_params()), "SET_PARAMS");
    serve_zones(device.server);
    expect_ok(device.start(), "START_DEV with sectors");
}

CASE("UBLK-ZONE-006", contract, "A report asks for no more zones than the longest request holds", zones)
{
    constexpr std::uint64_t many = 200, small = 64;
    for (const std::uint32_t max_sectors : {8U, 16U}) {
        auto params = zoned_params();
        params.basic.chunk_sectors = small;
        params.basic.dev_sectors = many * small;
        params.basic.max_sectors = max_sectors;
        Starting device(params);
        device.on_report([&, table = empty_zones(many, small)](const Server::Request& request) {
            return answer_from(table, device.server, request, small);
        });
        expect_ok(device.start(), "START_DEV");
        std::uint64_t next = 0;
        unsigned longest = 0;
        for (const auto& request : device.server.seen) {
            if (!is_report(request))
                continue;
            expect_eq(next, request.desc.start_sector, "first sector of a report");
            next += request.desc.nr_sectors * small;
            longest = std::max(longest, request.desc.nr_sectors);
        }
        expect_true(next >= many * small, "the reports cover the disk");
        expect_eq(max_sectors * uapi::sector_size / sizeof(ZoneReport), longest,
                  "zones of the longest report");
    }
}

CASE("UBLK-ZONE-007", contract, "BLKREPORTZONE tells the application what the server says", zones)
{
    std::vector<ZoneReport> table;
    const ZoneCond conditions[] = {ZoneCond::not_write_pointer, ZoneCond::empty,  ZoneCond::implicit_open,
                                   ZoneCond::explicit_open,     ZoneCond::closed, ZoneCond::full,
                                   ZoneCond::read_only,         ZoneCond::offline};
    for (std::uint64_t i = 0; i < zone_count; ++i) {
        auto zone = empty_zone(i);
        zone.cond = static_cast<std::uint8_t>(conditions[i]);
        zone.capacity = zone_sectors - 24;
        if (i >= 2 && i <= 4)
            zone.wp += 8 * i;
        table.push_back(zone);
    }
    table[0].type = static_cast<std::uint8_t>(ZoneType::conventional);
    table[0].capacity = zone_sectors;
    Starting device;
    device.on_report(
        [&](const Server::Request& request) { return answer_from(table, device.server, request); });
    expect_ok(device.start(), "START_DEV");
    table[5].reset = table[6].non_seq = 1; // no memory of the kernel's: it asks again
    ReportedZones answer;
    auto report = answer.ask(device.device);
    expect_ok(device.server.serve_until(report), "BLKREPORTZONE");
    expect_eq(zone_count, answer.nr_zones, "zones reported");
    for (std::uint64_t i = 0; i < zone_count; ++i) {
        const auto& seen = answer.zones[i];
        const auto what = [i](const char* member) { return fmt::format("{} of zone {}", member, i); };
        expect_eq(table[i].start, seen.start, what("start"));
        expect_eq(table[i].len, seen.len, what("len"));
        expect_eq(unsigned{table[i].type}, unsigned{seen.type}, what("type"));
        expect_eq(unsigned{table[i].cond}, unsigned{seen.cond}, what("cond"));
        expect_eq(table[i].capacity, seen.capacity, what("capacity"));
        if (i >= 1 && i <= 4)
            expect_eq(table[i].wp, seen.wp, what("wp"));
        expect_eq(unsigned{table[i].reset} + table[i].non_seq, unsigned{seen.reset} + seen.non_seq,
                  what("reset and non_seq"));
    }
}

CASE("UBLK-ZONE-017", contract, "Zones that come in several reports have the places that they were told for",
     zones)
{
    auto table = empty_zones();
    for (std::uint64_t i = 0; i < zone_count / 2; ++i) {
        table[i].type = static_cast<std::uint8_t>(ZoneType::conventional);
        table[i].cond = static_cast<std::uint8_t>(ZoneCond::not_write_pointer);
    }
    Starting device;
    device.on_report([&](const Server::Request& request) {
        std::vector<ZoneReport> some(std::min(request.desc.nr_sectors, 4U)); // the last has length 0
        const auto first = request.desc.start_sector / zone_sectors;
        for (std::size_t i = 0; i < std::min<std::size_t>(some.size(), 3); ++i)
            some[i] = table.at(first + i);
        const long res = copy_in(device.server, request, std::as_bytes(std::span(some)));
        return res < 0 ? static_cast<std::int32_t>(res) : all_told;
    });
    expect_ok(device.start(), "START_DEV");
    ReportedZones told;
    auto report = told.ask(device.device);
    expect_ok(device.server.serve_until(report), "BLKREPORTZONE");
    expect_eq(zone_count, told.nr_zones, "zones reported");
    for (std::uint64_t i = 0; i < zone_count; ++i) {
        expect_eq(table[i].start, told.zones[i].start, fmt::format("start of zone {}", i));
        expect_eq(unsigned{table[i].type}, unsigned{told.zones[i].type}, fmt::format("type of zone {}", i));
    }
}

CASE("UBLK-ZONE-008", contract, "Each operation on zones comes as its own, with the zone's first sector",
     zones)
{
    Driver driver;
    ZonedLive disk(driver);
    struct Row {
        unsigned long request;
        std::uint64_t zone, count;
        IoOp op;
    };
    for (const auto& [request, zone, count, op] :
         {Row{BLKOPENZONE, 3, 1, IoOp::zone_open}, Row{BLKCLOSEZONE, 3, 1, IoOp::zone_close},
          Row{BLKFINISHZONE, 5, 1, IoOp::zone_finish}, Row{BLKRESETZONE, 7, 1, IoOp::zone_reset},
          Row{BLKRESETZONE, 0, zone_count, IoOp::zone_reset_all}, Row{BLKOPENZONE, 1, 2, IoOp::zone_open}}) {
        disk.server.seen.clear();
        auto app = zone_ioctl(disk.device, request, zone, count);
        expect_ok(disk.server.serve_until(app), fmt::format("ioctl {:#x}", request));
        std::vector<std::uint64_t> starts;
        for (const auto& seen : disk.server.seen) {
            if (is_report(seen))
                continue;
            expect_eq(static_cast<unsigned>(op), seen.desc.op(), "operation");
            starts.push_back(seen.desc.start_sector / zone_sectors);
        }
        if (op == IoOp::zone_reset_all)
            expect_eq(1U, starts.size(), "requests for all zones");
        else if (count == 2)
            expect_true(starts == std::vector<std::uint64_t>{1, 2}, "a request for each of two zones");
        else
            expect_true(starts == std::vector{zone}, fmt::format("one request, for zone {}", zone));
    }
}

CASE("UBLK-ZONE-011", contract, "Operations on zones never reach the server of a device without zones", zones)
{
    Driver driver;
    Live live(driver);
    live.server.seen.clear();
    for (const auto request : {BLKOPENZONE, BLKCLOSEZONE, BLKFINISHZONE, BLKRESETZONE}) {
        auto app = zone_ioctl(live.device, request, 0);
        expect_any_error({ENOTTY, EOPNOTSUPP}, live.server.serve_until(app), "an operation on a zone");
    }
    auto report = app_with(live.device, O_RDONLY, [](int fd) {
        blk_zone_report head{.sector = 0, .nr_zones = 0, .flags = 0};
        return sys(::ioctl(fd, BLKREPORTZONE, &head));
    });
    expect_any_error({ENOTTY, EOPNOTSUPP}, live.server.serve_until(report), "a report");
    expect_eq(0U, live.server.seen.size(), "requests at the server");
}

CASE("UBLK-ZONE-012", contract, "Too many open and too many active zones reach the application as such",
     zones)
{
    for (const int err : {ETOOMANYREFS, EOVERFLOW}) {
        Driver driver;
        ZonedLive disk(driver);
        disk.server.handler = [err](const Server::Request&) { return std::optional(-err); };
        auto open = zone_ioctl(disk.device, BLKOPENZONE, 1);
        expect_error(err, disk.server.serve_until(open), "BLKOPENZONE");
        auto write = App::write(disk.device, 2 * zone_sectors, 4096, std::byte{1});
        expect_error(err, disk.server.serve_until(write), "a write");
        expect_eq(1U, count_seen(disk.server, IoOp::write), "writes that reached the server");
    }
}

CASE("UBLK-ZONE-016", contract, "A START_DEV that fails on its report leaves no timer behind", zones,
     timeout(60s))
{
    for (int device = 0; device < 4; ++device) {
        Starting refused;
        refused.on_report([](const Server::Request&) { return -EIO; });
        expect_error(EIO, refused.start(), "START_DEV");
    }
    // The block layer looks at requests every five seconds, and a kernel that does so on queues that are gone
    // crashes.
    std::this_thread::sleep_for(8s);
    Starting sound;
    serve_zones(sound.server);
    expect_ok(sound.start(), "START_DEV of another device");
}

CASE("UBLK-ZONE-013", contract, "A server that dies over START_DEV's report fails it, and nothing hangs",
     zones, since(6, 15))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::zoned | Feature::user_copy});
    expect_ok(device.set_params(zoned_params()), "SET_PARAMS");
    Child child([&](Child& self) {
        Driver own;
        Server server(Device(own, device.added()), {.copy_buffers = false});
        server.fetch_all();
        self.tell();
        server.expect_request("START_DEV's report");
        self.tell();
        server.serve_for(10min); // nothing: there is no other request
        return 0;
    });
    child.hear();
    auto start = device.begin_start(child.pid());
    child.hear();
    start.expect_pending("START_DEV");
    child.kill(SIGKILL);
    expect_eq(128 + SIGKILL, child.join(), "exit of the killed server");
    expect_error(EIO, start.result(), "START_DEV");
    expect_true(device.state() == DevState::dead, "the state is DEAD");
    expect_true(!device.has_disk(), "no ublkbN");
}

CASE("UBLK-ZONE-014", behaviour,
     "The first write to a zone may begin anywhere; one that does not go on where it ended reaches no server",
     zones)
{
    Driver driver;
    ZonedLive disk(driver);
    const auto write = [&](std::uint64_t into_zone) {
        disk.server.seen.clear();
        auto app = App::write(disk.device, zone_sectors + into_zone, 4096, std::byte{1});
        return disk.server.serve_until(app);
    };
    expect_eq(4096, write(64), "bytes of a first write behind the write pointer");
    expect_eq(zone_sectors + 64, disk.server.seen.at(0).desc.start_sector, "its sector at the server");
    expect_eq(4096, write(72), "bytes of one that goes on");
    for (const std::uint64_t beside : {72U, 0U, 88U}) {
        expect_error(EIO, write(beside), fmt::format("a write {} sectors into the zone", beside));
        expect_eq(0U, count_seen(disk.server, IoOp::write), "writes that reached the server");
    }
}

} // namespace conformance
