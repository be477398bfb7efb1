#include "ublk/engine/parameters.hpp"

#include <gtest/gtest.h>

namespace ublk::engine {
namespace {

using uapi::Attr;
using uapi::ParamType;

Geometry geometry(std::uint64_t size = 1 << 20, std::uint32_t block_size = 512)
{
    return {.size = size,
            .block_size = block_size,
            .attrs = {},
            .discard = true,
            .write_zeroes = true,
            .discard_granularity = 4096};
}

bool has(const uapi::Params& params, ParamType type)
{
    return uapi::ParamTypes::from_raw(params.types).has(type);
}

TEST(Parameters, CountSectorsOf512BytesWhateverTheBlock)
{
    for (const std::uint32_t block_size : {512U, 4096U}) {
        const auto params = make_params(geometry(1 << 20, block_size), 65536);
        EXPECT_EQ(params.basic.dev_sectors, (1U << 20) / 512);
        EXPECT_EQ(params.basic.max_sectors, 65536U / 512);
        EXPECT_EQ(1U << params.basic.logical_bs_shift, block_size);
        EXPECT_GE(params.basic.physical_bs_shift, params.basic.logical_bs_shift);
    }
}

TEST(Parameters, KeepASizeBeyond32Bits)
{
    EXPECT_EQ(make_params(geometry(1ULL << 50), 65536).basic.dev_sectors, 1ULL << 41);
}

TEST(Parameters, OfferOneDiscardSegmentAsTheDriverDemands)
{
    const auto params = make_params(geometry(), 65536);
    EXPECT_TRUE(has(params, ParamType::discard));
    EXPECT_EQ(params.discard.max_discard_segments, 1);
    EXPECT_NE(params.discard.max_discard_sectors, 0U);
    EXPECT_NE(params.discard.discard_granularity, 0U);
}

TEST(Parameters, OfferOnlyWhatTheBackendHas)
{
    auto no_discard = geometry();
    no_discard.discard = false;
    const auto params = make_params(no_discard, 65536);
    EXPECT_EQ(params.discard.max_discard_sectors, 0U);
    EXPECT_NE(params.discard.max_write_zeroes_sectors, 0U);
}

TEST(Parameters, LeaveDiscardOutOfAReadOnlyDevice)
{
    auto read_only = geometry();
    read_only.attrs = Attr::read_only;
    const auto params = make_params(read_only, 65536);
    EXPECT_FALSE(has(params, ParamType::discard));
    EXPECT_EQ(params.basic.attrs, static_cast<std::uint32_t>(Attr::read_only));
}

TEST(Parameters, DescribeTheZonesOfAZonedDeviceOnly)
{
    EXPECT_FALSE(has(make_params(geometry(), 65536), ParamType::zoned));
    auto zoned = geometry(64 << 20);
    zoned.zones = {.size = 4 << 20, .max_open = 3, .max_active = 5, .max_append = 1 << 20};
    const auto params = make_params(zoned, 65536);
    EXPECT_TRUE(has(params, ParamType::zoned));
    EXPECT_EQ(params.basic.chunk_sectors, (4U << 20) / 512);
    EXPECT_EQ(params.zoned.max_open_zones, 3U);
    EXPECT_EQ(params.zoned.max_active_zones, 5U);
    EXPECT_EQ(params.zoned.max_zone_append_sectors, 65536U / 512) << "no more than a tag's buffer holds";
}

} // namespace
} // namespace ublk::engine
