#include "perf/comparison.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace perf {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Load& load = loads().front();

Plan comparison()
{
    return {.subjects = {{.name = "A null", .backend = "null"},
                         {.name = "A null, again", .backend = "null", .repeats = "A null"},
                         {.name = "B null", .backend = "null"},
                         {.name = "A file", .backend = "file"},
                         {.name = "B file", .backend = "file"}},
            .against = {"A null", "A file"},
            .compare = true};
}

const reports::Measurement& of(const std::vector<reports::Measurement>& measured, std::string_view subject)
{
    for (const auto& m : measured)
        if (m.subject == subject)
            return m;
    throw std::out_of_range(std::string(subject));
}

TEST(Measurements, TakeRatiosRoundByRound)
{
    const Plan plan{.subjects = {{.name = "loop"}, {.name = "s"}}, .against = {"loop"}};
    const auto measured = measurements(plan, load, {{100, 200, 400}, {50, 400, 400}});
    ASSERT_THAT(measured, SizeIs(2));
    EXPECT_EQ(of(measured, "loop").against, "");
    EXPECT_EQ(of(measured, "s").against, "loop");
    EXPECT_EQ(of(measured, "s").ratio, 1); // of 0.5, 2 and 1; the ratio of the medians would be 2
    EXPECT_EQ(of(measured, "s").low, 0.5);
    EXPECT_EQ(of(measured, "s").high, 2);
    EXPECT_EQ(of(measured, "s").metric, "IOPS");
}

TEST(Measurements, OfAComparisonGoByTheBackend)
{
    const auto measured = measurements(comparison(), load, {{10}, {10}, {20}, {100}, {300}});
    EXPECT_EQ(of(measured, "B null").against, "A null");
    EXPECT_EQ(of(measured, "B null").ratio, 2);
    EXPECT_EQ(of(measured, "B file").against, "A file");
    EXPECT_EQ(of(measured, "B file").ratio, 3);
    EXPECT_EQ(of(measured, "A null, again").against, "A null");
    EXPECT_THAT(measured, SizeIs(5));
}

TEST(Noisy, IsADifferenceOnlyOutsideOfIntervalAndNoise)
{
    const auto with = [](double low, double ratio, double high) {
        return reports::Measurement{.metric = "IOPS", .ratio = ratio, .low = low, .high = high};
    };
    EXPECT_EQ(conclude_noisy(with(0.8, 0.9, 1.01), 0).change, Change::none);
    EXPECT_EQ(conclude_noisy(with(0.8, 0.9, 0.95), 0.11).change, Change::none);
    EXPECT_EQ(conclude_noisy(with(0.8, 0.9, 0.95), 0.05).change, Change::slower);
    EXPECT_EQ(conclude_noisy(with(1.1, 1.25, 1.3), 0.05).change, Change::faster);
    EXPECT_EQ(conclude_noisy(with(0.8, 0.8, 0.8), 0.05).text, "25.0 % slower");
    EXPECT_EQ(conclude_noisy(with(1, 1, 1), 0).text, "no difference");
}

TEST(Exact, GoesByTheGateAndCallsOnlyEqualCountsEqual)
{
    const auto with = [](double ratio) {
        return reports::Measurement{
            .metric = "instructions per I/O", .ratio = ratio, .low = ratio, .high = ratio};
    };
    EXPECT_EQ(conclude_exact(with(1), 0.01).text, "equal");
    EXPECT_EQ(conclude_exact(with(1.004), 0.01).text, "no difference");
    EXPECT_EQ(conclude_exact(with(1.0101), 0.01).text, "1.0 % slower");
    EXPECT_EQ(conclude_exact(with(0.98), 0.01).change, Change::faster);
    auto uneven = with(1);
    uneven.low = 0.999;
    EXPECT_EQ(conclude_exact(uneven, 0.01).text, "no difference");
}

TEST(Conclude, NamesEverySlowerSubjectAndTheNoise)
{
    const auto plan = comparison();
    auto measured = measurements(plan, load, {{100, 100}, {98, 104}, {50, 52}, {100, 100}, {99, 101}});
    const auto slower = conclude(plan, load, measured);
    ASSERT_TRUE(slower);
    EXPECT_THAT(*slower, HasSubstr("B null is 96.1 % slower than A null"));
    EXPECT_EQ(slower->find("B file"), std::string::npos);
    EXPECT_EQ(of(measured, "A null, again").conclusion, "A/A, noise 4.0 %");
    EXPECT_EQ(of(measured, "B file").conclusion, "no difference");
}

TEST(Conclude, SaysNothingOfARunThatComparesNoCommits)
{
    const auto plan = usual_plan(false);
    Values values;
    for (std::size_t i = 0; i < plan.subjects.size(); ++i)
        values.push_back({static_cast<double>(100 * (i + 1))});
    auto measured = measurements(plan, load, values);
    EXPECT_FALSE(conclude(plan, load, measured));
    EXPECT_EQ(of(measured, "brd").conclusion, "");
    EXPECT_THAT(of(measured, "ublk-serve null, again").conclusion, HasSubstr("A/A"));
}

std::vector<reports::Measurement> counts(std::vector<double> values)
{
    return {{.subject = "null", .metric = "instructions per I/O", .values = std::move(values)}};
}

TEST(PairUp, ComparesTheMediansOfTwoBoots)
{
    const auto same = pair_up(load, "A 1", "B 2", counts({7000, 7001, 9000}), counts({7000, 7001, 9000}));
    ASSERT_THAT(same, SizeIs(2));
    EXPECT_EQ(same[0].subject, "A 1 null");
    EXPECT_EQ(same[1].subject, "B 2 null");
    EXPECT_EQ(same[1].against, "A 1 null");
    EXPECT_EQ(same[1].conclusion, "equal");
    const auto more = pair_up(load, "A", "B", counts({7000, 7000, 7000}), counts({7070, 7070, 7000}));
    EXPECT_DOUBLE_EQ(more[1].ratio, 1.01);
    EXPECT_EQ(more[1].low, 1);
    EXPECT_EQ(more[1].conclusion, "1.0 % slower");
    EXPECT_THAT(pair_up(load, "A", "B", counts({1}), {}), IsEmpty());
}

TEST(PairUp, JudgesTheServersOwnInstructionsWithAWiderGateAndItsCallsNotAtAll)
{
    const auto conclusion = [](std::string_view metric, double before, double after) {
        auto a = counts({before}), b = counts({after});
        a[0].metric = b[0].metric = metric;
        return pair_up(load, "A", "B", a, b)[1].conclusion;
    };
    EXPECT_EQ(conclusion(server_per_io, 100, 104), "no difference");
    EXPECT_EQ(conclusion(server_per_io, 100, 110), "10.0 % slower");
    EXPECT_EQ(conclusion(calls_per_io, 0.03, 1), "");
    EXPECT_EQ(conclusion(switches_per_io, 0.001, 0.002), "");
    EXPECT_EQ(conclusion(switches_per_io, 0.001, 0.001), "equal");
}

} // namespace
} // namespace perf
