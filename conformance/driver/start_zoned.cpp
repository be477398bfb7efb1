// UBLK-START where the block layer has the last word.
#include "conformance/driver/case.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <unistd.h>
#include <vector>

namespace conformance {

namespace {

constexpr std::uint64_t zone_sectors = 1024;

// Answers REPORT_ZONES of a USER_COPY device with empty sequential zones.
std::int32_t report_zones(const Server& server, const Server::Request& request)
{
    std::vector<ublk::uapi::ZoneReport> zones(request.desc.nr_sectors);
    for (std::size_t i = 0; i < zones.size(); ++i) {
        const auto start = request.desc.start_sector + i * zone_sectors;
        zones[i] = {.start = start,
                    .len = zone_sectors,
                    .wp = start,
                    .type = static_cast<std::uint8_t>(ublk::uapi::ZoneType::sequential_write_required),
                    .cond = static_cast<std::uint8_t>(ublk::uapi::ZoneCond::empty),
                    .capacity = zone_sectors};
    }
    const auto bytes = zones.size() * sizeof(zones[0]);
    return static_cast<std::int32_t>(
        sys(::pwrite(server.fd(), zones.data(), bytes,
                     static_cast<off_t>(ublk::uapi::user_copy_pos(request.q, request.tag)))));
}

} // namespace

CASE("UBLK-START-009", contract,
     "Limits that the block layer refuses fail START_DEV with EINVAL, and better parameters mend it",
     needs(Feature::zoned | Feature::user_copy))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::zoned | Feature::user_copy});
    auto params = basic_params(8 * zone_sectors);
    params.types |= static_cast<std::uint32_t>(ParamType::zoned);
    params.basic.chunk_sectors = zone_sectors;
    params.zoned = {.max_open_zones = 4, .max_active_zones = 2, .max_zone_append_sectors = 128};
    expect_ok(device.set_params(params), "SET_PARAMS with more open than active zones");
    Server server(device, {.copy_buffers = false});
    server.handler = [&](const Server::Request& request) -> std::optional<std::int32_t> {
        if (static_cast<IoOp>(request.desc.op()) == IoOp::report_zones)
            return report_zones(server, request);
        return static_cast<std::int32_t>(request.desc.nr_sectors * ublk::uapi::sector_size);
    };
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
