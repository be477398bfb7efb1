#include "ublk/backends/decorators/selection.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace ublk::backends {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using uapi::IoOp;

engine::Io request(IoOp op, std::uint64_t sector = 0, std::uint32_t sectors = 8)
{
    return {.op = op, .start_sector = sector, .nr_sectors = sectors};
}

// Which of `count` equal reads, from 1 on, are chosen.
std::vector<int> chosen(const Selection& which, int count = 12)
{
    Selector selector(which);
    std::vector<int> numbers;
    for (int i = 1; i <= count; ++i)
        if (selector.choose(request(IoOp::read)))
            numbers.push_back(i);
    return numbers;
}

bool chooses(const Selection& which, const engine::Io& io)
{
    return Selector(which).choose(io).has_value();
}

TEST(Selection, CountsFromOne)
{
    EXPECT_EQ(chosen({}).size(), 12U);
    EXPECT_THAT(chosen({.every = 4}), ElementsAre(4, 8, 12));
    EXPECT_THAT(chosen({.first = 3}), ElementsAre(1, 2, 3));
    EXPECT_THAT(chosen({.after = 10}), ElementsAre(11, 12));
    EXPECT_THAT(chosen({.after = 4, .first = 1}), ElementsAre(5));
    EXPECT_THAT(chosen({.after = 1, .every = 3, .first = 2}), ElementsAre(4, 7));
    EXPECT_THAT(chosen({.first = 0}), IsEmpty());
}

TEST(Selection, GoesByTheOperation)
{
    for (const auto op : {IoOp::read, IoOp::write, IoOp::flush, IoOp::discard, IoOp::report_zones}) {
        EXPECT_TRUE(chooses({}, request(op)));
        EXPECT_EQ(chooses({.ops = Ops(IoOp::write) | IoOp::report_zones}, request(op)),
                  op == IoOp::write || op == IoOp::report_zones);
    }
}

TEST(Selection, CountsOnlyWhatItMeans)
{
    Selector third({.ops = IoOp::write, .first_sector = 0, .last_sector = 99, .after = 2, .first = 1});
    EXPECT_FALSE(third.choose(request(IoOp::write)));
    EXPECT_FALSE(third.choose(request(IoOp::read)));
    EXPECT_FALSE(third.choose(request(IoOp::write, 100)));
    EXPECT_FALSE(third.choose(request(IoOp::write)));
    EXPECT_TRUE(third.choose(request(IoOp::write)));
    EXPECT_FALSE(third.choose(request(IoOp::write)));
}

struct RangeRow {
    std::uint64_t sector;
    std::uint32_t sectors;
    bool touches;
};

TEST(Selection, MeansWhatTouchesItsSectors)
{
    constexpr Selection which{.first_sector = 100, .last_sector = 107};
    const std::vector<RangeRow> rows{
        {92, 8, false},          {93, 8, true},   {100, 1, true}, {107, 1, true},
        {108, 8, false},         {0, 1000, true}, {99, 1, false}, {UINT64_MAX - 3, 8, false},
        {100, UINT32_MAX, true}, {107, 0, true},
    };
    for (const auto& row : rows)
        EXPECT_EQ(chooses(which, request(IoOp::read, row.sector, row.sectors)), row.touches)
            << row.sector << " + " << row.sectors;
}

TEST(Selection, KnowsNoPlaceOfAFlushAndCountsZonesOfAReport)
{
    const auto flush = request(IoOp::flush, UINT64_MAX, 0);
    EXPECT_TRUE(chooses({}, flush));
    EXPECT_FALSE(chooses({.first_sector = 1}, flush)) << "its sector is no sector";
    EXPECT_FALSE(chooses({.last_sector = 7}, request(IoOp::zone_reset_all, 0, 0)));
    EXPECT_FALSE(chooses({.first_sector = 4}, request(IoOp::report_zones, 0, 8)))
        << "8 zones are no 8 sectors";
}

TEST(Selection, HasARateThatTheSeedDecidesAbout)
{
    constexpr int count = 10000;
    const auto hundredth = chosen({.rate = 0.01, .seed = 1}, count);
    EXPECT_EQ(hundredth, chosen({.rate = 0.01, .seed = 1}, count));
    EXPECT_NE(hundredth, chosen({.rate = 0.01, .seed = 2}, count));
    // Five standard deviations of the binomial distribution, for each of 20 seeds: the seeds are fixed, so
    // this either holds or does not.
    for (const double rate : {0.01, 0.3, 0.5, 0.99})
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            const auto times = static_cast<double>(chosen({.rate = rate, .seed = seed}, count).size());
            EXPECT_NEAR(times, count * rate, 5 * std::sqrt(count * rate * (1 - rate))) << "seed " << seed;
        }
    EXPECT_THAT(chosen({.rate = 0}, count), IsEmpty());
    EXPECT_EQ(chosen({.rate = 1}, count).size(), static_cast<std::size_t>(count));
}

TEST(Selection, DrawsAnotherNumberForEachChoice)
{
    Selector selector({.rate = 0.5, .seed = 3});
    std::vector<std::uint64_t> draws;
    int high = 0;
    for (int i = 0; i < 1000; ++i)
        if (const auto draw = selector.choose(request(IoOp::read))) {
            draws.push_back(*draw);
            high += *draw > UINT64_MAX / 2 ? 1 : 0;
        }
    std::ranges::sort(draws);
    EXPECT_EQ(std::ranges::adjacent_find(draws), draws.end());
    // The draw must not follow from the rate: half of the choices, not none of them, are in the upper half.
    EXPECT_NEAR(high, static_cast<double>(draws.size()) / 2, 60);
}

TEST(Selection, CountsOverAllThreads)
{
    Selector selector({.every = 10});
    std::atomic<int> times = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int n = 0; n < 1000; ++n)
                times += selector.choose(request(IoOp::read)) ? 1 : 0;
        });
    for (auto& thread : threads)
        thread.join();
    EXPECT_EQ(times, 400);
}

} // namespace
} // namespace ublk::backends
