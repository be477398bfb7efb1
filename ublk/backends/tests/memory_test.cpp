#include "ublk/backends/memory.hpp"

#include "ublk/backends/tests/disk.hpp"

#include <cerrno>
#include <gtest/gtest.h>

namespace ublk::backends {
namespace {

constexpr std::uint64_t size = 256 * 1024;

TEST(Memory, AgreesWithAnArrayUnderRandomRequests)
{
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        auto memory = Memory::create(size, 512);
        ASSERT_TRUE(memory.has_value());
        testing::agrees_with_an_array(*memory, size, seed, 300);
    }
}

TEST(Memory, RefusesRangesBeyondTheEnd)
{
    auto memory = Memory::create(size, 512);
    ASSERT_TRUE(memory.has_value());
    testing::refuses_ranges_beyond_the_end(*memory, size);
    testing::knows_no_zones(*memory);
}

TEST(Memory, KeepsAReadOnlyDiskAsItIs)
{
    auto memory = Memory::create(size, 512, true);
    ASSERT_TRUE(memory.has_value());
    testing::refuses_changes(*memory);
    EXPECT_TRUE(memory->geometry().attrs.has(uapi::Attr::read_only));
}

TEST(Memory, TakesNoMemoryForWhatIsNotWritten)
{
#ifdef __SANITIZE_THREAD__ // its address space has no room for more
    constexpr std::uint64_t huge = 1ULL << 33;
#else
    constexpr std::uint64_t huge = 1ULL << 40;
#endif
    auto memory = Memory::create(huge, 4096);
    ASSERT_TRUE(memory.has_value());
    std::vector<std::byte> last(testing::sector, std::byte{7});
    EXPECT_EQ(testing::ask(*memory, uapi::IoOp::write, huge / testing::sector - 1, last),
              static_cast<std::int32_t>(last.size()));
    EXPECT_EQ(testing::ask(*memory, uapi::IoOp::discard, 0, {}, UINT32_MAX / testing::sector), 0);
}

TEST(Memory, SaysSoWhenThereIsNoRoom)
{
    const auto memory = Memory::create(INT64_MAX / 4096 * 4096, 4096);
    ASSERT_FALSE(memory.has_value());
    EXPECT_TRUE(memory.error() == std::errc::not_enough_memory);
    EXPECT_EQ(memory.error().hint, "make it smaller");
}

} // namespace
} // namespace ublk::backends
