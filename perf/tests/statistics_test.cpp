#include "perf/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <vector>

namespace perf {
namespace {

std::vector<double> some_values(std::size_t least)
{
    auto whole = *rc::gen::suchThat(rc::gen::container<std::vector<int>>(rc::gen::inRange(1, 100'000)),
                                    [=](const auto& v) { return v.size() >= least && v.size() <= 40; });
    return {whole.begin(), whole.end()};
}

TEST(Median, IsTheOneInTheMiddleOrTheMeanOfTwo)
{
    EXPECT_EQ(median(std::vector<double>{}), 0);
    EXPECT_EQ(median(std::vector{7.0}), 7);
    EXPECT_EQ(median(std::vector{9.0, 1.0, 5.0}), 5);
    EXPECT_EQ(median(std::vector{9.0, 1.0, 5.0, 6.0}), 5.5);
}

RC_GTEST_PROP(Median, HasAsManyValuesBelowAsAbove, ())
{
    const auto values = some_values(1);
    const double m = median(values);
    const auto below = std::ranges::count_if(values, [=](double v) { return v < m; });
    const auto above = std::ranges::count_if(values, [=](double v) { return v > m; });
    RC_ASSERT(2 * below <= static_cast<long>(values.size()));
    RC_ASSERT(2 * above <= static_cast<long>(values.size()));
}

RC_GTEST_PROP(Median, DoesNotAskForAnOrder, ())
{
    auto values = some_values(1);
    const double m = median(values);
    std::ranges::sort(values, std::greater{});
    RC_ASSERT(median(values) == m);
}

TEST(Spread, IsTheRangeInPartsOfTheMedian)
{
    EXPECT_DOUBLE_EQ(spread(std::vector{90.0, 100.0, 120.0}), 0.3);
    EXPECT_EQ(spread(std::vector{5.0}), 0);
    EXPECT_EQ(spread(std::vector{0.0, 0.0}), 0);
}

TEST(Ratios, AreRoundByRoundAndLeaveOutRoundsWithoutABase)
{
    EXPECT_EQ(ratios(std::vector{2.0, 3.0, 8.0}, std::vector{1.0, 0.0, 4.0}), (std::vector{2.0, 2.0}));
    EXPECT_EQ(ratios(std::vector{2.0, 3.0}, std::vector{4.0}), (std::vector{0.5}));
}

RC_GTEST_PROP(Ratios, OfASubjectToItselfAreOne, ())
{
    const auto values = some_values(1);
    for (const double ratio : ratios(values, values))
        RC_ASSERT(ratio == 1);
}

// The coverage of the pair (k-th smallest, k-th largest), from every way in which n values can fall to the
// two sides of the true median.
double counted_coverage(unsigned n, unsigned k)
{
    unsigned covered = 0;
    for (unsigned sides = 0; sides < (1U << n); ++sides) {
        const auto below = static_cast<unsigned>(__builtin_popcount(sides));
        covered += below >= k && n - below >= k ? 1U : 0U;
    }
    return static_cast<double>(covered) / static_cast<double>(1U << n);
}

TEST(MedianInterval, HasTheCoverageThatItSays)
{
    for (unsigned n = 2; n <= 15; ++n) {
        std::vector<double> values(n);
        for (unsigned i = 0; i < n; ++i)
            values[i] = i;
        for (const double confidence : {0.0, 0.5, 0.9, 0.95, 0.99}) {
            const auto interval = median_interval(values, confidence);
            const auto k = static_cast<unsigned>(interval.low) + 1; // values are their own ranks
            ASSERT_EQ(interval.high, n - k) << n << " values";
            EXPECT_NEAR(interval.coverage, counted_coverage(n, k), 1e-9) << n << " values, rank " << k;
            if (interval.coverage < confidence) {
                EXPECT_EQ(k, 1U) << "there was a wider pair";
            } else if (2 * (k + 1) <= n) {
                EXPECT_LT(counted_coverage(n, k + 1), confidence) << "there was a narrower pair";
            }
        }
    }
}

RC_GTEST_PROP(MedianInterval, HoldsTheMedianOfTheValues, ())
{
    const auto values = some_values(1);
    const auto interval = median_interval(values, *rc::gen::element(0.5, 0.9, 0.95, 0.99));
    RC_ASSERT(interval.contains(median(values)));
    const auto [low, high] = std::ranges::minmax(values);
    RC_ASSERT(interval.low >= low);
    RC_ASSERT(interval.high <= high);
}

RC_GTEST_PROP(MedianInterval, GrowsWithTheConfidence, ())
{
    const auto values = some_values(1);
    const auto narrow = median_interval(values, 0.8);
    const auto wide = median_interval(values, 0.99);
    RC_ASSERT(wide.low <= narrow.low);
    RC_ASSERT(wide.high >= narrow.high);
}

TEST(MedianInterval, OfNothingAndOfOneValuePromisesNothing)
{
    EXPECT_EQ(median_interval(std::vector<double>{}, 0.9).coverage, 0);
    const auto one = median_interval(std::vector{3.0}, 0.9);
    EXPECT_EQ(one.low, 3);
    EXPECT_EQ(one.high, 3);
    EXPECT_EQ(one.coverage, 0);
}

} // namespace
} // namespace perf
