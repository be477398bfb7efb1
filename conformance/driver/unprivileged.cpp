// UBLK-UNPRIV: devices that belong to an ordinary user.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"
#include "conformance/driver/user_verbs.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

// Every command that an unprivileged device may be sent on this kernel.
std::vector<CtrlNr> commands_for_users()
{
    std::vector<CtrlNr> known;
    for (const CtrlNr nr : device_commands()) {
        const bool offered = nr == CtrlNr::update_size    ? offers(Feature::update_size)
                             : nr == CtrlNr::quiesce_dev  ? offers(Feature::quiesce)
                             : nr == CtrlNr::try_stop_dev ? offers(Feature::safe_stop_dev)
                             : nr == CtrlNr::reg_buf || nr == CtrlNr::unreg_buf ? offers(Feature::shmem_zc)
                                                                                : nr != CtrlNr::del_dev_async;
        if (offered)
            known.push_back(nr);
    }
    return known;
}

bool only_reads(CtrlNr nr)
{
    return nr == CtrlNr::get_dev_info || nr == CtrlNr::get_dev_info2 || nr == CtrlNr::get_queue_affinity ||
           nr == CtrlNr::get_params;
}

std::string text(CtrlNr nr)
{
    return fmt::format("command {:#x}", static_cast<unsigned>(nr));
}

// Sends `nr` with `path` at the beginning of its buffer and nothing behind it.
long send_with_path(const Device& device, CtrlNr nr, const std::string& path)
{
    auto cmd = device.cmd(path.data(), path.size());
    cmd.dev_path_len = static_cast<std::uint16_t>(path.size());
    return device.driver().control(nr, cmd);
}

Features kept(const Added& added)
{
    return Features::from_raw(added.info.flags);
}

} // namespace

CASE(
    "UBLK-UNPRIV-001", contract,
    "Who may open the control node may add an UNPRIVILEGED_DEV, and owns it: its uid and gid are the adder's")
{
    Child outsider([](Child&) {
        become_user(user_id, group_id);
        return -static_cast<int>(open_result(ublk::wire::control_path, O_RDWR));
    });
    expect_eq(EACCES, outsider.join(), "opening the control node as it is");
    as_user([](User::Self& self) {
        Driver driver;
        expect_error(EPERM, driver.add(), "ADD_DEV without the flag");
        const Device device = self.make(driver);
        const DevInfo info = device.info();
        expect_true(Features::from_raw(info.flags).has(Feature::unprivileged_dev), "the flag is kept");
        expect_eq(user_id, info.owner_uid, "owner_uid");
        expect_eq(group_id, info.owner_gid, "owner_gid");
        std::optional<Server> server(std::in_place, device);
        server->go_live();
        self.get_nodes();
        auto app = App::read(device, 0, 4096);
        expect_eq(4096, server->serve_until(app), "bytes read");
        expect_ok(control_served(*server, CtrlNr::stop_dev), "STOP_DEV");
        server.reset();
        expect_ok(device.del(), "DEL_DEV");
        expect_true(!device.has_char_node(), "ublkcN is gone");
    });
}

CASE("UBLK-UNPRIV-002", contract,
     "Every command on an unprivileged device names the path of its ublkcN, root's commands too")
{
    const auto check = [](const Device& device, std::string_view who) {
        Driver& driver = device.driver();
        const std::string path = device.char_path();
        const Pages buffer(4 * page_size());
        std::ranges::copy(path, reinterpret_cast<char*>(buffer.bytes().data()));
        for (const CtrlNr nr : commands_for_users()) {
            const auto expect_refused = [&](int err, long res, std::string_view how) {
                expect_error(err, res, fmt::format("{}, {}, as {}", text(nr), how, who));
            };
            auto cmd = device.cmd(buffer.bytes().data(), buffer.bytes().size());
            expect_refused(EINVAL, driver.control(nr, cmd), "no path");
            cmd.dev_path_len = 4097;
            expect_refused(EINVAL, driver.control(nr, cmd), "a path of 4097 bytes");
            cmd.dev_path_len = static_cast<std::uint16_t>(path.size());
            cmd.len = static_cast<std::uint16_t>(path.size() - 1);
            expect_refused(EINVAL, driver.control(nr, cmd), "a path longer than the buffer");
            expect_refused(ENOENT, send_with_path(device, nr, "/dev/no-such-node"), "a path of nothing");
            for (const std::string other : {"/dev/null", "/proc/version", ublk::wire::control_path})
                expect_refused(EPERM, send_with_path(device, nr, other), other);
        }
        expect_true(device.state() == DevState::dead, "GET_DEV_INFO with the path works");
    };
    User user([&](User::Self& self) {
        Driver driver;
        const Device device = self.make(driver);
        check(device, "its owner");
    });
    user.end();
    Driver driver;
    check(unprivileged_device(driver), "root");
}

CASE(
    "UBLK-UNPRIV-003", contract,
    "Reading commands need read permission on ublkcN, all others read and write; CAP_DAC_OVERRIDE needs none")
{
    as_user([](User::Self& self) {
        Driver driver;
        const Device device = self.make(driver);
        const auto set_mode = [&](mode_t mode) {
            expect_ok(sys(::chmod(device.char_path().c_str(), mode)), fmt::format("chmod {:o}", mode));
        };
        for (const mode_t mode : {0400, 0200, 0000, 0600}) {
            set_mode(mode);
            for (const CtrlNr nr : commands_for_users()) {
                const bool allowed = (mode & S_IRUSR) != 0 && (only_reads(nr) || (mode & S_IWUSR) != 0);
                const auto what = fmt::format("{}, mode {:o}", text(nr), mode);
                if (!allowed)
                    expect_error(EACCES, send_with_path(device, nr, device.char_path()), what);
                else if (only_reads(nr)) // permitted, and there is no room for the answer
                    expect_error(EINVAL, send_with_path(device, nr, device.char_path()), what);
            }
        }
        expect_ok(device.set_params(basic_params()), "SET_PARAMS, mode 600");
        expect_ok(device.stop(), "STOP_DEV, mode 600");
        set_mode(0400);
        Params params;
        expect_ok(device.get_params(params), "GET_PARAMS, mode 400");
        set_mode(0);
    });
    without_sys_admin([] {
        Driver driver;
        const Device device = unprivileged_device(driver);
        expect_ok(device.set_params(basic_params(4096)), "SET_PARAMS with CAP_DAC_OVERRIDE, mode 0");
    });
}

CASE("UBLK-UNPRIV-004", contract, "What a command reads or writes is behind the path, in the same buffer")
{
    as_user([](User::Self& self) {
        Driver driver;
        const Device device = self.make(driver, {.queue_depth = 7});
        const std::string path = device.char_path();
        const auto send = [&](CtrlNr nr, std::string& buffer, std::size_t len) {
            auto cmd = device.cmd(buffer.data(), len);
            cmd.dev_path_len = static_cast<std::uint16_t>(path.size());
            return driver.control(nr, cmd);
        };
        std::string buffer = path + std::string(256, '#');
        const auto end = path.size() + sizeof(DevInfo);
        expect_error(EINVAL, send(CtrlNr::get_dev_info, buffer, end - 1), "63 bytes behind the path");
        expect_ok(send(CtrlNr::get_dev_info, buffer, end), "64 bytes behind the path");
        DevInfo info;
        std::memcpy(&info, buffer.data() + path.size(), sizeof(info));
        expect_eq(7U, info.queue_depth, "queue_depth");
        expect_eq(path, buffer.substr(0, path.size()), "the path afterwards");
        expect_eq('#', buffer[end], "the byte behind the answer");

        const Params params = basic_params(1234 * 8);
        std::string set = path + std::string(reinterpret_cast<const char*>(&params), sizeof(params));
        expect_ok(send(CtrlNr::set_params, set, set.size()), "SET_PARAMS");
        Params got;
        expect_ok(device.get_params(got), "GET_PARAMS");
        expect_eq(1234U * 8, got.basic.dev_sectors, "dev_sectors");
    });
}

CASE("UBLK-UNPRIV-005", behaviour,
     "DEL_DEV_ASYNC and unknown commands on an unprivileged device are EINVAL; DEL_DEV works")
{
    as_user([](User::Self& self) {
        Driver driver;
        const Device device = self.make(driver);
        expect_error(EINVAL, device.control(CtrlNr::del_dev_async), "DEL_DEV_ASYNC");
        for (const unsigned nr : {0x03U, 0x1fU, 0x3fU, 0xffU}) {
            const auto op =
                uapi::encode_opcode(uapi::Direction::read_write, uapi::opcode_type_ublk, nr, sizeof(CtrlCmd));
            expect_error(EINVAL, driver.control(op, device.cmd()), fmt::format("command {:#x}", nr));
        }
        expect_ok(device.del(), "DEL_DEV");
    });
}

CASE("UBLK-UNPRIV-006", behaviour,
     "USER_RECOVERY and REISSUE are taken from an unprivileged device without a word, FAIL_IO and QUIESCE "
     "are not")
{
    without_sys_admin([] {
        Driver driver;
        const Features stripped = Feature::user_recovery | Feature::user_recovery_reissue;
        const auto expect_left = [&](Features left, Features asked) {
            const Added added = driver.add({.flags = asked | Feature::unprivileged_dev});
            expect_ok(added, "ADD_DEV with " + uapi::to_string(asked));
            const auto flags = kept(added) & (asked | stripped);
            expect_eq(uapi::to_string(left), uapi::to_string(flags), "what is left");
        };
        expect_left({}, Feature::user_recovery);
        expect_left({}, stripped);
        if (offers(Feature::user_recovery_fail_io))
            expect_left(Feature::user_recovery_fail_io,
                        Feature::user_recovery | Feature::user_recovery_fail_io);
        if (offers(Feature::quiesce))
            expect_left(Feature::quiesce, Feature::user_recovery | Feature::quiesce);
    });
}

CASE("UBLK-UNPRIV-007", contract,
     "An unprivileged device has no USER_COPY, zero copy or AUTO_BUF_REG; it may have SHMEM_ZC and BATCH_IO")
{
    without_sys_admin([] {
        Driver driver;
        for (const Feature flag :
             {Feature::user_copy, Feature::support_zero_copy, Feature::auto_buf_reg, Feature::shmem_zc,
              Feature::batch_io, Feature::need_get_data, Feature::no_auto_part_scan}) {
            if (!offers(flag))
                continue;
            const Added added = driver.add({.flags = flag | Feature::unprivileged_dev});
            const auto what = "ADD_DEV with " + uapi::to_string(flag);
            if (flag == Feature::user_copy || flag == Feature::support_zero_copy ||
                flag == Feature::auto_buf_reg) {
                expect_error(EINVAL, added, what);
                continue;
            }
            expect_ok(added, what);
            expect_true(kept(added).has(flag), uapi::to_string(flag) + " is kept");
        }
    });
}

CASE("UBLK-UNPRIV-012", contract,
     "Root of another user namespace is no administrator: it may add unprivileged devices, and no others")
{
    Child child([](Child&) {
        Driver driver;
        become_user(user_id, group_id);
        ::prctl(PR_SET_DUMPABLE, 1); // or the maps are not ours to write
        expect_ok(sys(::unshare(CLONE_NEWUSER)), "a new user namespace");
        std::ofstream("/proc/self/uid_map") << fmt::format("0 {} 1", user_id);
        expect_eq(0U, ::getuid(), "uid in the namespace");
        expect_error(EPERM, driver.add(), "ADD_DEV");
        const Added added = driver.add({.flags = Feature::unprivileged_dev});
        expect_ok(added, "ADD_DEV with UNPRIVILEGED_DEV");
        expect_true(kept(added).has(Feature::unprivileged_dev), "the flag is kept");
        expect_eq(user_id, added.info.owner_uid, "owner_uid, as the first namespace has it");
        return 0;
    });
    expect_eq(0, child.join(), "exit status of the process in the namespace");
}

} // namespace conformance
