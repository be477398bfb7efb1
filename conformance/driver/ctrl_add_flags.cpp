// UBLK-CTRL-ADD: the feature flags of ADD_DEV, who may use it, and who owns the device.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/server.hpp"

#include <vector>

namespace conformance {

namespace {

using enum ublk::uapi::Feature;

std::string text(Features flags)
{
    return ublk::uapi::to_string(flags);
}

// Adds with `flags`, checks what was made of them, deletes. The block returned and the device must agree.
Features granted(Driver& driver, Features flags, Where where = Where::current())
{
    const Added added = driver.add({.flags = flags});
    expect_ok(added, "ADD_DEV with " + text(flags), where);
    const Device device(driver, added.info);
    expect_eq(added.info.flags, device.info().flags, "the flags of the device and those returned", where);
    expect_ok(device.del(), "DEL_DEV", where);
    return Features::from_raw(added.info.flags);
}

void expect_granted(Driver& driver, Features flags, Where where = Where::current())
{
    expect_eq(text(flags), text(granted(driver, flags, where) & flags), "the flags asked for", where);
}

void expect_refused(int err, Driver& driver, Features flags, Where where = Where::current())
{
    expect_error(err, driver.add({.flags = flags}), "ADD_DEV with " + text(flags), where);
}

// Every subset of the flags that this kernel offers.
std::vector<Features> combinations(std::initializer_list<Feature> flags)
{
    std::vector<Features> all{Features{}};
    for (const Feature flag : flags) {
        if (!offers(flag))
            continue;
        for (std::size_t i = 0, known = all.size(); i < known; ++i)
            all.push_back(all[i] | flag);
    }
    return all;
}

} // namespace

CASE("UBLK-CTRL-ADD-015", contract, "ADD_DEV clears flags that it does not know, and says so")
{
    Driver driver;
    const auto unknown = Features::from_raw(~0ULL << 21).without(kernel_features());
    expect_eq(text({}), text(granted(driver, unknown) & unknown), "the unknown flags that are left");
    for (const unsigned bit : {40U, 63U}) {
        const auto flag = Features::from_raw(1ULL << bit);
        expect_eq(text({}), text(granted(driver, flag) & flag), fmt::format("what is left of bit {}", bit));
    }
}

CASE("UBLK-CTRL-ADD-016", contract, "ADD_DEV sets the flags of what the driver does for every device")
{
    Features always = cmd_ioctl_encode | uring_cmd_comp_in_task;
    for (const Feature flag : {per_io_daemon, buf_reg_off_daemon, safe_stop_dev}) {
        if (offers(flag))
            always |= flag;
    }
    Driver driver;
    expect_eq(text(always), text(granted(driver, {})), "the flags of a device made without any");
}

CASE("UBLK-CTRL-ADD-017", contract, "BATCH_IO takes PER_IO_DAEMON and NEED_GET_DATA away", needs(batch_io))
{
    Driver driver;
    const auto flags = granted(driver, batch_io | need_get_data | per_io_daemon);
    expect_eq(text(batch_io), text(flags & (batch_io | need_get_data | per_io_daemon)), "what is left");
}

CASE("UBLK-CTRL-ADD-018", contract, "NEED_GET_DATA goes away where the driver does not copy data")
{
    Driver driver;
    expect_granted(driver, need_get_data);
    for (const Feature mode : {user_copy, support_zero_copy, auto_buf_reg}) {
        if (!offers(mode))
            continue;
        const auto flags = granted(driver, mode | need_get_data) & (mode | need_get_data);
        expect_eq(text(mode), text(flags), "what is left of " + text(mode | need_get_data));
    }
}

CASE("UBLK-CTRL-ADD-019", contract, "SUPPORT_ZERO_COPY is granted where GET_FEATURES offers it, else dropped")
{
    Driver driver;
    const Features expected = offers(support_zero_copy) ? Features(support_zero_copy) : Features{};
    expect_eq(text(expected), text(granted(driver, support_zero_copy) & support_zero_copy), "what is left");
}

CASE("UBLK-CTRL-ADD-020", contract,
     "Recovery is off, USER_RECOVERY, or that with one of REISSUE and FAIL_IO; from 6.13 else is refused")
{
    Driver driver;
    const Features recovery = user_recovery, reissue = user_recovery_reissue, fail_io = user_recovery_fail_io;
    for (const auto& sound : {Features{}, recovery, recovery | reissue})
        expect_granted(driver, sound);
    if (!offers(user_recovery_fail_io))
        return expect_granted(driver, reissue);
    expect_granted(driver, recovery | fail_io);
    for (const auto& wrong : {reissue, fail_io, reissue | fail_io, recovery | reissue | fail_io})
        expect_refused(EINVAL, driver, wrong);
}

CASE("UBLK-CTRL-ADD-021", contract, "QUIESCE needs USER_RECOVERY", needs(quiesce))
{
    Driver driver;
    expect_refused(EINVAL, driver, quiesce);
    expect_granted(driver, quiesce | user_recovery);
}

CASE("UBLK-CTRL-ADD-022", contract, "INTEGRITY needs USER_COPY", needs(integrity))
{
    Driver driver;
    expect_refused(EINVAL, driver, integrity);
    expect_refused(EINVAL, driver, integrity | support_zero_copy);
    expect_granted(driver, integrity | user_copy);
}

CASE("UBLK-CTRL-ADD-023", contract, "ZONED needs USER_COPY or SUPPORT_ZERO_COPY; AUTO_BUF_REG is not enough")
{
    if (!kernel_has_zoned())
        skip("needs a kernel with zoned block devices (CONFIG_BLK_DEV_ZONED)");
    Driver driver;
    expect_refused(EINVAL, driver, zoned);
    expect_granted(driver, zoned | user_copy);
    // A kernel that drops SUPPORT_ZERO_COPY sees ZONED alone.
    if (offers(support_zero_copy))
        expect_granted(driver, zoned | support_zero_copy);
    else
        expect_refused(EINVAL, driver, zoned | support_zero_copy);
    if (offers(auto_buf_reg))
        expect_refused(EINVAL, driver, zoned | auto_buf_reg);
}

CASE("UBLK-CTRL-ADD-026", contract, "The owner of a device is the caller, whatever the caller writes")
{
    const auto add_as_stranger = [](Driver& driver) {
        DevInfo info = to_info({});
        info.owner_uid = 4242;
        info.owner_gid = 4343;
        expect_ok(driver.add_raw({.dev_id = info.dev_id, .len = sizeof(info), .addr = address(&info)}, info));
        return Device(driver, info).info();
    };
    Driver driver;
    const DevInfo of_root = add_as_stranger(driver);
    expect_eq(0U, of_root.owner_uid, "owner_uid of root's device");
    expect_eq(0U, of_root.owner_gid, "owner_gid of root's device");
    Child child([&](Child&) {
        Driver mine;
        // The effective ids, and with them the capabilities, stay root's.
        expect_ok(sys(::setresgid(1001, static_cast<gid_t>(-1), static_cast<gid_t>(-1))), "setresgid");
        expect_ok(sys(::setresuid(1000, static_cast<uid_t>(-1), static_cast<uid_t>(-1))), "setresuid");
        const DevInfo of_user = add_as_stranger(mine);
        expect_eq(1000U, of_user.owner_uid, "owner_uid of user 1000's device");
        expect_eq(1001U, of_user.owner_gid, "owner_gid of group 1001's device");
        return 0;
    });
    expect_eq(0, child.join(), "exit status of the other user");
}

CASE("UBLK-CTRL-ADD-029", contract, "A device that an administrator makes is never UNPRIVILEGED_DEV")
{
    Driver driver;
    expect_eq(text({}), text(granted(driver, unprivileged_dev) & unprivileged_dev),
              "what is left of the flag");
}

CASE("UBLK-CTRL-ADD-030", contract, "ADD_DEV without UNPRIVILEGED_DEV is for administrators")
{
    Child child([&](Child&) {
        Driver driver;
        drop_sys_admin();
        expect_refused(EPERM, driver, {});
        expect_refused(EPERM, driver, user_copy);
        return 0;
    });
    expect_eq(0, child.join(), "exit status of the process without CAP_SYS_ADMIN");
}

CASE("UBLK-CTRL-ADD-031", contract,
     "The ways around copying combine freely, and each but SHMEM_ZC turns the driver's own copy off",
     needs(support_zero_copy | auto_buf_reg), timeout(60s))
{
    Driver driver;
    for (const Features flags : combinations({user_copy, support_zero_copy, auto_buf_reg, shmem_zc})) {
        expect_granted(driver, flags);
        const Device device = driver.make({.queue_depth = 2, .flags = flags});
        {
            Server server(device);
            IoCmd own_buffer = server.cmd(0, 0), no_buffer = server.cmd(0, 1);
            no_buffer.addr = 0;
            const bool copies = !flags.has_any(user_copy | support_zero_copy | auto_buf_reg);
            if (!copies)
                expect_error(EINVAL, server.io(IoNr::fetch_req, own_buffer),
                             "FETCH with a buffer on a device with " + text(flags));
            const auto armed = server.send(IoNr::fetch_req, copies ? own_buffer : no_buffer);
            expect_ok(device.stop(), "STOP_DEV");
            expect_eq(-ENODEV, server.wait(armed, patience).value_or(0), "the accepted FETCH, at STOP_DEV");
        }
        expect_ok(device.del(), "DEL_DEV");
    }
}

} // namespace conformance
