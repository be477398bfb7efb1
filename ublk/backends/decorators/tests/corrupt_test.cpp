#include "ublk/backends/decorators/corrupt.hpp"

#include "ublk/backends/decorators/decorate.hpp"
#include "ublk/backends/memory.hpp"
#include "ublk/backends/protected_memory.hpp"
#include "ublk/backends/tests/disk.hpp"

#include <gtest/gtest.h>
#include <set>

namespace ublk::backends {
namespace {

using testing::ask;
using uapi::IoOp;

constexpr std::uint64_t disk_size = 64 * 1024;

// The places of the bits that differ.
std::vector<std::size_t> flipped(std::span<const std::byte> one, std::span<const std::byte> other)
{
    std::vector<std::size_t> bits;
    for (std::size_t bit = 0; bit < 8 * one.size(); ++bit)
        if (((one[bit / 8] ^ other[bit / 8]) & std::byte{1} << (bit % 8)) != std::byte{0})
            bits.push_back(bit);
    return bits;
}

TEST(Corrupt, FlipsOneBitOfAReadAndLeavesTheDiskAlone)
{
    auto disk = *Memory::create(disk_size, 512);
    With bad(disk, CorruptOptions{.which = {.ops = IoOp::read, .every = 2}});
    std::vector<std::byte> data(4096, std::byte{7}), got(4096);
    ASSERT_EQ(ask(bad, IoOp::write, 8, data), 4096);
    ASSERT_EQ(ask(bad, IoOp::read, 8, got), 4096);
    EXPECT_TRUE(flipped(data, got).empty()) << "the first is not meant";
    ASSERT_EQ(ask(bad, IoOp::read, 8, got), 4096);
    EXPECT_EQ(flipped(data, got).size(), 1U);
    ASSERT_EQ(ask(disk, IoOp::read, 8, got), 4096);
    EXPECT_EQ(got, data);
}

TEST(Corrupt, FlipsOneBitOfAWriteOnItsWayToTheDisk)
{
    auto disk = *Memory::create(disk_size, 512);
    With bad(disk, CorruptOptions{.which = {.ops = IoOp::write}});
    const std::vector<std::byte> data(4096, std::byte{7});
    auto passed = data;
    ASSERT_EQ(ask(bad, IoOp::write, 8, passed), 4096);
    std::vector<std::byte> got(4096);
    ASSERT_EQ(ask(bad, IoOp::read, 8, got), 4096);
    EXPECT_EQ(flipped(data, got).size(), 1U);
}

TEST(Corrupt, TakesAnotherBitForAnotherSeed)
{
    auto disk = *Memory::create(disk_size, 512);
    std::set<std::size_t> bits;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        With bad(disk, CorruptOptions{.which = {.ops = IoOp::read, .seed = seed}});
        std::vector<std::byte> got(4096);
        ask(bad, IoOp::read, 0, got);
        bits.insert(flipped(std::vector<std::byte>(4096), got).at(0));
    }
    EXPECT_GT(bits.size(), 15U);
}

TEST(Corrupt, FlipsABitOfThePartThatIsMeant)
{
    auto disk = *ProtectedMemory::create(disk_size, 512, T10Type::type1);
    using enum CorruptOptions::Part;
    for (const auto part : {guard, reference})
        for (std::uint64_t seed = 0; seed < 50; ++seed) {
            With bad(disk, CorruptOptions{.which = {.ops = IoOp::read, .seed = seed}, .part = part});
            std::vector<std::byte> buffer(4096 + 64);
            const std::vector<std::byte> before(64, std::byte{0xff});
            const auto data = std::span(buffer).first(4096), beside = std::span(buffer).last(64);
            engine::Io io{.op = IoOp::read, .flags = uapi::IoFlag::integrity, .nr_sectors = 8, .data = data};
            ASSERT_EQ(bad.handle(io), 4096);
            const auto bits = flipped(before, beside);
            ASSERT_EQ(bits.size(), 1U);
            const std::size_t byte = bits[0] / 8 % t10_tuple_bytes;
            EXPECT_TRUE(part == guard ? byte < 2 : byte >= 4) << byte;
            EXPECT_TRUE(flipped(data, std::vector<std::byte>(4096)).empty());
        }
}

TEST(Corrupt, NeitherTouchesNorCountsWhatDoesNotCarryThePart)
{
    auto disk = *ProtectedMemory::create(disk_size, 512, T10Type::type1);
    With bad(disk,
             CorruptOptions{.which = {.ops = IoOp::read, .first = 1}, .part = CorruptOptions::Part::guard});
    std::vector<std::byte> buffer(512 + 8);
    const auto data = std::span(buffer).first(512), beside = std::span(buffer).last(8);
    ASSERT_EQ(ask(bad, IoOp::read, 0, data), 512) << "without metadata";
    engine::Io io{.op = IoOp::read, .flags = uapi::IoFlag::integrity, .nr_sectors = 1, .data = data};
    ASSERT_EQ(bad.handle(io), 512);
    EXPECT_EQ(flipped(std::vector<std::byte>(8, std::byte{0xff}), beside).size(), 1U) << "is the first";
}

} // namespace
} // namespace ublk::backends
