#include "ublk/observe/histogram.hpp"

#include <gtest/gtest.h>
#include <limits>

namespace ublk::observe {
namespace {

TEST(Histogram, HasBucketsThatTouchAndAreAtMostAnEighthOfTheirValuesWide)
{
    for (std::size_t bucket = 0; bucket < Histogram::buckets; ++bucket) {
        const auto begin = Histogram::begin_of(bucket), end = Histogram::begin_of(bucket + 1);
        ASSERT_LT(begin, end);
        ASSERT_EQ(Histogram::bucket_of(begin), bucket);
        ASSERT_EQ(Histogram::bucket_of(end - 1), bucket);
        ASSERT_LE((end - begin - 1) * 8, begin) << "bucket " << bucket;
    }
    EXPECT_EQ(Histogram::begin_of(0), 0U);
    EXPECT_EQ(Histogram::begin_of(Histogram::buckets), std::uint64_t{1} << Histogram::top_bits);
}

TEST(Histogram, PutsWhatIsTooLargeIntoTheLastBucket)
{
    Histogram histogram;
    histogram.add(std::numeric_limits<std::uint64_t>::max());
    histogram.add(std::uint64_t{1} << Histogram::top_bits);
    EXPECT_EQ(histogram.counts.back(), 2U);
}

TEST(Histogram, FindsQuantiles)
{
    Histogram histogram;
    EXPECT_EQ(histogram.quantile(0.5), 0U);
    for (std::uint64_t value = 1; value <= 1000; ++value)
        histogram.add(value);
    EXPECT_EQ(histogram.count(), 1000U);
    EXPECT_EQ(histogram.sum, 500500U);
    EXPECT_EQ(histogram.quantile(0.0), 1U);
    EXPECT_EQ(histogram.quantile(0.5), 511U);   // bucket 480 to 511
    EXPECT_EQ(histogram.quantile(0.99), 1023U); // bucket 960 to 1023
    EXPECT_EQ(histogram.quantile(1.0), 1023U);
    EXPECT_EQ(histogram.quantile(0.001), 1U);
    EXPECT_EQ(histogram.quantile(0.002), 2U);
}

} // namespace
} // namespace ublk::observe
