#include "ublk/backends/t10_pi.hpp"

#include <gtest/gtest.h>
#include <random>
#include <string_view>
#include <vector>

namespace ublk::backends {
namespace {

std::span<const std::byte> bytes_of(std::string_view text)
{
    return std::as_bytes(std::span(text));
}

// The definition, bit by bit.
std::uint16_t by_bits(std::span<const std::byte> data)
{
    unsigned crc = 0;
    for (const auto byte : data) {
        crc ^= std::to_integer<unsigned>(byte) << 8;
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc & 0x8000U) != 0 ? (crc << 1 ^ 0x8bb7U) & 0xffffU : crc << 1;
    }
    return static_cast<std::uint16_t>(crc);
}

TEST(T10Guard, IsTheChecksumThatTheStandardGives)
{
    EXPECT_EQ(t10_guard({}), 0);
    EXPECT_EQ(t10_guard(bytes_of("123456789")), 0xd0db) << "the check value of CRC-16/T10-DIF";
    EXPECT_EQ(t10_guard(std::vector<std::byte>(32)), 0x0000);
    EXPECT_EQ(t10_guard(std::vector<std::byte>(32, std::byte{0xff})), 0xa293) << "of SBC-3, 4.22.4.3";
}

TEST(T10Guard, IsThatOfTheDefinitionAtEveryLength)
{
    std::mt19937 random(1);
    std::vector<std::byte> data(600);
    for (auto& byte : data)
        byte = static_cast<std::byte>(random());
    for (std::size_t length = 0; length <= data.size(); ++length) {
        const auto part = std::span(data).first(length);
        ASSERT_EQ(t10_guard(part), by_bits(part)) << length;
    }
}

TEST(T10Tuple, IsBigEndian)
{
    const T10Tuple tuple{.guard = 0x1234, .application = 0x5678, .reference = 0x9abcdef0};
    const T10Bytes bytes = to_bytes(tuple);
    const auto at = [&](std::size_t place) { return std::to_integer<int>(bytes[place]); };
    EXPECT_TRUE(at(0) == 0x12 && at(1) == 0x34 && at(2) == 0x56 && at(3) == 0x78);
    EXPECT_TRUE(at(4) == 0x9a && at(5) == 0xbc && at(6) == 0xde && at(7) == 0xf0);
    EXPECT_EQ(from_bytes(bytes), tuple);
}

TEST(T10Protection, HoldsForItsBlockAndItsPlaceAlone)
{
    std::vector<std::byte> block(512, std::byte{3});
    constexpr std::uint64_t number = 0x7'0000'0009;
    const auto tuple = t10_protect(T10Type::type1, block, number);
    EXPECT_EQ(tuple.reference, 9U) << "the lower half of the number";
    EXPECT_TRUE(t10_holds(T10Type::type1, tuple, block, number));
    EXPECT_FALSE(t10_holds(T10Type::type1, tuple, block, number + 1)) << "another place";
    EXPECT_TRUE(t10_holds(T10Type::type3, tuple, block, number + 1)) << "of which type 3 knows nothing";
    block[511] ^= std::byte{1};
    EXPECT_FALSE(t10_holds(T10Type::type1, tuple, block, number)) << "other data";
    EXPECT_FALSE(t10_holds(T10Type::type3, tuple, block, number)) << "other data";
}

TEST(T10Protection, OfAllOnesProtectsNothing)
{
    const std::vector<std::byte> block(512, std::byte{3});
    const T10Tuple escape{.guard = 1, .application = 0xffff, .reference = 7};
    EXPECT_TRUE(t10_holds(T10Type::type1, escape, block, 0));
    EXPECT_FALSE(t10_holds(T10Type::type3, escape, block, 0)) << "type 3 wants both";
    const T10Tuple both{.guard = 1, .application = 0xffff, .reference = 0xffffffff};
    EXPECT_TRUE(t10_holds(T10Type::type3, both, block, 0));
}

} // namespace
} // namespace ublk::backends
