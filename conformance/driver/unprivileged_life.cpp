// UBLK-UNPRIV: the disk of an unprivileged device, its server, and how many of them there may be.
#include "conformance/driver/case.hpp"
#include "conformance/driver/partition_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"
#include "conformance/driver/user_verbs.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>

namespace conformance {

namespace {

const std::string quota_path = "/sys/module/ublk_drv/parameters/ublks_max";

// A user's live device and its server, in a process of the user's.
User serve_as_user(SharedCounter& requests, bool hold_reads = false)
{
    return User([&requests, hold_reads](User::Self& self) {
        Driver driver;
        const Device device = self.make(driver);
        Server server(device);
        server.memory() = partitioned_disk();
        server.go_live();
        self.get_nodes();
        server.handler = [&](const Server::Request& request) -> std::optional<std::int32_t> {
            requests.add();
            if (hold_reads)
                return std::nullopt;
            return server.serve_from_memory(request);
        };
        self.ready();
        server.serve_for(10min);
    });
}

// What opening the disk for reading is for a process of `uid` and `gid`: 0 or -errno.
long open_as(const Device& device, unsigned uid, unsigned gid)
{
    Child child([&](Child&) {
        become_user(uid, gid);
        return -static_cast<int>(open_result(device.block_path(), O_RDONLY));
    });
    return -child.join();
}

long set_quota(const std::string& value)
{
    const Fd file(::open(quota_path.c_str(), O_WRONLY | O_CLOEXEC));
    return std::min(0L, sys(::write(file.get(), value.data(), value.size())));
}

std::string quota()
{
    std::string value;
    std::getline(std::ifstream(quota_path), value);
    return value;
}

} // namespace

CASE("UBLK-UNPRIV-008", contract,
     "ublkbN opens for the owner's uid with the owner's gid and for CAP_SYS_ADMIN, for others whatever its "
     "mode not")
{
    SharedCounter requests;
    User user = serve_as_user(requests);
    user.attend();
    Driver driver;
    const Device device = unprivileged_device(driver);
    expect_ok(sys(::chmod(device.block_path().c_str(), 0666)), "chmod 0666");
    expect_ok(open_as(device, user_id, group_id), "the owner");
    expect_error(EPERM, open_as(device, user_id, group_id + 1), "another group");
    expect_error(EPERM, open_as(device, user_id + 1, group_id), "another user of the group");
    expect_error(EPERM, open_as(device, user_id + 1, group_id + 1), "a stranger");
    without_sys_admin([&] {
        expect_error(EPERM, open_result(device.block_path(), O_RDONLY), "root without CAP_SYS_ADMIN");
    });
    expect_ok(open_result(device.block_path(), O_RDONLY), "root");
    expect_ok(sys(::chmod(device.block_path().c_str(), 0)), "chmod 0");
    expect_error(EACCES, open_as(device, user_id, group_id), "the owner, where the mode forbids it");
}

CASE("UBLK-UNPRIV-009", contract,
     "ublks_max is how many unprivileged devices there may be: 64 unless root says otherwise, 0 to 1048576")
{
    expect_eq("64", quota(), "ublks_max");
    for (const std::string wrong : {"-1", "1048577", "many"})
        expect_error(EINVAL, set_quota(wrong), "ublks_max " + wrong);
    for (const std::string right : {"0", "1048576", "2"}) {
        expect_ok(set_quota(right), "ublks_max " + right);
        expect_eq(right, quota(), "ublks_max");
    }
    Driver root;
    for (unsigned i = 0; i < 3; ++i)
        expect_ok(root.add(), "ADD_DEV of root's, which do not count");
    Child child([](Child& self) {
        Driver driver;
        drop_sys_admin();
        const AddOptions unprivileged{.flags = Feature::unprivileged_dev};
        const auto add = [&] { return driver.add(unprivileged); };
        const Device first = driver.make(unprivileged), second = driver.make(unprivileged);
        expect_error(EACCES, add(), "one more, with two where two may be");
        expect_ok(second.del(), "DEL_DEV");
        const Device third = driver.make(unprivileged); // DEL_DEV has made room
        self.tell();                                    // root lowers it to 1
        self.hear();
        expect_error(EACCES, add(), "one more, with two where one may be");
        expect_ok(third.del(), "DEL_DEV of the second");
        expect_error(EACCES, add(), "one more, with one where one may be");
        expect_ok(first.del(), "DEL_DEV of the first");
        expect_ok(add(), "the only one");
        self.tell(); // root lowers it to 0
        self.hear();
        expect_error(EACCES, add(), "one more, where none may be");
        return 0;
    });
    for (const std::string lower : {"1", "0"}) {
        child.hear();
        expect_ok(set_quota(lower), "ublks_max below what there is");
        child.tell();
    }
    expect_eq(0, child.join(), "exit status of the unprivileged process");
    expect_ok(root.add(), "ADD_DEV of root's, where no unprivileged device may be");
}

CASE("UBLK-UNPRIV-010", contract,
     "The server of an unprivileged device is killed when a request takes longer than the disk's io_timeout",
     timeout(60s))
{
    SharedCounter requests;
    User user = serve_as_user(requests, true);
    user.attend();
    Driver driver;
    const Device device = unprivileged_device(driver);
    set_io_timeout(device, 1s);
    auto app = App::read(device, 0, 4096);
    expect_eq(128 + SIGKILL, user.join(), "exit of the server");
    expect_true(requests.value() > 0, "the server had the request");
    expect_true(eventually([&] { return app.done(); }), "the read returns");
    expect_error(EIO, app.result(), "the read");
}

CASE("UBLK-UNPRIV-011", contract,
     "Nobody reads the partition table of an unprivileged device: not START_DEV, and BLKRRPART is EINVAL")
{
    SharedCounter requests;
    User user = serve_as_user(requests);
    user.attend();
    Driver driver;
    expect_never_scanned(unprivileged_device(driver), requests);
}

} // namespace conformance
