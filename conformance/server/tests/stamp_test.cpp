// The naming of what is wrong with a block, on blocks made wrong by hand.
#include "conformance/server/stamp.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <map>
#include <vector>

namespace conformance {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t block = 512;
constexpr std::uint64_t base = 1 << 20;
constexpr unsigned blocks = 16;

// What a device would give: 16 blocks at 1 MiB, written by one request of generation 7.
class Device : public testing::Test {
  protected:
    Device()
    {
        for (unsigned i = 0; i < blocks; ++i)
            put(i, stamp(i));
    }
    static Stamp stamp(unsigned i, std::uint32_t generation = 7)
    {
        return {.offset = base + i * block,
                .writer = 3,
                .generation = generation,
                .request_offset = base,
                .request_bytes = blocks * block};
    }
    std::span<std::byte> at(unsigned i) { return std::span(data_).subspan(i * block, block); }
    void put(unsigned i, const Stamp& stamp) { write_stamp(at(i), stamp); }
    std::optional<Finding> found(const ReadAgain& again = {})
    {
        return examine(
            data_, base, block,
            [](std::uint64_t offset) { return stamp(static_cast<unsigned>((offset - base) / block)); },
            again);
    }
    void expect(Wrong kind, const std::string& text, const ReadAgain& again = {})
    {
        const auto finding = found(again);
        ASSERT_TRUE(finding.has_value());
        EXPECT_STREQ(to_string(finding->kind), to_string(kind)) << finding->text;
        EXPECT_THAT(finding->text, StartsWith(to_string(kind)));
        EXPECT_THAT(finding->text, HasSubstr(text));
    }

    std::vector<std::byte> data_ = std::vector<std::byte>(blocks * block);
};

TEST_F(Device, IsRightWhenEveryBlockIsWhatWasWrittenLast)
{
    EXPECT_EQ(found(), std::nullopt);
}

TEST_F(Device, StampsAreReadAsTheyWereWritten)
{
    EXPECT_EQ(read_stamp(at(3)), stamp(3));
    EXPECT_EQ(read_stamp(std::vector<std::byte>(block)), std::nullopt);
    EXPECT_EQ(read_stamp(at(3).first(20)), std::nullopt);
}

TEST_F(Device, AWholeOlderRequestIsLost)
{
    for (unsigned i = 0; i < blocks; ++i)
        put(i, stamp(i, 6));
    expect(Wrong::lost, "holds generation 6 of writer 3");
    std::ranges::fill(data_, std::byte{});
    expect(Wrong::lost, "reads as zeroes");
}

TEST_F(Device, AnOlderVersionThatASecondReadDoesNotGiveIsStale)
{
    put(4, stamp(4, 6));
    expect(Wrong::stale, "holds generation 6", [](std::uint64_t offset, std::span<std::byte> again) {
        write_stamp(again, stamp(static_cast<unsigned>((offset - base) / block)));
        return true;
    });
}

TEST_F(Device, PartOfARequestIsTorn)
{
    put(9, stamp(9, 6));
    put(10, stamp(10, 6));
    expect(Wrong::torn, "14 blocks arrived and 2 did not");
}

TEST_F(Device, ABlockThatBeginsAsOneVersionAndGoesOnAsAnotherIsTorn)
{
    std::vector<std::byte> older(block);
    write_stamp(older, stamp(2, 6));
    std::ranges::copy(std::span(older).subspan(256), at(2).subspan(256).begin());
    expect(Wrong::torn, "from its byte 256 on");
}

TEST_F(Device, BytesInTheMiddleOfABlockAreCorrupt)
{
    at(2)[300] ^= std::byte{4};
    expect(Wrong::corrupt, "between its bytes 300 and 300");
}

TEST_F(Device, ABlockOfAnotherPlaceIsMisplaced)
{
    put(5, stamp(4));
    expect(Wrong::misplaced, "(+512 bytes)");
}

TEST_F(Device, AShiftedRequestIsMisplacedAlthoughItsFirstBlockIsOnlyOld)
{
    put(0, stamp(0, 6));
    for (unsigned i = 1; i < blocks; ++i)
        put(i, stamp(i - 1));
    expect(Wrong::misplaced, "16 blocks are wrong");
}

TEST_F(Device, BytesThatNobodyWroteAreForeign)
{
    std::ranges::fill(at(7), std::byte{0xa5});
    expect(Wrong::foreign, "a5a5a5a5");
}

TEST_F(Device, BlocksThatMayHoldAnythingAreNotLookedAt)
{
    std::ranges::fill(at(7), std::byte{0xa5});
    EXPECT_EQ(examine(data_, base, block, [](std::uint64_t) { return std::nullopt; }, {}), std::nullopt);
}

} // namespace
} // namespace conformance
