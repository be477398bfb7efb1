// UBLK-CTRL-ADD: ADD_DEV's arguments, the ids it gives out, and what it leaves behind. Flags: ctrl_add_flags.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/server.hpp"

#include <csignal>
#include <fstream>
#include <sys/mman.h>

namespace conformance {

namespace {

// The well-formed command for `info`, wherever that is.
CtrlCmd add_cmd(std::uint32_t dev_id, std::uint64_t info_addr)
{
    return {.dev_id = dev_id, .len = sizeof(DevInfo), .addr = info_addr};
}

void expect_id_is_free(Driver& driver, std::uint32_t id, Where where = Where::current())
{
    expect_true(!has_char_node(id), fmt::format("there is no {}", ublk::wire::char_path(id)), where);
    expect_ok(driver.add({.dev_id = id}), fmt::format("ADD_DEV of id {} afterwards", id), where);
}

} // namespace

CASE("UBLK-CTRL-ADD-001", contract, "ADD_DEV takes an information block of 64 bytes or more")
{
    Driver driver;
    for (const std::uint16_t len : {0, 1, 32, 63})
        expect_error(EINVAL, driver.add({.len = len}), fmt::format("{} bytes", len));
    for (const std::uint16_t len : {64, 65, 4096, 65535})
        expect_ok(driver.add({.len = len}), fmt::format("{} bytes", len));
}

CASE("UBLK-CTRL-ADD-002", contract, "ADD_DEV refuses a null address, and one that it cannot read")
{
    Driver driver;
    const Pages hidden(1, PROT_NONE);
    expect_error(EINVAL, driver.control(CtrlNr::add_dev, add_cmd(ublk::uapi::no_dev_id, 0)),
                 "the null address");
    expect_error(EFAULT, driver.control(CtrlNr::add_dev, add_cmd(ublk::uapi::no_dev_id, hidden.addr())),
                 "no access");
}

CASE("UBLK-CTRL-ADD-003", contract, "ADD_DEV is for no queue: its queue_id must be 0xffff")
{
    Driver driver;
    for (const std::uint16_t queue : {0, 1, 0xfffe})
        expect_error(EINVAL, driver.add({.queue_id = queue}), fmt::format("queue_id {:#x}", queue));
    expect_ok(driver.add({.queue_id = 0xffff}));
}

CASE("UBLK-CTRL-ADD-004", contract, "ADD_DEV takes 1 to 4096 tags for each queue, and nothing else")
{
    Driver driver;
    for (const unsigned depth : {0, 4097, 65535})
        expect_error(EINVAL, driver.add({.queue_depth = depth}), fmt::format("depth {}", depth));
    for (const unsigned depth : {1, 3, 4096}) {
        const Added added = driver.add({.queue_depth = depth});
        expect_ok(added, fmt::format("depth {}", depth));
        expect_eq(depth, Device(driver, added.info).info().queue_depth, "queue_depth of the device");
    }
}

CASE("UBLK-CTRL-ADD-005", contract, "ADD_DEV takes 1 to 4096 queues, and nothing else")
{
    Driver driver;
    for (const unsigned queues : {0, 4097, 65535})
        expect_error(EINVAL, driver.add({.nr_hw_queues = queues}), fmt::format("{} queues", queues));
    for (const unsigned queues : {1, 4096})
        expect_ok(driver.add({.nr_hw_queues = queues}), fmt::format("{} queues", queues));
}

CASE("UBLK-CTRL-ADD-006", contract,
     "ADD_DEV lowers the number of queues to the number of possible CPUs, and says so")
{
    Driver driver;
    for (const unsigned asked : {1U, possible_cpus(), possible_cpus() + 1, 4096U}) {
        const auto granted = std::min(asked, possible_cpus());
        const Device device = driver.make({.nr_hw_queues = asked});
        expect_eq(granted, device.added().nr_hw_queues, fmt::format("queues returned for {}", asked));
        expect_eq(granted, device.info().nr_hw_queues, fmt::format("queues of a device made with {}", asked));
    }
}

CASE("UBLK-CTRL-ADD-007", contract,
     "ADD_DEV rounds max_io_buf_bytes down to whole pages; none at all is refused only by SET_PARAMS")
{
    Driver driver;
    const auto page = static_cast<std::uint32_t>(page_size());
    for (const std::uint32_t asked : {page, page + 1, 2 * page - 1, 16 * page + 511}) {
        const Device device = driver.make({.max_io_buf_bytes = asked});
        expect_eq(asked / page * page, device.added().max_io_buf_bytes,
                  fmt::format("returned for {}", asked));
        expect_eq(asked / page * page, device.info().max_io_buf_bytes, fmt::format("made with {}", asked));
    }
    for (const std::uint32_t asked : {0U, 1U, page - 1}) {
        const Device device = driver.make({.max_io_buf_bytes = asked});
        expect_eq(0U, device.info().max_io_buf_bytes, fmt::format("made with {}", asked));
        expect_error(EINVAL, device.set_params(basic_params()), "SET_PARAMS without room for a request");
    }
}

CASE("UBLK-CTRL-ADD-008", behaviour,
     "ADD_DEV takes a max_io_buf_bytes beyond the 32 MiB that a user-copy offset can express")
{
    Driver driver;
    constexpr std::uint32_t bytes = 64U << 20;
    for (const Features flags : {Features{}, Features(Feature::user_copy)}) {
        const Added added = driver.add({.max_io_buf_bytes = bytes, .flags = flags});
        expect_ok(added, "ADD_DEV with 64 MiB");
        expect_eq(bytes, added.info.max_io_buf_bytes, "max_io_buf_bytes returned");
    }
}

CASE("UBLK-CTRL-ADD-009", contract,
     "The device id in ADD_DEV's command and the one in its block must be equal")
{
    Driver driver;
    using ublk::uapi::no_dev_id;
    expect_error(EINVAL, driver.add({.dev_id = 4, .header_dev_id = 3}), "3 and 4");
    expect_error(EINVAL, driver.add({.dev_id = 4, .header_dev_id = no_dev_id}), "none and 4");
    expect_error(EINVAL, driver.add({.dev_id = no_dev_id, .header_dev_id = 4}), "4 and none");
    const Added added = driver.add({.dev_id = 4, .header_dev_id = 4});
    expect_ok(added);
    expect_eq(4U, added.info.dev_id, "the id returned");
}

CASE("UBLK-CTRL-ADD-010", contract, "Without an id ADD_DEV gives the lowest free one, and returns it")
{
    Driver driver;
    expect_ok(driver.add({.dev_id = lowest_free_id() + 1}), "ADD_DEV of the id after the lowest free one");
    for (int round = 0; round < 3; ++round) {
        const auto expected = lowest_free_id();
        const Added added = driver.add();
        expect_ok(added);
        expect_eq(expected, added.info.dev_id, "the id returned");
        expect_eq(expected, Device(driver, added.info).info().dev_id, "the id of the device");
    }
}

CASE("UBLK-CTRL-ADD-011", contract, "ADD_DEV takes device ids below 2^20, and nothing else but 0xffffffff")
{
    Driver driver;
    constexpr std::uint32_t limit = 1U << 20;
    for (const std::uint32_t id : {limit, limit + 1, 0x7fff'ffffU, 0x8000'0000U, 0xffff'fffeU})
        expect_error(EINVAL, driver.add({.dev_id = id}), fmt::format("id {:#x}", id));
    const Added added = driver.add({.dev_id = limit - 1});
    expect_ok(added, "the highest id");
    expect_eq(limit - 1, added.info.dev_id, "the id returned");
}

CASE("UBLK-CTRL-ADD-012", contract,
     "An id is in use from ADD_DEV until the last reference to its deleted device is gone")
{
    Driver driver;
    const Device device = driver.make({.dev_id = 17});
    expect_error(EEXIST, driver.add({.dev_id = 17}), "ADD_DEV of an id in use");
    Fd held = device.open_char_soon(O_RDWR);
    expect_ok(device.control(CtrlNr::del_dev_async), "DEL_DEV_ASYNC");
    expect_error(EEXIST, driver.add({.dev_id = 17}), "ADD_DEV while the deleted device is open");
    held.reset();
    expect_true(eventually([&] { return driver.add({.dev_id = 17}) == 0; }),
                "ADD_DEV works some time after the last close");
}

CASE("UBLK-CTRL-ADD-013", contract, "A new device has a character node, no disk, no server, and is DEAD")
{
    Driver driver;
    const Device device = driver.make();
    expect_true(device.has_char_node(), device.char_path() + " exists");
    expect_true(!device.has_disk(), "there is no disk in sysfs");
    expect_eq(-ENOENT, sys(::access(device.block_path().c_str(), F_OK)), "access " + device.block_path());
    const DevInfo info = device.info();
    expect_eq(0U, info.state, "the state");
    expect_eq(-1, info.ublksrv_pid, "the server's pid");
}

CASE("UBLK-CTRL-ADD-014", contract, "ADD_DEV ignores the state and the server's pid that the caller gives")
{
    Driver driver;
    DevInfo info = to_info({});
    info.state = static_cast<std::uint16_t>(DevState::live);
    info.ublksrv_pid = 1234;
    // Not by add(): a kernel that believes the caller would crash when the fixture deletes the device.
    expect_ok(driver.control(CtrlNr::add_dev, add_cmd(info.dev_id, address(&info))));
    expect_eq(0U, info.state, "the state returned");
    expect_eq(-1, info.ublksrv_pid, "the pid returned");
    const Device device(driver, info);
    expect_eq(0U, device.info().state, "the state of the device");
    expect_eq(-1, device.info().ublksrv_pid, "the pid of the device");
    expect_ok(device.del(), "DEL_DEV");
}

CASE("UBLK-CTRL-ADD-024", contract, "An ADD_DEV that is refused for its zones gives its id back")
{
    Driver driver;
    // Zones without USER_COPY: refused by every kernel, after the id was taken.
    expect_error(EINVAL, driver.add({.dev_id = 7, .flags = Feature::zoned}), "ZONED alone");
    expect_id_is_free(driver, 7);
}

CASE("UBLK-CTRL-ADD-025", contract, "An ADD_DEV that cannot return its block leaves no device behind")
{
    Driver driver;
    Pages pages;
    pages.at<DevInfo>() = to_info({.dev_id = 7});
    pages.protect(PROT_READ);
    expect_error(EFAULT, driver.control(CtrlNr::add_dev, add_cmd(7, pages.addr())),
                 "a block in read-only memory");
    expect_id_is_free(driver, 7);
}

CASE("UBLK-CTRL-ADD-027", contract, "ublksrv_flags and the reserved words come back as the caller gave them")
{
    Driver driver;
    DevInfo info = to_info({});
    info.ublksrv_flags = 0xa5a5'0123'4567'89ab;
    info.reserved1 = ~0ULL;
    info.reserved2 = 0x0102'0304'0506'0708;
    const DevInfo given = info;
    expect_ok(driver.add_raw(add_cmd(info.dev_id, address(&info)), info));
    for (const DevInfo& seen : {info, Device(driver, info).info()}) {
        expect_eq(given.ublksrv_flags, seen.ublksrv_flags, "ublksrv_flags");
        expect_eq(given.reserved1, seen.reserved1, "reserved1");
        expect_eq(given.reserved2, seen.reserved2, "reserved2");
    }
}

CASE("UBLK-CTRL-ADD-028", behaviour,
     "Without IO_DESC_SIZE io_desc_size is 24; kernels that do not know the field return it as given")
{
    Driver driver;
    for (const std::uint16_t asked : {0, 0xabcd}) {
        DevInfo info = to_info({});
        info.io_desc_size = asked;
        expect_ok(driver.add_raw(add_cmd(info.dev_id, address(&info)), info));
        const auto expected = offers(Feature::io_desc_size) ? 24U : asked;
        expect_eq(expected, info.io_desc_size, fmt::format("returned for {:#x}", asked));
        expect_eq(expected, Device(driver, info).info().io_desc_size, fmt::format("made with {:#x}", asked));
    }
}

CASE("UBLK-CTRL-ADD-032", contract, "Ids of deleted devices are given out again, the lowest first")
{
    Driver driver;
    const Device devices[] = {driver.make(), driver.make(), driver.make()};
    for (const int index : {1, 0, 2, 0}) {
        expect_ok(devices[index].del());
        expect_eq(devices[index].id(), driver.make().id(), "the id after DEL_DEV");
    }
    expect_ok(devices[2].del());
    expect_ok(devices[1].del());
    expect_eq(devices[1].id(), driver.make().id(), "the first id after two DEL_DEVs");
    expect_eq(devices[2].id(), driver.make().id(), "the second id after two DEL_DEVs");
}

CASE("UBLK-CTRL-ADD-033", contract, "The parameter ublks_max does not limit privileged devices")
{
    const char* const parameter = "/sys/module/ublk_drv/parameters/ublks_max";
    std::ofstream(parameter) << "0\n";
    std::string limit;
    std::getline(std::ifstream(parameter), limit);
    expect_eq("0", limit, parameter);
    Driver driver;
    expect_ok(driver.add(), "ADD_DEV by root");
    expect_ok(driver.add(), "a second ADD_DEV by root");
}

CASE("UBLK-CTRL-ADD-034", contract,
     "A caller that is killed while ADD_DEV waits for its turn ends at once, and leaves no device")
{
    // DEL_DEV that waits for a held request keeps every other ADD_DEV waiting.
    Driver driver;
    const Device device = driver.make();
    // Both processes see the completions of a ring that was there before the fork.
    Driver shared;
    Child child([&](Child& self) {
        DevInfo info = to_info({.dev_id = 7});
        self.hear();
        Pending addition = shared.begin(CtrlNr::add_dev, add_cmd(7, address(&info)));
        addition.expect_pending("ADD_DEV");
        self.tell();
        addition.result();
        return 0;
    });
    std::optional<Server> server(std::in_place, device);
    server->go_live();
    App reader = App::read(device, 0, 4096);
    const auto request = server->expect_request("the application's read");
    Pending deletion = device.begin_del();
    deletion.expect_pending("DEL_DEV");
    child.tell();
    child.hear();
    child.kill(SIGKILL);
    expect_eq(128 + SIGKILL, child.join(), "end of the process whose ADD_DEV waits");
    const auto addition = shared.ring().wait(patience);
    expect_error(EINTR, addition ? addition->res : 0, "ADD_DEV of the process that was killed");
    deletion.expect_pending("DEL_DEV");
    server->commit(request.q, request.tag, server->serve_from_memory(request));
    server->serve_until(reader);
    expect_true(server->serve_until([&] { return !device.has_disk(); }), "the disk goes away");
    server.reset(); // and with it the mappings, which are references as well
    expect_ok(deletion.result(), "DEL_DEV");
    expect_id_is_free(driver, 7);
}

} // namespace conformance
