// UBLK-PARAM-ZONE: the zoned block.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <algorithm>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr auto zoned = Feature::zoned | Feature::user_copy;

Params with_limits(std::uint32_t open, std::uint32_t active)
{
    auto params = zoned_params();
    params.zoned.max_open_zones = open;
    params.zoned.max_active_zones = active;
    return params;
}

} // namespace

CASE("UBLK-PARAM-ZONE-001", contract, "A zoned device has a zoned block, and no other device has",
     needs(zoned))
{
    Driver driver;
    const auto with = driver.make({.flags = zoned}), without = driver.make({.flags = Feature::user_copy});
    expect_error(EINVAL, without.set_params(zoned_params()), "a zoned block without ZONED");
    expect_error(EINVAL, with.set_params(basic_params()), "ZONED without a zoned block");
    expect_ok(without.set_params(basic_params()), "neither");
    expect_ok(with.set_params(zoned_params()), "both");
}

CASE("UBLK-PARAM-ZONE-002", contract, "The sectors of a zone are a power of two", needs(zoned))
{
    Driver driver;
    const auto device = driver.make({.flags = zoned});
    auto params = zoned_params();
    for (const std::uint32_t sectors : {0, 96, 1000, 1025}) {
        params.basic.chunk_sectors = sectors;
        params.basic.dev_sectors = 8 * sectors;
        expect_error(EINVAL, device.set_params(params), fmt::format("zones of {} sectors", sectors));
    }
    for (const std::uint32_t sectors : {64, 1 << 20}) {
        params.basic.chunk_sectors = sectors;
        params.basic.dev_sectors = std::uint64_t{8} * sectors;
        expect_ok(device.set_params(params), fmt::format("zones of {} sectors", sectors));
    }
}

CASE("UBLK-PARAM-ZONE-003", contract, "A zoned device says how long a zone append may be", needs(zoned))
{
    Driver driver;
    const auto device = driver.make({.flags = zoned});
    auto params = zoned_params();
    params.zoned.max_zone_append_sectors = 0;
    expect_error(EINVAL, device.set_params(params), "no sector");
    for (const std::uint32_t sectors : {1U, ~0U}) {
        params.zoned.max_zone_append_sectors = sectors;
        expect_ok(device.set_params(params), fmt::format("{} sectors", sectors));
    }
}

CASE("UBLK-PARAM-ZONE-004", contract, "No more zones can be open or active than there are", needs(zoned))
{
    Driver driver;
    const auto device = driver.make({.flags = zoned});
    for (const std::uint32_t zones : {9U, ~0U}) {
        expect_error(EINVAL, device.set_params(with_limits(zones, 0)), fmt::format("{} of 8 open", zones));
        expect_error(EINVAL, device.set_params(with_limits(0, zones)), fmt::format("{} of 8 active", zones));
    }
    for (const std::uint32_t zones : {0, 1, 8})
        expect_ok(device.set_params(with_limits(zones, zones)), fmt::format("{} of 8", zones));
    // The last, shorter one does not count.
    auto params = with_limits(9, 9);
    params.basic.dev_sectors = 9 * zone_sectors - 8;
    expect_error(EINVAL, device.set_params(params), "9 of 8 and a part");
    params.basic.dev_sectors = 9 * zone_sectors;
    expect_ok(device.set_params(params), "9 of 9");
}

CASE("UBLK-PARAM-ZONE-005", contract,
     "More open zones than active ones pass SET_PARAMS, and START_DEV refuses them", needs(zoned))
{
    const auto start = [](std::uint32_t open, std::uint32_t active) {
        Driver driver;
        const auto device = driver.make({.flags = zoned});
        expect_ok(device.set_params(with_limits(open, active)),
                  fmt::format("SET_PARAMS, {}/{}", open, active));
        Server server(device, {.copy_buffers = false});
        serve_zones(server);
        server.fetch_all();
        return control_served(server, CtrlNr::start_dev, static_cast<std::uint64_t>(::getpid()));
    };
    expect_error(EINVAL, start(3, 2), "3 open, 2 active");
    expect_ok(start(0, 2), "any number open, 2 active");
    expect_ok(start(2, 3), "2 open, 3 active");
    expect_ok(start(3, 3), "3 open, 3 active");
    expect_ok(start(3, 0), "3 open, any number active");
}

CASE("UBLK-PARAM-ZONE-006", contract, "The other blocks of a zoned device are judged as anyone's",
     needs(zoned), since(6, 15))
{
    Driver driver;
    const auto device = driver.make({.flags = zoned});
    const auto set = [&](ParamType type, auto change) {
        auto params = zoned_params();
        params.types |= uapi::ParamTypes(type).raw();
        params.dma.alignment = 511;
        params.seg = {.seg_boundary_mask = 4095, .max_segment_size = 4096, .max_segments = 16};
        change(params);
        return device.set_params(params);
    };
    expect_ok(set(ParamType::dma_align, [](Params&) {}), "a sound memory alignment");
    expect_ok(set(ParamType::segment, [](Params&) {}), "sound segments");
    expect_error(EINVAL, set(ParamType::dma_align, [](Params& params) { params.dma.alignment = 5; }),
                 "a memory alignment that is no mask");
    expect_error(EINVAL, set(ParamType::segment, [](Params& params) { params.seg.max_segment_size = 512; }),
                 "segments of less than 4096 bytes");
    if (offers(Feature::integrity))
        expect_error(EINVAL, set(ParamType::integrity, [](Params& params) { params.integrity = {}; }),
                     "metadata without INTEGRITY");
}

CASE("UBLK-PARAM-ZONE-007", contract, "A kernel without zoned block devices takes no zoned block from anyone",
     needs(Feature::zoned))
{
    if (kernel_has_zoned())
        skip("needs a kernel without CONFIG_BLK_DEV_ZONED");
    Driver driver;
    expect_error(EOPNOTSUPP, driver.make({.flags = Feature::user_copy}).set_params(zoned_params()));
}

CASE("UBLK-PARAM-ZONE-008", contract, "The disk shows its zones and their limits", needs(zoned))
{
    struct Row {
        std::uint32_t zone, append;
    };
    for (const auto& [zone, append] : {Row{1024, 64}, Row{1024, 4096}, Row{64, 4096}}) {
        auto params = with_limits(3, 5);
        params.basic.chunk_sectors = zone;
        params.basic.dev_sectors = std::uint64_t{16} * zone;
        params.zoned.max_zone_append_sectors = append;
        Driver driver;
        const ZonedLive disk(driver, {}, params);
        const auto number = [&](const char* name) {
            return sysfs_number(disk.device, std::string("queue/") + name);
        };
        expect_eq(std::string("host-managed"), disk.device.sysfs("queue/zoned"), "zoned");
        expect_eq(16U, number("nr_zones"), "nr_zones");
        expect_eq(zone, number("chunk_sectors"), "chunk_sectors");
        expect_eq(3U, number("max_open_zones"), "max_open_zones");
        expect_eq(5U, number("max_active_zones"), "max_active_zones");
        expect_eq(std::min({append, zone, params.basic.max_sectors}) * uapi::sector_size,
                  number("zone_append_max_bytes"), "zone_append_max_bytes");
        expect_true(number("zone_write_granularity") >= number("logical_block_size"),
                    "a write to a zone has a logical block or more");
    }
}

} // namespace conformance
