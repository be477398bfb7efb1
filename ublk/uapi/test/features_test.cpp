#include "ublk/uapi/features.hpp"

#include <algorithm>
#include <bit>

#include <gtest/gtest.h>

namespace ublk::uapi::test {
namespace {

TEST(FeatureRegistry, HasEachBitOnceAndInOrder)
{
    for (std::size_t i = 0; i < feature_registry.size(); ++i) {
        EXPECT_EQ(static_cast<std::uint64_t>(feature_registry[i].flag), 1ULL << i);
        EXPECT_EQ(&info(feature_registry[i].flag), &feature_registry[i]);
    }
}

// What GET_FEATURES of that release answers, from the driver's source. Bit 0 is left out by 6.12, which
// refuses it.
TEST(FeatureRegistry, SinceGivesTheFeaturesOfARelease)
{
    const auto of_release = [](KernelVersion version) {
        Features set;
        for (const auto& row : feature_registry)
            if (row.since <= version)
                set |= row.flag;
        return set.raw();
    };
    EXPECT_EQ(of_release({6, 12}), 0x1feU);
    EXPECT_EQ(of_release({6, 17}), 0x7fffU);
    EXPECT_EQ(of_release({7, 0}), 0x7ffffU);
    EXPECT_EQ(of_release({7, 2}), 0xfffffU);
    EXPECT_EQ(of_release({7, 3}), 0x1fffffU);
}

TEST(FeatureRegistry, NoFeatureIsOlderThanWhatItNeeds)
{
    for (const auto& row : feature_registry) {
        Features enough = row.needs;
        for (const auto& needed : feature_registry) {
            if (row.needs.has(needed.flag)) {
                EXPECT_LE(needed.since, row.since) << row.name << " needs " << needed.name;
            }
            enough = enough.without(needed.flag);
        }
        EXPECT_TRUE(enough.empty()) << row.name << " needs an unknown flag";
        EXPECT_FALSE(row.needs.has(row.flag)) << row.name << " needs itself";
    }
}

TEST(FeatureRegistry, NeedsAreTheDrivers)
{
    EXPECT_EQ(info(Feature::quiesce).needs, Features(Feature::user_recovery));
    EXPECT_EQ(info(Feature::user_recovery_reissue).needs, Features(Feature::user_recovery));
    EXPECT_EQ(info(Feature::user_recovery_fail_io).needs, Features(Feature::user_recovery));
    EXPECT_EQ(info(Feature::integrity).needs, Features(Feature::user_copy));
    EXPECT_EQ(info(Feature::zoned).needs_one_of, Feature::user_copy | Feature::support_zero_copy);
    const auto needy = std::ranges::count_if(
        feature_registry, [](const auto& row) { return !row.needs.empty() || !row.needs_one_of.empty(); });
    EXPECT_EQ(needy, 5);
}

TEST(FeatureNames, AreFoundWithAndWithoutPrefixInAnyCase)
{
    EXPECT_EQ(feature_by_name("USER_COPY"), Feature::user_copy);
    EXPECT_EQ(feature_by_name("UBLK_F_USER_COPY"), Feature::user_copy);
    EXPECT_EQ(feature_by_name("ublk_f_zoned"), Feature::zoned);
    EXPECT_EQ(feature_by_name("Batch_Io"), Feature::batch_io);
    EXPECT_EQ(feature_by_name(""), std::nullopt);
    EXPECT_EQ(feature_by_name("UBLK_F_"), std::nullopt);
    EXPECT_EQ(feature_by_name("USER_COP"), std::nullopt);
    for (const auto& row : feature_registry)
        EXPECT_EQ(feature_by_name(row.name), row.flag);
}

TEST(FeatureNames, OfASetAreJoinedInBitOrder)
{
    EXPECT_EQ(to_string(Features{}), "none");
    EXPECT_EQ(to_string(Feature::zoned | Feature::user_copy), "USER_COPY|ZONED");
    EXPECT_EQ(to_string(Features(Feature::user_copy) | Features::from_raw(1ULL << 21)), "USER_COPY|0x200000");
    EXPECT_EQ(to_string(Features::from_raw(1ULL << 63)), "0x8000000000000000");
}

TEST(KernelVersion, IsOrderedAndNamed)
{
    EXPECT_LT((KernelVersion{6, 19, 14}), (KernelVersion{7, 0}));
    EXPECT_LT((KernelVersion{6, 9}), (KernelVersion{6, 10}));
    EXPECT_EQ(to_string(KernelVersion{7, 3}), "7.3");
    EXPECT_EQ(to_string(KernelVersion{6, 12, 107}), "6.12.107");
}

} // namespace
} // namespace ublk::uapi::test
