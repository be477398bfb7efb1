// UBLK-START where the block layer has the last word.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <unistd.h>

namespace conformance {

CASE("UBLK-START-009", contract,
     "Limits that the block layer refuses fail START_DEV with EINVAL, and better parameters mend it",
     needs(Feature::zoned | Feature::user_copy))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::zoned | Feature::user_copy});
    auto params = zoned_params();
    params.zoned.max_open_zones = 4;
    expect_ok(device.set_params(params), "SET_PARAMS with more open than active zones");
    Server server(device, {.copy_buffers = false});
    serve_zones(server);
    server.fetch_all();
    const auto pid = static_cast<std::uint64_t>(::getpid());
    expect_error(EINVAL, control_served(server, CtrlNr::start_dev, pid), "START_DEV");
    expect_true(device.state() == DevState::dead, "the state is DEAD");
    expect_true(!device.has_disk(), "no ublkbN");
    params.zoned.max_open_zones = 2;
    expect_ok(device.set_params(params), "SET_PARAMS with sound limits");
    expect_ok(control_served(server, CtrlNr::start_dev, pid), "START_DEV with the same FETCHes");
    expect_true(device.state() == DevState::live, "the state is LIVE");
}

} // namespace conformance
