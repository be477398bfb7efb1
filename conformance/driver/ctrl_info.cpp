// UBLK-CTRL-INFO: GET_DEV_INFO and GET_DEV_INFO2.
#include "conformance/driver/case.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <optional>

namespace conformance {

namespace {

// GET_DEV_INFO2 as it is meant: a buffer that begins with a path, and room for the answer behind it.
struct Info2 {
    std::array<char, 8192> buffer{};
    CtrlCmd cmd;

    Info2(const Device& device, const std::string& path)
        : cmd(device.cmd(buffer.data(), path.size() + sizeof(DevInfo)))
    {
        // Not a NUL: what follows the path is no part of it.
        buffer.fill('#');
        std::ranges::copy(path, buffer.begin());
        cmd.dev_path_len = static_cast<std::uint16_t>(path.size());
    }
    Info2(const Info2&) = delete;
    Info2& operator=(const Info2&) = delete;

    DevInfo answer() const
    {
        DevInfo info;
        std::memcpy(&info, buffer.data() + cmd.dev_path_len, sizeof(info));
        return info;
    }
};

long info2(const Device& device, const std::string& path)
{
    const Info2 ask(device, path);
    return device.driver().control(CtrlNr::get_dev_info2, ask.cmd);
}

// Before 6.18 ublksrv_pid is the number that START_DEV stored, for every caller and after the server's death.
bool pid_is_translated()
{
    return kernel_version() >= ublk::uapi::KernelVersion{6, 18, 0};
}

} // namespace

CASE("UBLK-CTRL-INFO-001", contract, "GET_DEV_INFO wants room for 64 bytes, and writes exactly those")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 7});
    std::array<unsigned char, 256> buffer{};
    const BadPage bad;
    expect_error(EINVAL, driver.control(CtrlNr::get_dev_info, device.cmd(buffer.data(), 63)), "63 bytes");
    expect_error(EINVAL, driver.control(CtrlNr::get_dev_info, device.cmd(nullptr, 64)), "no buffer");
    expect_error(EFAULT, driver.control(CtrlNr::get_dev_info, device.cmd(bad.get(), 64)), "bad address");
    buffer.fill(0x5a);
    expect_ok(driver.control(CtrlNr::get_dev_info, device.cmd(buffer.data(), buffer.size())), "256 bytes");
    DevInfo info;
    std::memcpy(&info, buffer.data(), sizeof(info));
    expect_eq(7, info.queue_depth, "queue_depth");
    expect_eq(device.id(), info.dev_id, "dev_id");
    expect_true(std::all_of(buffer.begin() + 64, buffer.end(), [](auto byte) { return byte == 0x5a; }),
                "nothing is written behind the 64 bytes");
}

CASE("UBLK-CTRL-INFO-002", contract,
     "The state is 0 before START and after STOP, 1 live, 2 quiesced, 3 failing I/O")
{
    Driver driver;
    const auto number = [](const Device& device) { return device.info().state; };
    {
        const auto device = driver.make();
        expect_eq(0, number(device), "state before START_DEV");
        Server server(device);
        server.go_live();
        expect_eq(1, number(device), "state after START_DEV");
        expect_ok(control_served(server, CtrlNr::stop_dev));
        expect_eq(0, number(device), "state after STOP_DEV");
    }
    std::vector<std::pair<Features, int>> after_death;
    if (offers(Feature::user_recovery))
        after_death.emplace_back(Feature::user_recovery, 2);
    if (offers(Feature::user_recovery_fail_io))
        after_death.emplace_back(Feature::user_recovery | Feature::user_recovery_fail_io, 3);
    for (const auto& [flags, state] : after_death) {
        const auto device = driver.make({.flags = flags});
        ServerProcess server(device);
        server.kill();
        eventually([&] { return number(device) != 1; });
        expect_eq(state, number(device), "state after the server's death");
        expect_ok(device.stop());
        expect_eq(0, number(device), "state after STOP_DEV");
    }
}

CASE("UBLK-CTRL-INFO-003", contract,
     "ublksrv_pid of a live device is the server's process id, as the caller's pid namespace has it",
     timeout(30s))
{
    Driver driver;
    const auto device = driver.make();
    ServerProcess server(device);
    expect_eq(server.pid(), device.info().ublksrv_pid, "ublksrv_pid");
    const pid_t inside = pid_is_translated() ? -1 : server.pid();
    in_pid_namespace([&] {
        Driver other;
        expect_eq(inside, Device(other, device.added()).info().ublksrv_pid,
                  "ublksrv_pid where the server cannot be seen");
    });
}

CASE("UBLK-CTRL-INFO-004", contract,
     "After the server's death ublksrv_pid of a device that can recover is -1", needs(Feature::user_recovery))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::user_recovery});
    ServerProcess server(device);
    server.kill();
    expect_true(eventually([&] { return device.state() == DevState::quiesced; }), "the device gets QUIESCED");
    expect_eq(pid_is_translated() ? -1 : server.pid(), device.info().ublksrv_pid, "ublksrv_pid");
}

CASE("UBLK-CTRL-INFO-005", contract, "After STOP_DEV ublksrv_pid is -1")
{
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.go_live();
    expect_eq(::getpid(), device.info().ublksrv_pid, "ublksrv_pid while live");
    expect_ok(control_served(server, CtrlNr::stop_dev));
    expect_eq(-1, device.info().ublksrv_pid, "ublksrv_pid after STOP_DEV");
}

CASE("UBLK-CTRL-INFO-006", contract, "GET_DEV_INFO answers while START_DEV or STOP_DEV of the device waits")
{
    Driver driver;
    const auto starting = driver.make();
    expect_ok(starting.set_params(basic_params()));
    Pending start = starting.begin_start();
    start.expect_pending("START_DEV without FETCHes");
    expect_true(starting.state() == DevState::dead, "DEAD while START_DEV waits");
    expect_true(!start.done(), "START_DEV still waits");
    start.cancel();

    const auto stopping = driver.make();
    Server server(stopping);
    server.go_live();
    auto app = App::read(stopping, 0, 4096);
    const auto request = server.expect_request("the read");
    Pending stop = stopping.begin(CtrlNr::stop_dev);
    stop.expect_pending("STOP_DEV while the server holds a request");
    expect_eq(stopping.id(), stopping.info().dev_id, "dev_id");
    expect_true(!stop.done(), "STOP_DEV still waits");
    server.commit(request.q, request.tag, 4096);
    expect_ok(server.serve_until(stop));
    expect_eq(4096, server.serve_until(app), "bytes read");
}

CASE("UBLK-CTRL-INFO-007", contract, "GET_DEV_INFO2 demands a device path, of a privileged device too")
{
    Driver driver;
    const auto device = driver.make();
    Info2 ask(device, device.char_path());
    const auto good = ask.cmd;
    ask.cmd.dev_path_len = 0;
    expect_error(EINVAL, driver.control(CtrlNr::get_dev_info2, ask.cmd), "no path");
    ask.cmd.dev_path_len = 4097;
    ask.cmd.len = 8192;
    expect_error(EINVAL, driver.control(CtrlNr::get_dev_info2, ask.cmd), "a path of 4097 bytes");
    ask.cmd = good;
    ask.cmd.len = static_cast<std::uint16_t>(good.dev_path_len - 1);
    expect_error(EINVAL, driver.control(CtrlNr::get_dev_info2, ask.cmd), "a path longer than the buffer");
    expect_ok(driver.control(CtrlNr::get_dev_info2, good), "the path of ublkcN");
}

CASE("UBLK-CTRL-INFO-008", contract,
     "GET_DEV_INFO2 wants the path of this device's ublkcN, symbolic links followed")
{
    Driver driver;
    const auto device = driver.make();
    const auto other = driver.make();
    Server server(device);
    server.go_live();
    const std::string link = fmt::format("/tmp/ublkc{}-link", device.id());
    expect_ok(sys(::symlink(device.char_path().c_str(), link.c_str())), "a symbolic link");
    expect_error(ENOENT, info2(device, "/dev/no-such-node"), "a path that does not exist");
    for (const auto& path :
         {std::string("/proc/version"), std::string("/dev/null"), device.block_path(), other.char_path()})
        expect_error(EPERM, info2(device, path), path);
    expect_ok(info2(device, device.char_path()), "ublkcN");
    expect_ok(info2(device, link), "a symbolic link to ublkcN");
    ::unlink(link.c_str());
}

CASE("UBLK-CTRL-INFO-009", contract,
     "GET_DEV_INFO2 writes its answer behind the path, and wants 64 bytes of room there")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 7});
    Info2 ask(device, device.char_path());
    --ask.cmd.len;
    expect_error(EINVAL, driver.control(CtrlNr::get_dev_info2, ask.cmd), "63 bytes behind the path");
    ++ask.cmd.len;
    expect_ok(driver.control(CtrlNr::get_dev_info2, ask.cmd), "64 bytes behind the path");
    expect_eq(device.id(), ask.answer().dev_id, "dev_id");
    expect_eq(7, ask.answer().queue_depth, "queue_depth");
    expect_eq(device.char_path(), std::string(ask.buffer.data(), ask.cmd.dev_path_len),
              "the path afterwards");
    expect_eq('#', ask.buffer.at(ask.cmd.len), "the byte behind the answer");
}

CASE("UBLK-CTRL-INFO-010", contract, "The path of GET_DEV_INFO2 needs no NUL at its end, and may have one")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(info2(device, device.char_path()), "a path that runs into other bytes");
    expect_ok(info2(device, device.char_path() + '\0'), "a path that ends with a NUL");
}

} // namespace conformance
