// UBLK-SIZE: UPDATE_SIZE of a disk that is in use.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

namespace conformance {

namespace {

constexpr auto can_resize = Feature::update_size;

long update_size(const Device& device, std::uint64_t sectors)
{
    return device.control(CtrlNr::update_size, sectors);
}

std::uint64_t bytes_of(const Fd& disk)
{
    std::uint64_t bytes = 0;
    expect_ok(sys(::ioctl(disk.get(), BLKGETSIZE64, &bytes)), "BLKGETSIZE64");
    return bytes;
}

// Everybody who tells a size tells this one.
void expect_size(const Device& device, std::uint64_t sectors, std::string_view when,
                 Where where = Where::current())
{
    expect_eq(sectors, sysfs_number(device, "size", where), fmt::format("size in sysfs, {}", when), where);
    Params params;
    expect_ok(device.get_params(params), "GET_PARAMS", where);
    expect_eq(sectors, params.basic.dev_sectors, fmt::format("dev_sectors, {}", when), where);
}

} // namespace

CASE("UBLK-SIZE-001", contract,
     "UPDATE_SIZE changes the size that sysfs, BLKGETSIZE64 and GET_PARAMS tell, and announces it",
     needs(can_resize))
{
    Driver driver;
    Mortal mortal(driver, {.flags = can_resize});
    const Fd disk = open_block(*mortal.server, O_RDONLY);
    for (const std::uint64_t sectors : {16384, 1024}) {
        Uevents events;
        expect_ok(update_size(mortal.device, sectors), "UPDATE_SIZE");
        expect_size(mortal.device, sectors, "after UPDATE_SIZE");
        expect_eq(sectors * ublk::uapi::sector_size, bytes_of(disk), "BLKGETSIZE64");
        expect_true(events.wait_for(disk_event("change", mortal.device), patience, "RESIZE=1"),
                    "the kernel announces it");
    }
    expect_ok(update_size(mortal.device, 16384), "UPDATE_SIZE");
    mortal.server->memory().resize(16384 * ublk::uapi::sector_size);
    auto app = App::write(mortal.device, 16376, 4096, std::byte{1});
    expect_eq(4096, mortal.server->serve_until(app), "bytes written at the new end");
}

CASE("UBLK-SIZE-002", contract, "UPDATE_SIZE of a device without a disk is refused with ENODEV",
     needs(can_resize))
{
    Driver driver;
    const auto device = driver.make({.flags = can_resize});
    expect_error(ENODEV, update_size(device, 1024), "never started");
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory().resize(8192 * ublk::uapi::sector_size);
    server.fetch_all();
    expect_error(ENODEV, update_size(device, 1024), "with a server, not started");
    expect_ok(control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())), "START_DEV");
    expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV");
    expect_error(ENODEV, update_size(device, 1024), "stopped");
    Params params;
    expect_ok(device.get_params(params), "GET_PARAMS");
    expect_eq(8192U, params.basic.dev_sectors, "dev_sectors");
}

CASE("UBLK-SIZE-003", behaviour, "UPDATE_SIZE works on devices that were made without the flag, too",
     needs(can_resize))
{
    Driver driver;
    for (const Features flags : {Features{}, Features(can_resize)}) {
        Mortal mortal(driver, {.flags = flags});
        expect_ok(update_size(mortal.device, 4096), ublk::uapi::to_string(flags));
        expect_size(mortal.device, 4096, ublk::uapi::to_string(flags));
    }
}

CASE("UBLK-SIZE-004", behaviour, "UPDATE_SIZE takes any size: none, part of a block, more than there can be",
     needs(can_resize))
{
    Driver driver;
    auto params = basic_params();
    params.basic.logical_bs_shift = 12;
    Mortal mortal(driver, {.flags = can_resize}, params);
    for (const std::uint64_t sectors :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 40, std::uint64_t{8192}}) {
        expect_ok(update_size(mortal.device, sectors), fmt::format("{} sectors", sectors));
        expect_size(mortal.device, sectors, "after UPDATE_SIZE");
    }
}

CASE("UBLK-SIZE-005", contract,
     "What lies behind the end of a smaller disk is nobody's; the server is not asked", needs(can_resize))
{
    Driver driver;
    Mortal mortal(driver, {.flags = can_resize});
    Server& server = *mortal.server;
    const Fd disk = open_block(server, O_RDWR | O_DIRECT);
    const auto io = [&](bool write, std::uint64_t sector, std::size_t bytes) {
        App app([=, fd = disk.get()] {
            const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(4096, bytes),
                                                                     &std::free);
            const auto at = static_cast<off_t>(sector * ublk::uapi::sector_size);
            return sys(write ? ::pwrite(fd, buffer.get(), bytes, at) : ::pread(fd, buffer.get(), bytes, at));
        });
        return server.serve_until(app);
    };
    expect_eq(4096, io(true, 4096, 4096), "bytes written before UPDATE_SIZE");
    expect_ok(update_size(mortal.device, 4096), "UPDATE_SIZE");
    server.seen.clear();
    expect_eq(0, io(false, 4096, 4096), "bytes read behind the end");
    expect_any_error({ENOSPC, EIO}, io(true, 4096, 4096), "a write behind the end");
    expect_true(server.seen.empty(), "the server is not asked");
    expect_eq(4096, io(false, 4088, 8192), "bytes read across the end");
    expect_eq(4096, io(true, 4088, 8192), "bytes written across the end");
    for (const auto& request : server.seen)
        expect_true(request.desc.start_sector + request.desc.nr_sectors <= 4096,
                    "no request crosses the end");
    expect_eq(2U, server.seen.size(), "requests for what is before the end");
}

CASE("UBLK-SIZE-006", contract, "UPDATE_SIZE works while the device waits for its next server, too",
     needs(can_resize))
{
    Driver driver;
    for (const auto& flavour : recovery_flavours()) {
        Mortal mortal(driver, {.flags = flavour.flags | can_resize});
        expect_ok(update_size(mortal.device, 4096), fmt::format("live, {}", flavour.name));
        expect_size(mortal.device, 4096, flavour.name);
        mortal.lose_server(flavour.without_server);
        expect_ok(update_size(mortal.device, 2048), fmt::format("without a server, {}", flavour.name));
        expect_size(mortal.device, 2048, flavour.name);
    }
}

CASE("UBLK-SIZE-007", contract, "The size of UPDATE_SIZE outlives a recovery, and STOP_DEV with START_DEV",
     needs(can_resize | Feature::user_recovery))
{
    Driver driver;
    Mortal mortal(driver, {.flags = waiting | can_resize});
    const auto& device = mortal.device;
    expect_ok(update_size(device, 4096), "UPDATE_SIZE");
    mortal.lose_server(DevState::quiesced);
    recover(device, mortal.server);
    expect_size(device, 4096, "after the recovery");
    auto app = App::read(device, 4088, 4096);
    expect_eq(4096, mortal.server->serve_until(app), "bytes read before the end");
    // Without a server: a device that was stopped under one could not be started again before 7.3.4.
    mortal.lose_server(DevState::quiesced);
    expect_ok(device.stop(), "STOP_DEV");
    mortal.server.emplace(device);
    mortal.server->fetch_all();
    expect_ok(control_served(*mortal.server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())),
              "START_DEV");
    expect_size(device, 4096, "after STOP_DEV and START_DEV");
}

CASE("UBLK-SIZE-008", behaviour, "UPDATE_SIZE of a zoned device does not change the number of its zones",
     needs(can_resize | Feature::zoned | Feature::user_copy))
{
    Driver driver;
    ZonedLive live(driver, can_resize);
    expect_eq(8U, sysfs_number(live.device, "queue/nr_zones"), "zones before");
    expect_ok(update_size(live.device, 16 * zone_sectors), "UPDATE_SIZE");
    expect_size(live.device, 16 * zone_sectors, "after UPDATE_SIZE");
    expect_eq(8U, sysfs_number(live.device, "queue/nr_zones"), "zones after");
}

CASE("UBLK-SIZE-009", behaviour, "Where UPDATE_SIZE is no feature, the command is not supported")
{
    if (offers(can_resize))
        skip("needs a kernel without UPDATE_SIZE");
    Driver driver;
    Mortal mortal(driver);
    expect_error(EOPNOTSUPP, update_size(mortal.device, 4096), "UPDATE_SIZE");
    expect_size(mortal.device, 8192, "after UPDATE_SIZE");
}

CASE("UBLK-SIZE-010", contract, "UPDATE_SIZE waits for a STOP_DEV that waits for a request",
     needs(can_resize))
{
    Driver driver;
    Live live(driver, basic_params(), {.flags = can_resize});
    auto held = live.hold_read();
    Pending stop = live.device.begin(CtrlNr::stop_dev);
    stop.expect_pending("STOP_DEV while the server has a request");
    Pending update = live.device.begin(CtrlNr::update_size, 4096);
    update.expect_pending("UPDATE_SIZE during STOP_DEV");
    live.server.commit(held.request.q, held.request.tag, 4096);
    expect_ok(live.server.serve_until(stop), "STOP_DEV");
    expect_error(ENODEV, live.server.serve_until(update), "UPDATE_SIZE after STOP_DEV");
    expect_eq(4096, live.server.serve_until(held.app), "bytes read");
}

} // namespace conformance
