#include "conformance/driver/recovery_verbs.hpp"

#include <fstream>

namespace conformance {

std::vector<Flavour> recovery_flavours()
{
    std::vector<Flavour> all{{waiting, DevState::quiesced, "USER_RECOVERY"},
                             {reissuing, DevState::quiesced, "USER_RECOVERY_REISSUE"}};
    if (offers(Feature::user_recovery_fail_io))
        all.push_back({failing, DevState::fail_io, "USER_RECOVERY_FAIL_IO"});
    return all;
}

void expect_state(const Device& device, DevState state, std::string_view when, Where where)
{
    eventually([&] { return device.state() == state; });
    expect_eq(static_cast<int>(state), static_cast<int>(device.state()), fmt::format("state {}", when),
              where);
}

void start_recovery(const Device& device, Where where)
{
    long res = -EBUSY;
    eventually([&] {
        res = device.control(CtrlNr::start_user_recovery);
        return res != -EBUSY;
    });
    expect_ok(res, "START_USER_RECOVERY", where);
}

long end_recovery(Server& server, pid_t pid, Where where)
{
    return control_served(server, CtrlNr::end_user_recovery, static_cast<std::uint64_t>(pid), where);
}

void recover(const Device& device, std::optional<Server>& server, Where where)
{
    start_recovery(device, where);
    server.emplace(device, Server::Options{}, where);
    server->memory().resize(basic_params().basic.dev_sectors * ublk::uapi::sector_size);
    server->fetch_all();
    expect_ok(end_recovery(*server, ::getpid(), where), "END_USER_RECOVERY", where);
}

Device orphan(Driver& driver, const AddOptions& options, DevState then, const Params& params, Where where)
{
    const Device device = driver.make(options, false, where);
    expect_ok(device.set_params(params), "SET_PARAMS", where);
    ServerProcess(device, where).kill(where);
    expect_state(device, then, "after the server's death", where);
    return device;
}

Mortal::Mortal(Driver& driver, const AddOptions& options, const Params& params, Where where)
    : device(driver.make(options, false, where)), server(std::in_place, device, Server::Options{}, where)
{
    server->go_live(params, where);
}

void Mortal::lose_server(DevState then, Where where)
{
    end_server();
    expect_state(device, then, "without a server", where);
}

Keeper::Keeper(const Device& device, Where where)
    : process_(
          device,
          [this](Server& server) {
              server.handler = [this](const Server::Request&) -> std::optional<std::int32_t> {
                  kept_.add();
                  return std::nullopt;
              };
          },
          where)
{
}

void Keeper::expect_kept(unsigned requests, Where where) const
{
    eventually([&] { return kept_.value() >= requests; });
    expect_eq(requests, kept_.value(), "requests that the server keeps", where);
}

long read_without_ring(const Device& device, Where where)
{
    for (unsigned i = 0; i + 1 < device.depth(); ++i) {
        const auto read = App::read(device, 0, 4096);
        if (eventually([&] { return read.done(); }, settle))
            return read.result();
    }
    fail("a read without a ring returns", "none did", where);
}

void set_io_timeout(const Device& device, Millis limit, Where where)
{
    set_sysfs(device, "queue/io_timeout", std::to_string(limit.count()), where);
}

long result_soon(const App& app, std::string_view what, Where where)
{
    if (!eventually([&] { return app.done(); }))
        fail(fmt::format("{} returns", what), fmt::format("it has not after {} s", patience.count() / 1000),
             where);
    return app.result();
}

void expect_waits(const App& app, std::string_view what, Where where)
{
    if (eventually([&] { return app.done(); }, settle))
        fail(fmt::format("{} waits", what), fmt::format("it returned {}", result_text(app.result())), where);
    count_check();
}

void expect_waits(Server& server, const App& app, std::string_view what, Where where)
{
    if (server.serve_until([&] { return app.done(); }, settle))
        fail(fmt::format("{} waits", what), fmt::format("it returned {}", result_text(app.result())), where);
    count_check();
}

} // namespace conformance
