#include "ublk/backends/null.hpp"

#include "ublk/backends/tests/disk.hpp"

#include <gtest/gtest.h>

namespace ublk::backends {
namespace {

constexpr std::uint64_t size = 64 * 1024;

TEST(Null, AnswersWithTheLengthAndLeavesTheBufferAlone)
{
    Null null(size, 512);
    std::vector<std::byte> data(4096, std::byte{0x5a});
    const auto before = data;
    EXPECT_EQ(testing::ask(null, uapi::IoOp::read, 8, data), 4096);
    EXPECT_EQ(testing::ask(null, uapi::IoOp::write, 8, data), 4096);
    EXPECT_EQ(data, before);
}

TEST(Null, AnswersZeroWhereThereIsNoData)
{
    Null null(size, 512);
    EXPECT_EQ(testing::ask(null, uapi::IoOp::flush, UINT64_MAX, {}), 0);
    EXPECT_EQ(testing::ask(null, uapi::IoOp::discard, 0, {}, 8), 0);
    EXPECT_EQ(testing::ask(null, uapi::IoOp::write_zeroes, 0, {}, 8), 0);
}

TEST(Null, HasNoEndAndNoZones)
{
    Null null(size, 512);
    std::vector<std::byte> data(512);
    EXPECT_EQ(testing::ask(null, uapi::IoOp::write, size / 512, data), 512)
        << "the device was given another size";
    testing::knows_no_zones(null);
}

} // namespace
} // namespace ublk::backends
