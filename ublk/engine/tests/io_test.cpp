#include "ublk/engine/io.hpp"

#include <gtest/gtest.h>

namespace ublk::engine {
namespace {

constexpr std::uint64_t size = 1 << 20;

std::int32_t reason(std::uint64_t sector, std::uint32_t sectors, std::uint64_t device = size)
{
    const auto range = byte_range({.start_sector = sector, .nr_sectors = sectors}, device);
    return range ? 0 : range.error();
}

TEST(ByteRange, AcceptsWhatEndsWithTheDevice)
{
    EXPECT_EQ(reason(0, size / 512), 0);
    EXPECT_EQ(reason(size / 512 - 1, 1), 0);
    EXPECT_EQ(reason(size / 512, 0), 0);
}

TEST(ByteRange, RefusesWhatEndsBeyondTheDevice)
{
    EXPECT_EQ(reason(0, size / 512 + 1), -EIO);
    EXPECT_EQ(reason(size / 512 - 1, 2), -EIO);
    EXPECT_EQ(reason(size / 512, 1), -EIO);
    EXPECT_EQ(reason(size / 512 + 1, 0), -EIO);
}

TEST(ByteRange, RefusesWhatDoesNotFit64Bits)
{
    constexpr std::uint64_t last_sector = UINT64_MAX >> uapi::sector_shift;
    EXPECT_EQ(reason(UINT64_MAX, 0), -EINVAL);
    EXPECT_EQ(reason(last_sector + 1, 1), -EINVAL);
    EXPECT_EQ(reason(last_sector, 1, UINT64_MAX), -EINVAL);
    EXPECT_EQ(reason(last_sector - UINT32_MAX, UINT32_MAX, UINT64_MAX), 0);
}

TEST(ByteRange, IsInBytes)
{
    const auto range = byte_range({.start_sector = 3, .nr_sectors = 2}, size);
    ASSERT_TRUE(range.has_value());
    EXPECT_EQ(range->offset, 1536U);
    EXPECT_EQ(range->length, 1024U);
}

} // namespace
} // namespace ublk::engine
