// UBLK-MOD: the driver as a module. Every case runs from the saved state of its machine, so that none has to
// leave the module as it was.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/syscall.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;

long unload()
{
    return sys(::syscall(SYS_delete_module, "ublk_drv", O_NONBLOCK));
}

// The last close of a file of ublk's may still be under way.
void expect_unloads(Where where = Where::current())
{
    long res = 0;
    eventually([&] {
        res = unload();
        return res != -EWOULDBLOCK;
    });
    expect_ok(res, "delete_module", where);
    expect_true(!fs::exists("/sys/module/ublk_drv"), "the module is gone", where);
}

long load(const char* options = "")
{
    for (const auto& entry : fs::directory_iterator("/modules")) {
        if (entry.path().filename().string().find("ublk_drv") == std::string::npos)
            continue;
        const Fd file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
        return sys(::syscall(SYS_finit_module, file.get(), options, 0));
    }
    skip("needs the module's file in the guest");
}

void need_module()
{
    if (!fs::exists("/sys/module/ublk_drv/refcnt"))
        skip("needs the driver as a module");
}

// A device that nobody has open, not even by the control node.
void leave_device(const AddOptions& options = {}, Where where = Where::current())
{
    Child maker([&](Child&) {
        static_cast<void>((new Driver)->make(options)); // no destructor: that would delete it
        return 0;
    });
    expect_eq(0, maker.join(where), "exit of who makes the device", where);
}

// A server, and a device that nobody else has open.
std::unique_ptr<Child> serve_left_device(const AddOptions& options, Where where = Where::current())
{
    auto child = std::make_unique<Child>([&](Child& self) {
        auto& driver = *new Driver;
        Server server(driver.make(options));
        server.go_live();
        self.tell();
        server.serve_for(10min);
        return 0;
    });
    child->hear(where);
    return child;
}

void kill_server(Child& server, Where where = Where::current())
{
    server.kill(SIGKILL);
    expect_eq(128 + SIGKILL, server.join(where), "exit of the killed server", where);
}

} // namespace

CASE("UBLK-MOD-001", contract, "The module is unloaded although it has devices, if they are closed and idle")
{
    need_module();
    leave_device();
    leave_device({.nr_hw_queues = 2, .queue_depth = 64});
    expect_true(has_char_node(0) && has_char_node(1), "two devices");
    expect_unloads();
    expect_true(!has_char_node(0) && !has_char_node(1), "the devices are gone with it");
    expect_true(!fs::exists(ublk::wire::control_path), "and the control node");
}

CASE("UBLK-MOD-002", contract, "The module stays while one of its nodes is open")
{
    need_module();
    leave_device();
    for (const auto& path : {std::string(ublk::wire::control_path), ublk::wire::char_path(0)}) {
        const auto fd = ublk::wire::open_node(path, O_RDWR);
        expect_true(fd.has_value(), path + " opens");
        expect_error(EWOULDBLOCK, unload(), "delete_module with " + path + " open");
    }
    expect_unloads();
}

CASE("UBLK-MOD-003", contract, "The module may be unloaded right after a server's death", since(7, 3, 4),
     timeout(60s))
{
    need_module();
    for (int round = 0; round < 8; ++round) {
        const auto server = serve_left_device({});
        expect_error(EWOULDBLOCK, unload(), "delete_module beside a server");
        kill_server(*server);
        expect_unloads();
        expect_true(!fs::exists("/sys/block/ublkb0"), "the disk is gone");
        expect_ok(load(), "finit_module");
    }
}

CASE("UBLK-MOD-004", contract, "The module stays while an application waits for a device without server",
     needs(Feature::user_recovery))
{
    need_module();
    const auto server = serve_left_device({.flags = Feature::user_recovery});
    kill_server(*server);
    {
        Driver driver;
        const Device device(driver, {.dev_id = 0});
        expect_true(eventually([&] { return device.state() == DevState::quiesced; }),
                    "the device is QUIESCED");
    }
    Sleeper reader([] {
        const auto fd = ublk::wire::open_node(ublk::wire::block_path(0), O_RDONLY | O_DIRECT);
        alignas(4096) static std::byte buffer[4096];
        return fd ? sys(::pread(fd->get(), buffer, sizeof(buffer), 0)) : -static_cast<long>(fd.error());
    });
    reader.expect_asleep("the read");
    expect_true(!eventually([] { return unload() != -EWOULDBLOCK; }, settle), "delete_module is refused");
    {
        Driver driver;
        expect_ok(Device(driver, {.dev_id = 0}).stop(), "STOP_DEV");
    }
    expect_true(eventually([&] { return reader.app().done(); }), "the read ends");
    expect_error(EIO, reader.app().result(), "its result");
    expect_unloads();
}

CASE("UBLK-MOD-005", contract, "Nothing of the module stays when it goes, and device ids begin at 0 again",
     timeout(60s))
{
    need_module();
    for (int round = 0; round < 6; ++round) {
        expect_eq(0U, lowest_free_id(), "lowest free id");
        for (int i = 0; i <= round; ++i)
            leave_device();
        expect_eq(static_cast<unsigned>(round) + 1, lowest_free_id(), "lowest free id among devices");
        expect_unloads();
        expect_true(!fs::exists("/sys/class/ublk-char"), "no class ublk-char");
        std::ifstream devices("/proc/devices");
        for (std::string word; devices >> word;)
            expect_true(!word.starts_with("ublk"), "no device numbers");
        expect_ok(load(), "finit_module");
    }
}

CASE("UBLK-MOD-006", contract, "ublks_max may be given when the module is loaded, from 0 to 1048576")
{
    need_module();
    expect_unloads();
    for (const char* wrong : {"ublks_max=-1", "ublks_max=1048577", "ublks_max=many"})
        expect_error(EINVAL, load(wrong), wrong);
    for (const std::string right : {"0", "7", "1048576"}) {
        expect_ok(load(("ublks_max=" + right).c_str()), "finit_module, ublks_max " + right);
        std::ifstream file("/sys/module/ublk_drv/parameters/ublks_max");
        std::string value;
        file >> value;
        expect_eq(right, value, "ublks_max");
        expect_unloads();
    }
}

} // namespace conformance
