// Properties of the codec: value -> bytes -> value, bytes -> value -> bytes, and no structure out of too few
// bytes.
#include "ublk/uapi/codec.hpp"

#include <algorithm>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace ublk::uapi::test {
namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t size)
{
    const auto raw = *rc::gen::resize(rc::kNominalSize, rc::gen::container<std::vector<std::uint8_t>>(
                                                            size, rc::gen::arbitrary<std::uint8_t>()));
    const auto bytes = std::as_bytes(std::span(raw));
    return {bytes.begin(), bytes.end()};
}

template <typename T>
T random_value()
{
    T value;
    const Bytes bytes = random_bytes(sizeof(T));
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
}

template <typename Range>
Bytes to_bytes(const Range& range)
{
    return {range.begin(), range.end()};
}

template <typename T>
class FixedStructure : public testing::Test {};
using FixedStructures =
    testing::Types<CtrlCmd, DevInfo, ShmemBufReg, IoCmd, BatchIo, IoDesc, BatchElem, AutoBufReg, ZoneReport>;
TYPED_TEST_SUITE(FixedStructure, FixedStructures);

TYPED_TEST(FixedStructure, SurvivesBothWays)
{
    EXPECT_TRUE(rc::check([] {
        const auto value = random_value<TypeParam>();
        const auto decoded = decode<TypeParam>(encode(value));
        RC_ASSERT(decoded.has_value());
        RC_ASSERT(*decoded == value);

        const Bytes bytes = random_bytes(sizeof(TypeParam));
        RC_ASSERT(to_bytes(encode(*decode<TypeParam>(bytes))) == bytes);
    }));
}

TYPED_TEST(FixedStructure, IsNotReadFromTooFewBytes)
{
    const Bytes bytes(sizeof(TypeParam));
    for (std::size_t size = 0; size < sizeof(TypeParam); ++size) {
        const auto decoded = decode<TypeParam>(std::span(bytes).first(size));
        ASSERT_FALSE(decoded.has_value()) << size;
        EXPECT_EQ(decoded.error().got, size);
        EXPECT_EQ(decoded.error().need, sizeof(TypeParam));
        EXPECT_EQ(decoded.error().what, Layout<TypeParam>::name);
    }
}

TYPED_TEST(FixedStructure, TakesMoreBytesOnlyWhereItsAreaIsLarger)
{
    const TypeParam value{};
    Bytes bytes = to_bytes(encode(value));
    bytes.push_back(std::byte{0xff});
    const auto decoded = decode<TypeParam>(bytes);
    ASSERT_EQ(decoded.has_value(), Layout<TypeParam>::open);
    if (decoded)
        EXPECT_EQ(*decoded, value);
    else
        EXPECT_EQ(decoded.error().rule, DecodeError::Rule::exactly);
}

TEST(LargerArea, IsThatOfCommandsAndDescriptorsButNotOfArrayElements)
{
    EXPECT_TRUE(Layout<CtrlCmd>::open);
    EXPECT_TRUE(Layout<DevInfo>::open); // ADD_DEV takes more than 64 bytes
    EXPECT_TRUE(Layout<IoDesc>::open);  // slots of IO_DESC_SIZE
    EXPECT_FALSE(Layout<BatchElem>::open);
    EXPECT_FALSE(Layout<ZoneReport>::open);
    EXPECT_FALSE(Layout<AutoBufReg>::open);
}

TEST(SharedMemoryRegistration, TakesMissingMembersAsZero)
{
    const ShmemBufReg reg{.addr = 0x1000, .len = 0x2000, .flags = 1, .reserved = 7};
    const auto whole = encode(reg);
    EXPECT_EQ(decode_shmem_reg({}), ShmemBufReg{});
    EXPECT_EQ(decode_shmem_reg(std::span(whole).first(8)), (ShmemBufReg{.addr = 0x1000}));
    EXPECT_EQ(decode_shmem_reg(std::span(whole).first(16)), (ShmemBufReg{.addr = 0x1000, .len = 0x2000}));
    Bytes longer = to_bytes(whole);
    longer.resize(64, std::byte{0xff});
    EXPECT_EQ(decode_shmem_reg(longer), reg);
}

// Parameters whose len is fit to be read back, with nothing set beyond it.
Params random_params()
{
    Params params = random_value<Params>();
    params.len = *rc::gen::inRange<std::uint32_t>(offsetof(Params, basic) + 1, sizeof(Params) + 1);
    auto bytes = std::bit_cast<std::array<std::byte, sizeof(Params)>>(params);
    std::fill(bytes.begin() + params.len, bytes.end(), std::byte{0});
    return std::bit_cast<Params>(bytes);
}

RC_GTEST_PROP(Parameters, SurviveBothWaysAtEachLength, ())
{
    const Params params = random_params();
    const Bytes bytes = encode_params(params);
    RC_ASSERT(bytes.size() == params.len);
    const auto decoded = decode_params(bytes);
    RC_ASSERT(decoded.has_value());
    RC_ASSERT(*decoded == params);
    RC_ASSERT(encode_params(*decoded) == bytes);
}

RC_GTEST_PROP(Parameters, AreNotReadFromFewerBytesThanTheySay, ())
{
    const Bytes bytes = encode_params(random_params());
    for (std::size_t size = 0; size < bytes.size(); ++size)
        RC_ASSERT(!decode_params(std::span(bytes).first(size)).has_value());
}

RC_GTEST_PROP(Parameters, KeepTheKnownPrefixOfALongerStructure, ())
{
    Params params = random_params();
    const auto extra = *rc::gen::inRange<std::size_t>(1, 200);
    params.len = static_cast<std::uint32_t>(sizeof(Params) + extra);
    Bytes bytes = encode_params(params);
    RC_ASSERT(bytes.size() == sizeof(Params));
    RC_ASSERT(!decode_params(bytes).has_value()); // it says more than there is
    bytes.resize(params.len, std::byte{0xff});
    params.len = sizeof(Params);
    const auto decoded = decode_params(bytes);
    RC_ASSERT(decoded.has_value());
    RC_ASSERT(*decoded == params);
}

TEST(Parameters, GiveTheReasonOfAnError)
{
    const auto error = [](std::uint32_t len, std::size_t size) {
        Bytes bytes(size);
        std::memcpy(bytes.data(), &len, std::min(size, sizeof(len)));
        const auto decoded = decode_params(bytes);
        return decoded ? "" : to_string(decoded.error());
    };
    EXPECT_EQ(error(8, 8), "ublk_params: 8 bytes, need at least 9");
    EXPECT_EQ(error(40, 39), "ublk_params: 39 bytes, need at least 40");
    EXPECT_EQ(error(7, 40), "ublk_params.len: 7 bytes, need at least 8");
    EXPECT_EQ(error(0, 40), "ublk_params.len: 0 bytes, need at least 8");
    EXPECT_EQ(error(8, 40), "");
}

BatchFlags random_batch_flags()
{
    return BatchFlags::from_raw(static_cast<std::uint16_t>(*rc::gen::inRange(0, 8)));
}

RC_GTEST_PROP(BatchElements, SurviveBothWays, ())
{
    const BatchFlags flags = random_batch_flags();
    std::vector<BatchEntry> entries(*rc::gen::inRange<std::size_t>(0, 40));
    for (auto& entry : entries) {
        entry.head = random_value<BatchElem>();
        if (flags.has(BatchFlag::has_buf_addr))
            entry.buf_addr = *rc::gen::arbitrary<std::uint64_t>();
        if (flags.has(BatchFlag::has_zone_lba))
            entry.zone_lba = *rc::gen::arbitrary<std::uint64_t>();
    }
    const Bytes bytes = encode_batch(entries, flags);
    RC_ASSERT(bytes.size() == entries.size() * batch_elem_bytes(flags));
    const auto decoded = decode_batch(bytes, flags);
    RC_ASSERT(decoded.has_value());
    RC_ASSERT(*decoded == entries);
    RC_ASSERT(encode_batch(*decoded, flags) == bytes);
}

RC_GTEST_PROP(BatchElements, AreNotReadFromAPartOfOne, ())
{
    const BatchFlags flags = random_batch_flags();
    const auto size = *rc::gen::inRange<std::size_t>(0, 400);
    RC_ASSERT(decode_batch(Bytes(size), flags).has_value() == (size % batch_elem_bytes(flags) == 0));
}

TEST(BatchElements, HaveTheBufferBeforeTheZone)
{
    const std::array entries{BatchEntry{{.tag = 1, .buf_index = 2, .result = 3}, 4, 5}};
    const auto flags = BatchFlag::has_zone_lba | BatchFlag::has_buf_addr;
    const Bytes bytes = encode_batch(entries, flags);
    ASSERT_EQ(bytes.size(), 24U);
    EXPECT_EQ(bytes[8], std::byte{4});
    EXPECT_EQ(bytes[16], std::byte{5});
    // What the flags do not name is not written.
    EXPECT_EQ(encode_batch(entries, {}).size(), 8U);
    EXPECT_EQ(encode_batch(entries, BatchFlag::has_zone_lba).at(8), std::byte{5});
}

RC_GTEST_PROP(Arrays, SurviveBothWaysAndAreNotReadFromAPart, ())
{
    const auto size = *rc::gen::inRange<std::size_t>(0, 300);
    const Bytes bytes = random_bytes(size);
    const auto tags = decode_tags(bytes);
    RC_ASSERT(tags.has_value() == (size % 2 == 0));
    if (tags)
        RC_ASSERT(encode_tags(*tags) == bytes);
    const auto zones = decode_zones(bytes);
    RC_ASSERT(zones.has_value() == (size % sizeof(ZoneReport) == 0));
    if (zones)
        RC_ASSERT(encode_zones(*zones) == bytes);
}

TEST(FeatureAnswer, IsEightBytesAndNothingElse)
{
    EXPECT_EQ(decode_features(encode_features(0x1fffff)), 0x1fffffU);
    for (std::size_t size : {0U, 7U, 9U, 16U})
        EXPECT_FALSE(decode_features(Bytes(size)).has_value()) << size;
    EXPECT_EQ(to_string(decode_features(Bytes(9)).error()), "GET_FEATURES answer: 9 bytes, need exactly 8");
    EXPECT_EQ(to_string(decode_tags(Bytes(3)).error()), "tag array: 3 bytes, need a multiple of 2");
}

RC_GTEST_PROP(PackedWords, SurviveBothWays, ())
{
    const auto reg = random_value<AutoBufReg>();
    RC_ASSERT(auto_buf_reg_from_sqe_addr(to_sqe_addr(reg)) == reg);
    // The word is the structure: both are what the driver finds at sqe->addr.
    RC_ASSERT(to_sqe_addr(reg) == std::bit_cast<std::uint64_t>(encode(reg)));
    const ShmemAddr addr{*rc::gen::arbitrary<std::uint16_t>(), *rc::gen::arbitrary<std::uint32_t>()};
    RC_ASSERT(shmem_addr_from_desc(to_desc_addr(addr)) == addr);
}

} // namespace
} // namespace ublk::uapi::test
