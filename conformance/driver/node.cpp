// UBLK-NODE: the control node, the envelope of its commands, and feature discovery.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/ctrl_verbs.hpp"

#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace conformance {

namespace {

namespace uapi = ublk::uapi;
using uapi::Direction;
using uapi::encode_opcode;
using uapi::opcode_type_ublk;

constexpr std::uint32_t no_such_command = encode_opcode(Direction::read_write, opcode_type_ublk, 0x3f, 32);
constexpr std::uint32_t no_such_id = 999'999;

struct stat status_of(const std::string& path)
{
    struct stat status{};
    expect_ok(sys(::stat(path.c_str(), &status)), "stat " + path);
    return status;
}

} // namespace

CASE("UBLK-NODE-001", contract,
     "The loaded driver has the misc character device /dev/ublk-control, which only root can open")
{
    const auto node = status_of(ublk::wire::control_path);
    expect_true(S_ISCHR(node.st_mode), "/dev/ublk-control is a character device");
    expect_eq(10U, major(node.st_rdev), "its major number");
    expect_eq(0U, node.st_uid, "its owner");
    expect_eq(0U, node.st_mode & 0077U, "its permissions for others than the owner");
    std::string number;
    std::getline(std::ifstream("/sys/class/misc/ublk-control/dev"), number);
    expect_eq(number, fmt::format("10:{}", minor(node.st_rdev)), "its number in sysfs");
}

CASE("UBLK-NODE-002", contract,
     "Any number of openers, of any process, see the same devices through the control node")
{
    Driver first;
    Driver second;
    const Device device = first.make();
    DevInfo info;
    expect_ok(Device(second, device.added()).get_info(info), "GET_DEV_INFO through another opener");
    Child child([&](Child&) {
        Driver third;
        return third.del(device.id()) == 0 ? 0 : 1;
    });
    expect_eq(0, child.join(), "exit status of the process that deletes the device through its own opener");
    expect_error(ENODEV, device.get_info(info), "GET_DEV_INFO after that");
}

CASE("UBLK-NODE-003", contract, "The control node takes no read, write, ioctl or mmap: commands only")
{
    Driver driver;
    char byte = 0;
    expect_error(EINVAL, sys(::read(driver.fd(), &byte, 1)), "read");
    expect_error(EINVAL, sys(::write(driver.fd(), &byte, 1)), "write");
    expect_error(ENOTTY, sys(::ioctl(driver.fd(), uapi::opcode(CtrlNr::get_features), &byte)), "ioctl");
    const void* mapped = ::mmap(nullptr, page_size(), PROT_READ, MAP_SHARED, driver.fd(), 0);
    expect_error(ENODEV, mapped == MAP_FAILED ? -errno : 0, "mmap");
}

CASE("UBLK-NODE-004", contract,
     "Each device is /sys/class/ublk-char/ublkcN below the control device, and its minor number is its id")
{
    Driver driver;
    const Device device = driver.make({.dev_id = 41});
    const auto dir = std::filesystem::path("/sys/class/ublk-char/ublkc41");
    expect_true(std::filesystem::exists(dir), dir.string() + " exists");
    expect_eq("ublk-control", std::filesystem::canonical(dir / "device").filename().string(), "its parent");
    const auto node = status_of(device.char_path());
    expect_true(S_ISCHR(node.st_mode), device.char_path() + " is a character device");
    expect_eq(41U, minor(node.st_rdev), "its minor number");
    expect_ok(device.del());
    expect_true(!std::filesystem::exists(dir), dir.string() + " is gone after DEL_DEV");
}

CASE("UBLK-NODE-005", contract, "A control command in a 64-byte submission entry is refused")
{
    Driver driver;
    Driver narrow({.sqe128 = false});
    const Device device = driver.make();
    DevInfo info;
    std::uint64_t bits = 0;
    expect_error(EINVAL, narrow.control(CtrlNr::get_features, {.len = 8, .addr = address(&bits)}),
                 "GET_FEATURES");
    expect_error(EINVAL, narrow.control(CtrlNr::get_dev_info, device.cmd(&info, sizeof(info))),
                 "GET_DEV_INFO");
    expect_error(EINVAL, narrow.control(CtrlNr::stop_dev, device.cmd()), "STOP_DEV");
    expect_error(EINVAL, narrow.control(CtrlNr::del_dev, device.cmd()), "DEL_DEV");
    expect_ok(device.get_info(info), "GET_DEV_INFO in 128 bytes");
}

CASE("UBLK-NODE-006", contract,
     "On a ring of mixed entries a control command may come as the 128-byte form of URING_CMD")
{
    constexpr unsigned setup_sqe_mixed = 1U << 19; // IORING_SETUP_SQE_MIXED
    constexpr std::uint8_t op_uring_cmd128 = 64;   // IORING_OP_URING_CMD128
    auto ring = ublk::wire::Ring::open({.sqe128 = false, .flags = setup_sqe_mixed});
    if (!ring && ring.error() == EINVAL)
        skip("needs io_uring with mixed submission entries (IORING_SETUP_SQE_MIXED)");
    expect_true(ring.has_value(), "a ring with IORING_SETUP_SQE_MIXED opens");
    Driver driver;
    std::uint64_t bits = 0;
    // Two neighbouring entries make one of 128 bytes.
    io_uring_sqe* sqe = ring->sqe();
    expect_true(ring->sqe() == sqe + 1, "the first two entries are neighbours");
    ublk::wire::prep_control(*sqe, true, driver.fd(), uapi::opcode(CtrlNr::get_features),
                             {.len = 8, .addr = address(&bits)}, 7);
    sqe->opcode = op_uring_cmd128;
    expect_not_negative(ring->submit(), "io_uring_enter");
    const auto done = ring->wait(patience);
    expect_true(done.has_value(), "the command completes");
    expect_ok(done->res, "GET_FEATURES in URING_CMD128");
    expect_eq(kernel_features().raw(), bits, "the features it returns");
}

CASE("UBLK-NODE-007", behaviour,
     "No command is answered EAGAIN; from 7.0 on the ones that only read complete while they are submitted")
{
    Driver driver;
    const Device device = driver.make();
    std::uint64_t bits = 0, cpus[128] = {};
    DevInfo info;
    const bool inlined = kernel_version() >= uapi::KernelVersion{7, 0, 0};
    const auto answered = [&](CtrlNr nr, const CtrlCmd& cmd, std::string_view what) {
        Pending pending = driver.begin(nr, cmd);
        const bool at_once = pending.done();
        expect_ok(pending.result(), what);
        if (inlined)
            expect_true(at_once, fmt::format("{} has completed when the submission returns", what));
    };
    answered(CtrlNr::get_features, {.len = 8, .addr = address(&bits)}, "GET_FEATURES");
    answered(CtrlNr::get_dev_info, device.cmd(&info, sizeof(info)), "GET_DEV_INFO");
    answered(CtrlNr::get_queue_affinity, device.cmd(cpus, sizeof(cpus)), "GET_QUEUE_AFFINITY");
    expect_ok(device.set_params(basic_params()), "SET_PARAMS");
    expect_ok(device.stop(), "STOP_DEV");
    expect_ok(device.del(), "DEL_DEV");
}

CASE("UBLK-NODE-008", contract,
     "An unknown command is EOPNOTSUPP for a device that exists, and ENODEV for one that does not")
{
    Driver driver;
    const Device device = driver.make();
    expect_error(EOPNOTSUPP, driver.control(no_such_command, device.cmd()), "a device that exists");
    expect_error(ENODEV, driver.control(no_such_command, {.dev_id = no_such_id}), "a device that does not");
}

CASE("UBLK-NODE-009", contract, "A command of a foreign type is EOPNOTSUPP, whether the device exists or not")
{
    Driver driver;
    const Device device = driver.make();
    for (const std::uint32_t type : {0x76, 0x74, 0x55, 0x01, 0xff}) {
        for (const auto nr : {CtrlNr::add_dev, CtrlNr::get_dev_info, CtrlNr::get_features}) {
            const auto op = encode_opcode(Direction::read_write, type, static_cast<std::uint32_t>(nr), 32);
            const auto what = fmt::format("type {:#x} number {:#x}", type, static_cast<unsigned>(nr));
            expect_error(EOPNOTSUPP, driver.control(op, device.cmd()), what);
            expect_error(EOPNOTSUPP, driver.control(op, {.dev_id = no_such_id}), what);
        }
    }
}

CASE("UBLK-NODE-010", behaviour, "Direction and size of an opcode do not matter, only its type and number")
{
    Driver driver;
    const Device device = driver.make();
    for (const auto direction : {Direction::none, Direction::read, Direction::write, Direction::read_write}) {
        for (const std::uint32_t size : {0, 1, 64, 0x3fff}) {
            DevInfo info;
            const auto op = encode_opcode(direction, opcode_type_ublk, 0x02, size);
            expect_ok(driver.control(op, device.cmd(&info, sizeof(info))), fmt::format("opcode {:#x}", op));
            expect_eq(device.id(), info.dev_id, "the device that GET_DEV_INFO tells of");
        }
    }
}

CASE("UBLK-NODE-011", behaviour,
     "GET_FEATURES is known by its whole opcode: with another direction or size it is an unknown command")
{
    Driver driver;
    const Device device = driver.make();
    std::uint64_t bits = 0;
    for (const auto op : {encode_opcode(Direction::read_write, opcode_type_ublk, 0x13, 32),
                          encode_opcode(Direction::read, opcode_type_ublk, 0x13, 8),
                          encode_opcode(Direction::none, opcode_type_ublk, 0x13, 0)}) {
        const auto what = fmt::format("opcode {:#x}", op);
        expect_error(EOPNOTSUPP, driver.control(op, device.cmd(&bits, 8)), what);
        expect_error(ENODEV, driver.control(op, {.dev_id = no_such_id, .len = 8, .addr = address(&bits)}),
                     what);
    }
    // Without legacy opcodes the type is refused first.
    expect_any_error({ENODEV, EOPNOTSUPP},
                     driver.control(0x13, {.dev_id = no_such_id, .len = 8, .addr = address(&bits)}),
                     "the legacy number");
    expect_eq(0U, bits, "what was written");
}

CASE("UBLK-NODE-012", contract,
     "GET_FEATURES looks at no device id, and asks for no capability beyond having the node open")
{
    Driver driver;
    std::uint64_t bits = 0;
    expect_ok(driver.control(CtrlNr::get_features, {.dev_id = 0xdeadbeef, .len = 8, .addr = address(&bits)}),
              "an unknown device id");
    expect_eq(kernel_features().raw(), bits, "the features");
    Child child([&](Child&) {
        Driver mine;
        become_user();
        bits = 0;
        expect_ok(mine.control(CtrlNr::get_features, {.len = 8, .addr = address(&bits)}), "as a user");
        expect_eq(kernel_features().raw(), bits, "the features as a user gets them");
        return 0;
    });
    expect_eq(0, child.join(), "exit status of the unprivileged process");
}

CASE("UBLK-NODE-013", contract, "GET_FEATURES takes a length of exactly 8 bytes")
{
    Driver driver;
    std::uint64_t bits[2] = {};
    for (const std::uint16_t len : {0, 7, 9, 16})
        expect_error(EINVAL, driver.control(CtrlNr::get_features, {.len = len, .addr = address(bits)}));
    expect_ok(driver.control(CtrlNr::get_features, {.len = 8, .addr = address(bits)}));
}

CASE("UBLK-NODE-014", contract, "GET_FEATURES refuses a null address, and one that it cannot write to")
{
    Driver driver;
    const Pages hidden(1, PROT_NONE);
    const Pages constant(1, PROT_READ);
    expect_error(EINVAL, driver.control(CtrlNr::get_features, {.len = 8, .addr = 0}), "the null address");
    expect_error(EFAULT, driver.control(CtrlNr::get_features, {.len = 8, .addr = hidden.addr()}),
                 "no access");
    expect_error(EFAULT, driver.control(CtrlNr::get_features, {.len = 8, .addr = constant.addr()}),
                 "read-only memory");
}

CASE("UBLK-NODE-015", behaviour, "GET_FEATURES offers exactly the features of the kernel's release")
{
    Features expected;
    for (const auto& feature : uapi::feature_registry) {
        if (feature.since <= kernel_version())
            expected |= feature.flag;
    }
    // A kernel may be built without integrity support.
    if (!offers(Feature::integrity))
        expected = expected.without(Feature::integrity);
    expect_eq(uapi::to_string(expected), uapi::to_string(kernel_features()), "the features");
}

CASE("UBLK-NODE-016", behaviour,
     "ZONED is offered by every kernel; one without zoned block devices refuses it at ADD_DEV")
{
    expect_true(offers(Feature::zoned), "GET_FEATURES offers ZONED");
    Driver driver;
    const long res = driver.add({.flags = Feature::zoned | Feature::user_copy});
    if (kernel_has_zoned())
        expect_ok(res, "ADD_DEV of a zoned device where the kernel knows them");
    else
        expect_error(EINVAL, res, "ADD_DEV of a zoned device where the kernel does not know them");
}

CASE("UBLK-NODE-017", contract, "A command for a device that does not exist is ENODEV")
{
    Driver driver;
    for (const std::uint32_t id : {no_such_id, 0x7fff'ffffU, 0x8000'0000U, 0xffff'ffffU}) {
        for (const auto nr : device_commands())
            expect_error(ENODEV, driver.control(nr, {.dev_id = id}),
                         fmt::format("command {:#x} of device {:#x}", static_cast<unsigned>(nr), id));
    }
}

CASE("UBLK-NODE-018", contract,
     "A caller without CAP_SYS_ADMIN gets EPERM from every command on a privileged device, reading ones too")
{
    Driver driver;
    const Device device = driver.make();
    Child child([&](Child&) {
        Driver mine;
        drop_sys_admin();
        Pages payload;
        for (const auto nr : device_commands())
            expect_error(EPERM, mine.control(nr, device.cmd(payload.bytes().data(), page_size())),
                         fmt::format("command {:#x}", static_cast<unsigned>(nr)));
        return 0;
    });
    expect_eq(0, child.join(), "exit status of the process without the capability");
    expect_true(device.state() == DevState::dead, "the device is as it was");
}

CASE("UBLK-NODE-019", behaviour, "Fields that a command does not use are ignored")
{
    Driver driver;
    const Device device = driver.make();
    DevInfo info;
    Params params = basic_params();
    const auto noisy = [&](const void* buffer, std::size_t len) {
        CtrlCmd cmd = device.cmd(buffer, len, ~0ULL);
        cmd.queue_id = 0x5a5a;
        cmd.dev_path_len = 0xffff;
        cmd.pad = 0xffff;
        cmd.reserved = 0xffff'ffff;
        return cmd;
    };
    expect_ok(driver.control(CtrlNr::get_dev_info, noisy(&info, sizeof(info))), "GET_DEV_INFO");
    expect_eq(device.id(), info.dev_id, "the device that GET_DEV_INFO tells of");
    expect_ok(driver.control(CtrlNr::set_params, noisy(&params, sizeof(params))), "SET_PARAMS");
    expect_ok(driver.control(CtrlNr::get_params, noisy(&params, sizeof(params))), "GET_PARAMS");
    expect_ok(driver.control(CtrlNr::stop_dev, noisy(nullptr, 0)), "STOP_DEV");
    expect_ok(driver.control(CtrlNr::del_dev, noisy(nullptr, 0)), "DEL_DEV");
}

CASE("UBLK-NODE-020", contract,
     "While a device goes away GET_DEV_INFO answers with 0 until it answers with ENODEV, and never else")
{
    Driver driver;
    Driver watcher;
    for (int round = 0; round < 30; ++round) {
        const Device device = driver.make();
        const Device watched(watcher, device.added());
        Pending deletion = device.begin_del();
        DevInfo info;
        long seen = 0;
        while ((seen = watched.get_info(info)) == 0 || !deletion.done()) {
            if (seen != 0)
                expect_error(ENODEV, seen, "GET_DEV_INFO during DEL_DEV");
        }
        expect_error(ENODEV, seen, "GET_DEV_INFO after DEL_DEV");
        expect_ok(deletion.result(), "DEL_DEV");
    }
}

} // namespace conformance
