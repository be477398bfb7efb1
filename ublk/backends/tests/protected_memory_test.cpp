#include "ublk/backends/protected_memory.hpp"

#include "ublk/backends/decorators/decorated.hpp"
#include "ublk/backends/tests/disk.hpp"
#include "ublk/engine/testing/fake_disk.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk::backends {
namespace {

using engine::testing::FakeDisk;
using testing::agrees_with_an_array;
using ::testing::Each;
using testing::random_bytes;

constexpr std::uint64_t disk_size = 1 << 20;

static_assert(engine::ServesIntegrity<ProtectedMemory> && !engine::ServesIntegrity<Memory>);
static_assert(engine::ServesIntegrity<Decorated<ProtectedMemory>>);

ProtectedMemory made(T10Type type = T10Type::type1, std::uint32_t block_size = 512)
{
    return std::move(*ProtectedMemory::create(disk_size, block_size, type));
}

// What protects `data` at `offset`, with an application tag that says whose it is.
std::vector<std::byte> protection(T10Type type, std::uint64_t offset, std::span<const std::byte> data,
                                  std::uint32_t block_size, std::uint16_t application = 0)
{
    std::vector<std::byte> all;
    for (std::size_t at = 0; at < data.size(); at += block_size) {
        auto tuple = t10_protect(type, data.subspan(at, block_size), (offset + at) / block_size);
        tuple.application = application;
        const auto bytes = to_bytes(tuple);
        all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
}

TEST(ProtectedMemory, KeepsDataAsMemoryDoes)
{
    auto backend = made();
    agrees_with_an_array(backend, disk_size, 1, 500);
    testing::refuses_ranges_beyond_the_end(backend, disk_size);
    testing::knows_no_zones(backend);
    auto read_only = ProtectedMemory::create(disk_size, 512, T10Type::type1, true);
    testing::refuses_changes(*read_only);
}

TEST(ProtectedMemory, TellsOfItsMetadata)
{
    const auto type1 = made(T10Type::type1, 4096).geometry().integrity;
    EXPECT_EQ(type1.interval, 4096U);
    EXPECT_EQ(type1.metadata_bytes, 8);
    EXPECT_EQ(type1.checksum, uapi::PiChecksum::crc16_t10dif);
    EXPECT_TRUE(type1.reference_tags);
    EXPECT_FALSE(made(T10Type::type3).geometry().integrity.reference_tags);
}

TEST(ProtectedMemory, GivesBackTheProtectionThatWasWritten)
{
    std::mt19937 random(1);
    for (const auto type : {T10Type::type1, T10Type::type3})
        for (const std::uint32_t block_size : {512U, 4096U}) {
            auto backend = made(type, block_size);
            FakeDisk disk(backend);
            const auto data = random_bytes(96 * 1024, random); // in several requests
            const auto written = protection(type, 16384, data, block_size, 0xbeef);
            ASSERT_EQ(disk.write(16384, data, written), 0);
            std::vector<std::byte> got(data.size()), beside(written.size());
            ASSERT_EQ(disk.read(16384, got, beside), 0);
            EXPECT_EQ(got, data);
            EXPECT_EQ(beside, written);
        }
}

TEST(ProtectedMemory, RefusesAWriteThatItsProtectionDoesNotFitAndWritesNothingOfIt)
{
    std::mt19937 random(2);
    struct Wrong {
        T10Type type;
        std::size_t byte; // of the tuple
        bool refused;
    };
    for (const auto& [type, byte, refused] :
         {Wrong{T10Type::type1, 0, true}, Wrong{T10Type::type1, 1, true}, Wrong{T10Type::type1, 4, true},
          Wrong{T10Type::type1, 7, true}, Wrong{T10Type::type1, 2, false}, Wrong{T10Type::type3, 1, true},
          Wrong{T10Type::type3, 7, false}}) {
        auto backend = made(type);
        FakeDisk disk(backend);
        const auto before = random_bytes(4096, random), data = random_bytes(4096, random);
        const auto good = protection(type, 8192, before, 512);
        ASSERT_EQ(disk.write(8192, before, good), 0);
        auto wrong = protection(type, 8192, data, 512);
        wrong[5 * t10_tuple_bytes + byte] ^= std::byte{0x10};
        EXPECT_EQ(disk.write(8192, data, wrong), refused ? -EILSEQ : 0) << byte;
        std::vector<std::byte> got(4096), beside(good.size());
        ASSERT_EQ(disk.read(8192, got, beside), 0);
        EXPECT_EQ(got, refused ? before : data);
        EXPECT_EQ(beside, refused ? good : wrong);
    }
}

TEST(ProtectedMemory, ProtectsItselfWhatComesWithoutProtection)
{
    std::mt19937 random(3);
    for (const auto type : {T10Type::type1, T10Type::type3}) {
        auto backend = made(type);
        FakeDisk disk(backend);
        const auto data = random_bytes(8192, random);
        ASSERT_EQ(disk.write(4096, data), 0);
        std::vector<std::byte> got(data.size()), beside(data.size() / 512 * t10_tuple_bytes);
        ASSERT_EQ(disk.read(4096, got, beside), 0);
        EXPECT_EQ(beside, protection(type, 4096, data, 512));
    }
}

TEST(ProtectedMemory, ProtectsNothingWhereNothingWasWrittenOrIsNoMore)
{
    std::mt19937 random(4);
    auto backend = made();
    FakeDisk disk(backend);
    std::vector<std::byte> data = random_bytes(512 * 1024, random),
                           beside(data.size() / 512 * t10_tuple_bytes);
    ASSERT_EQ(disk.read(0, data, beside), 0);
    EXPECT_THAT(beside, Each(std::byte{0xff})) << "never written";
    ASSERT_EQ(disk.write(0, data), 0);
    ASSERT_EQ(disk.discard(512, 256 * 1024), 0);
    ASSERT_EQ(disk.write_zeroes(512 + 256 * 1024, 1024), 0);
    ASSERT_EQ(disk.read(0, data, beside), 0);
    const std::size_t first = t10_tuple_bytes, count = (256 * 1024 + 1024) / 512 * t10_tuple_bytes;
    EXPECT_THAT(std::span(beside).subspan(first, count), Each(std::byte{0xff}));
    EXPECT_THAT(std::span(data).subspan(512, 256 * 1024 + 1024), Each(std::byte{0}));
    EXPECT_TRUE(std::ranges::equal(std::span(beside).first(first),
                                   protection(T10Type::type1, 0, std::span(data).first(512), 512)))
        << "the block before";
    const auto last = std::span(data).subspan(512 + count / 8 * 512, 512);
    EXPECT_TRUE(std::ranges::equal(std::span(beside).subspan(first + count, t10_tuple_bytes),
                                   protection(T10Type::type1, 512 + count / 8 * 512, last, 512)))
        << "the block behind";
}

} // namespace
} // namespace ublk::backends
