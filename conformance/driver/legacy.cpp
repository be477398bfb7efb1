// UBLK-LEGACY: commands by their bare numbers.
#include "conformance/driver/batch_verbs.hpp"
#include "conformance/driver/case.hpp"

#include <optional>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

long raw(const Device& device, CtrlNr nr, const CtrlCmd& cmd)
{
    return device.driver().control(uapi::legacy_opcode(nr), cmd);
}

long raw(const Device& device, CtrlNr nr, void* payload, std::size_t len)
{
    return raw(device, nr, device.cmd(payload, len));
}

// Whether this kernel was built with CONFIG_BLKDEV_UBLK_LEGACY_OPCODES.
bool takes_numbers(Driver& driver)
{
    const auto device = driver.make();
    DevInfo info;
    const long res = raw(device, CtrlNr::get_dev_info, &info, sizeof(info));
    expect_true(res == 0 || res == -EOPNOTSUPP,
                fmt::format("GET_DEV_INFO by its number works or is unknown: {}", result_text(res)));
    device.del();
    return res == 0;
}

void need_numbers(Driver& driver)
{
    if (!takes_numbers(driver))
        skip("needs a kernel with CONFIG_BLKDEV_UBLK_LEGACY_OPCODES");
}

} // namespace

CASE("UBLK-LEGACY-001", contract, "The first commands do by their bare numbers what they do encoded")
{
    Driver driver;
    need_numbers(driver);
    auto info = to_info({.queue_depth = 2, .flags = Feature::need_get_data});
    expect_ok(driver.control(uapi::legacy_opcode(CtrlNr::add_dev),
                             {.len = sizeof(info), .addr = reinterpret_cast<std::uintptr_t>(&info)}),
              "ADD_DEV");
    const Device device(driver, info);
    auto params = basic_params();
    expect_ok(raw(device, CtrlNr::set_params, &params, sizeof(params)), "SET_PARAMS");
    expect_ok(raw(device, CtrlNr::get_params, &params, sizeof(params)), "GET_PARAMS");
    std::uint64_t cpus[64] = {};
    expect_ok(raw(device, CtrlNr::get_queue_affinity, cpus, sizeof(cpus)), "GET_QUEUE_AFFINITY");
    expect_true(cpus[0] != 0, "the queue has CPUs");
    std::optional<Server> serving(device);
    auto& server = *serving;
    const auto pid = static_cast<std::uint64_t>(::getpid());
    auto start = driver.begin(uapi::legacy_opcode(CtrlNr::start_dev), device.cmd(pid));
    std::uint64_t token[2];
    for (const unsigned tag : {0U, 1U})
        token[tag] = server.send(uapi::legacy_opcode(IoNr::fetch_req), server.cmd(0, tag));
    // The partition scan of kernels that cannot go without, then the application's write: all by number.
    const auto serve_until = [&](const std::function<bool()>& holds) {
        return eventually([&] {
            for (const unsigned tag : {0U, 1U}) {
                const auto res = server.wait(token[tag], 1ms);
                if (!res)
                    continue;
                const auto bytes =
                    static_cast<std::int32_t>(server.desc(0, tag).nr_sectors * uapi::sector_size);
                if (*res == uapi::io_res_need_get_data)
                    expect_ok(server.io(uapi::legacy_opcode(IoNr::need_get_data), server.cmd(0, tag)),
                              "NEED_GET_DATA");
                token[tag] =
                    server.send(uapi::legacy_opcode(IoNr::commit_and_fetch_req), server.cmd(0, tag, bytes));
            }
            return holds();
        });
    };
    expect_true(serve_until([&] { return start.done(); }), "START_DEV ends");
    expect_ok(start.result(), "START_DEV");
    const auto app = App::write(device, 0, 4096, std::byte{1});
    expect_true(serve_until([&] { return app.done(); }), "the write ends");
    expect_eq(4096, app.result(), "bytes written");
    expect_ok(raw(device, CtrlNr::get_dev_info, &info, sizeof(info)), "GET_DEV_INFO");
    expect_eq(static_cast<unsigned>(DevState::live), unsigned{info.state}, "state");
    auto stop = driver.begin(uapi::legacy_opcode(CtrlNr::stop_dev), device.cmd());
    expect_true(serve_until([&] { return stop.done(); }), "STOP_DEV ends");
    expect_ok(stop.result(), "STOP_DEV");
    serving.reset();
    expect_ok(raw(device, CtrlNr::del_dev, device.cmd()), "DEL_DEV");
    expect_error(ENODEV, device.get_info(info), "GET_DEV_INFO of what is deleted");
}

CASE("UBLK-LEGACY-002", contract,
     "Later commands have a bare number too, although none was ever given them; GET_FEATURES has none")
{
    Driver driver;
    need_numbers(driver);
    const auto device = driver.make();
    std::uint64_t features = 0;
    expect_error(EOPNOTSUPP, raw(device, CtrlNr::get_features, &features, sizeof(features)), "GET_FEATURES");
    expect_eq(0U, features, "features");
    if (offers(Feature::quiesce))
        expect_error(EOPNOTSUPP, raw(device, CtrlNr::quiesce_dev, device.cmd()),
                     "QUIESCE_DEV without QUIESCE");
    if (offers(Feature::quiesce)) {
        const auto quiet = driver.make({.flags = Feature::quiesce | Feature::user_recovery});
        expect_error(ENODEV, raw(quiet, CtrlNr::quiesce_dev, quiet.cmd()), "QUIESCE_DEV without disk");
    }
    if (offers(Feature::safe_stop_dev))
        expect_error(ENODEV, raw(device, CtrlNr::try_stop_dev, device.cmd()), "TRY_STOP_DEV without disk");
    if (offers(Feature::buf_reg_off_daemon)) { // before it the tag is looked at as well
        Live live(driver, basic_params(), {.flags = Feature::support_zero_copy});
        auto held = live.hold_write();
        expect_ok(live.server.io(uapi::legacy_opcode(IoNr::register_io_buf), register_cmd(held.request, 1)),
                  "REGISTER_IO_BUF");
        expect_ok(live.server.io(uapi::legacy_opcode(IoNr::unregister_io_buf), {.addr = 1}),
                  "UNREGISTER_IO_BUF");
        expect_eq(4096, live.finish(held, 4096), "bytes written");
    }
    expect_ok(raw(device, CtrlNr::del_dev_async, device.cmd()), "DEL_DEV_ASYNC");
    expect_true(eventually([&] { return !device.has_char_node(); }), "the device goes");
}

CASE("UBLK-LEGACY-003", contract, "A kernel without the legacy option knows no bare number")
{
    Driver driver;
    if (takes_numbers(driver))
        skip("needs a kernel without CONFIG_BLKDEV_UBLK_LEGACY_OPCODES");
    const auto device = driver.make();
    Server server(device);
    for (std::uint32_t nr = 0x01; nr <= 0x19; ++nr)
        expect_error(EOPNOTSUPP, driver.control(nr, device.cmd()), fmt::format("control command {:#x}", nr));
    for (std::uint32_t nr = 0x20; nr <= 0x24; ++nr)
        expect_error(EOPNOTSUPP, server.io(nr, server.cmd(0, 0)), fmt::format("I/O command {:#x}", nr));
    server.expect_accepted(IoNr::fetch_req, server.cmd(0, 0), "FETCH, encoded");
}

CASE("UBLK-LEGACY-004", contract, "A batch device takes no bare number, whatever the kernel's option",
     needs(Feature::batch_io | Feature::support_zero_copy))
{
    Driver driver;
    BatchLive live(driver, {.queue_depth = 2, .flags = Feature::support_zero_copy});
    auto app = write_data(live.device, pattern(4096));
    const auto tag = live.hold(app);
    auto& server = live.server;
    const auto request = server.request(0, tag);
    for (std::uint32_t nr = 0x20; nr <= 0x27; ++nr)
        expect_error(EOPNOTSUPP, server.base.io(nr, {.tag = static_cast<std::uint16_t>(tag)}),
                     fmt::format("I/O command {:#x} of an owned tag", nr));
    expect_error(EOPNOTSUPP,
                 server.base.io(uapi::legacy_opcode(IoNr::register_io_buf), register_cmd(request, 1)),
                 "REGISTER_IO_BUF by its number");
    expect_ok(register_buffer(server.base, request, 1), "REGISTER_IO_BUF, encoded");
    expect_ok(unregister_buffer(server.base, 1), "UNREGISTER_IO_BUF, encoded");
    expect_eq(8, server.commit(0, {static_cast<std::uint16_t>(tag)}, 4096), "COMMIT, encoded");
    expect_eq(4096, live.serve_until(app), "bytes written");
}

} // namespace conformance
