// UBLK-CTRL-TRY: stopping a device only if nobody uses it.
#include "conformance/driver/case.hpp"
#include "conformance/driver/filesystem.hpp"
#include "conformance/driver/partition_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <atomic>
#include <fcntl.h>
#include <sys/stat.h>

namespace conformance {

namespace {

constexpr auto safe_stop = Feature::safe_stop_dev;

long try_stop(Server& server)
{
    return control_served(server, CtrlNr::try_stop_dev);
}

// Stops by TRY_STOP_DEV, and has a server start the device again. Without a server meanwhile: a device that
// was stopped under one could not be started again before 7.3.4.
void try_stop_and_start_again(Mortal& mortal)
{
    mortal.lose_server(DevState::quiesced);
    expect_ok(mortal.device.control(CtrlNr::try_stop_dev), "TRY_STOP_DEV");
    mortal.server.emplace(mortal.device);
    mortal.server->go_live();
}

} // namespace

CASE("UBLK-CTRL-TRY-001", contract, "TRY_STOP_DEV of a device without a disk is refused with ENODEV",
     needs(safe_stop))
{
    Driver driver;
    const auto device = driver.make();
    expect_error(ENODEV, device.control(CtrlNr::try_stop_dev), "never started");
    Server server(device);
    server.fetch_all();
    expect_error(ENODEV, device.control(CtrlNr::try_stop_dev), "with a server, not started");
    expect_true(!server.next(settle), "the server keeps its commands");
    expect_ok(device.set_params(basic_params()));
    server.memory().resize(8192 * ublk::uapi::sector_size);
    expect_ok(control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())), "START_DEV");
    expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV");
    expect_error(ENODEV, device.control(CtrlNr::try_stop_dev), "stopped");
}

CASE("UBLK-CTRL-TRY-002", contract,
     "TRY_STOP_DEV is refused with EBUSY while the disk or a partition is open or mounted, and changes "
     "nothing",
     needs(safe_stop), timeout(60s))
{
    Driver driver;
    const auto device = driver.make({}, true);
    Server server(device);
    server.memory() = partitioned_disk();
    expect_ok(device.set_params(basic_params()));
    server.fetch_all();
    expect_ok(control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid())), "START_DEV");
    expect_true(server.serve_until([&] { return has_partition(device); }), "the partition appears");
    const auto expect_busy = [&](std::string_view what) {
        expect_error(EBUSY, try_stop(server), fmt::format("TRY_STOP_DEV, {}", what));
        expect_true(device.state() == DevState::live, fmt::format("LIVE, {}", what));
        auto read = App::read(device, 0, 4096);
        expect_eq(4096, server.serve_until(read), fmt::format("bytes read, {}", what));
    };
    {
        const Fd application = open_block(server, O_RDONLY);
        expect_busy("the disk is open");
    }
    {
        App open([path = device.block_path() + "p1"] { return sys(::open(path.c_str(), O_RDONLY)); });
        const long fd = server.serve_until(open);
        expect_not_negative(fd, "opening the partition");
        const Fd partition(static_cast<int>(fd));
        expect_busy("a partition is open");
    }
    {
        Mortal mounted(driver, {}, basic_params(32768));
        Ext4 ext4(*mounted.server);
        expect_error(EBUSY, try_stop(*mounted.server), "TRY_STOP_DEV, a filesystem is mounted");
        ext4.unmount();
        expect_ok(try_stop(*mounted.server), "TRY_STOP_DEV after umount");
    }
    expect_ok(try_stop(server), "TRY_STOP_DEV after the last close");
}

CASE("UBLK-CTRL-TRY-003", contract, "TRY_STOP_DEV of a disk that nobody has open does what STOP_DEV does",
     needs(safe_stop))
{
    Driver driver;
    Mortal mortal(driver, {.nr_hw_queues = 2, .queue_depth = 3}, basic_params(4096));
    const auto& device = mortal.device;
    expect_ok(try_stop(*mortal.server), "TRY_STOP_DEV");
    expect_true(!device.has_disk(), "ublkbN is gone");
    expect_true(device.state() == DevState::dead, "the state is DEAD");
    expect_eq(-1, device.info().ublksrv_pid, "ublksrv_pid");
    expect_true(device.has_char_node(), "ublkcN stays");
    Params params;
    expect_ok(device.get_params(params), "GET_PARAMS");
    expect_eq(4096U, params.basic.dev_sectors, "dev_sectors");
    expect_true(mortal.server->serve_until([&] { return mortal.server->aborted() == 6; }),
                "all FETCHes come back with ENODEV");
}

CASE("UBLK-CTRL-TRY-004", contract,
     "TRY_STOP_DEV works whatever flags a device has; SAFE_STOP_DEV is set on each and need not be asked for",
     needs(safe_stop))
{
    Driver driver;
    for (const Features flags : {Features{}, Features(safe_stop), waiting, failing,
                                 Features(Feature::quiesce) | waiting, Features(Feature::need_get_data)}) {
        const auto text = ublk::uapi::to_string(flags);
        Mortal mortal(driver, {.flags = flags});
        expect_true(Features::from_raw(mortal.device.added().flags).has(safe_stop),
                    fmt::format("SAFE_STOP_DEV is set, asked for {}", text));
        {
            const Fd application = open_block(*mortal.server, O_RDONLY);
            expect_error(EBUSY, try_stop(*mortal.server), fmt::format("disk open, {}", text));
        }
        expect_ok(try_stop(*mortal.server), fmt::format("disk closed, {}", text));
        expect_true(!mortal.device.has_disk(), fmt::format("ublkbN is gone, {}", text));
    }
}

CASE("UBLK-CTRL-TRY-005", contract,
     "A device that was stopped by TRY_STOP_DEV and started again opens for everybody whom its mode lets in",
     needs(safe_stop))
{
    Driver driver;
    Mortal mortal(driver, {.flags = waiting});
    const auto open_as_user = [&] {
        expect_ok(sys(::chmod(mortal.device.block_path().c_str(), 0666)), "chmod 0666");
        Child child([&](Child&) {
            become_user();
            return -static_cast<int>(open_result(mortal.device.block_path(), O_RDONLY));
        });
        App join([&] { return -child.join(); });
        return mortal.server->serve_until(join);
    };
    expect_ok(open_as_user(), "a user's open before TRY_STOP_DEV");
    try_stop_and_start_again(mortal);
    expect_ok(open_as_user(), "a user's open after TRY_STOP_DEV and START_DEV");
}

CASE(
    "UBLK-CTRL-TRY-006", behaviour,
    "Beside openers with CAP_SYS_ADMIN TRY_STOP_DEV either finds the disk open or removes it, and never bars "
    "them from the next one",
    needs(safe_stop), timeout(60s))
{
    Driver driver;
    Mortal mortal(driver, {.flags = waiting});
    const auto& device = mortal.device;
    for (unsigned round = 0; round < 8; ++round) {
        mortal.lose_server(DevState::quiesced);
        struct Progress {
            std::atomic<bool> ending = false;
            std::atomic<unsigned> opened = 0;
        };
        const auto progress = std::make_shared<Progress>();
        const App opener([progress, path = device.block_path()] {
            long res = 0;
            while (res == 0 && !progress->ending) {
                res = open_result(path, O_RDONLY);
                progress->opened += res == 0 ? 1 : 0;
            }
            return res;
        });
        expect_true(eventually([&] { return progress->opened > 0 || opener.done(); }), "an open ends");
        expect_true(progress->opened > 0, "root's first open works");
        long res = -EBUSY;
        for (unsigned i = 0; i < 100 && res == -EBUSY; ++i) {
            res = device.control(CtrlNr::try_stop_dev);
            if (res == -EBUSY)
                expect_true(device.state() == DevState::quiesced, "EBUSY changes nothing");
        }
        progress->ending = true;
        const long last = result_soon(opener, "the last open");
        if (res == -EBUSY) {
            expect_ok(last, "open, while TRY_STOP_DEV is EBUSY");
            res = device.control(CtrlNr::try_stop_dev);
        } else if (last != 0) {
            expect_any_error({ENXIO, ENOENT, ENODEV}, last, "open of the disk that is gone");
        }
        expect_ok(res, "TRY_STOP_DEV");
        expect_true(!device.has_disk(), "ublkbN is gone");
        mortal.server.emplace(device);
        mortal.server->go_live();
        open_block(*mortal.server, O_RDONLY); // ends the case if it does not open
    }
}

CASE("UBLK-CTRL-TRY-007", behaviour, "Where there is no SAFE_STOP_DEV, TRY_STOP_DEV is not supported")
{
    if (offers(safe_stop))
        skip("needs a kernel without SAFE_STOP_DEV");
    Driver driver;
    const auto device = driver.make();
    expect_error(EOPNOTSUPP, device.control(CtrlNr::try_stop_dev), "never started");
    Server server(device);
    server.go_live();
    expect_error(EOPNOTSUPP, device.control(CtrlNr::try_stop_dev), "live");
    expect_true(device.state() == DevState::live, "the device is LIVE");
}

} // namespace conformance
