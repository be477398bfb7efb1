// What the plugin counted goes to the subject whose turn it was.
#include "perf/comparison.hpp"
#include "perf/counts.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using testing::ElementsAre;
using testing::HasSubstr;

perf::Plan two_subjects(unsigned rounds)
{
    perf::Plan plan{.exact = true, .rounds = rounds};
    plan.subjects = {{.name = "first"}, {.name = "second"}};
    return plan;
}

reports::CaseResult measured_case(const std::string& id)
{
    reports::CaseResult result{.id = id, .verdict = reports::Verdict::pass};
    result.measurements = {{.subject = "first", .metric = "instructions per I/O", .values = {1}},
                           {.subject = "second", .metric = "instructions per I/O", .values = {1}}};
    return result;
}

std::vector<double> values_of(const reports::CaseResult& result, std::string_view subject,
                              std::string_view metric)
{
    const auto found = std::ranges::find_if(
        result.measurements, [&](const auto& m) { return m.subject == subject && m.metric == metric; });
    return found == result.measurements.end() ? std::vector<double>{} : found->values;
}

TEST(Counts, GoToTheSubjectWhoseTurnItWas)
{
    const auto& load = perf::loads().front();
    const double ios = load.exact_ios;
    std::vector<reports::CaseResult> results{measured_case(perf::case_id(load))};
    // Round 0: first, second. Round 1: second, first.
    const std::vector<perf::UserWork> intervals{{10, 0, 1}, {20, 0, 2}, {30, 0, 3}, {40, 0, 4}};
    ASSERT_TRUE(perf::add_counts(two_subjects(2), results, intervals));
    EXPECT_THAT(values_of(results[0], "first", perf::server_per_io), ElementsAre(10 / ios, 40 / ios));
    EXPECT_THAT(values_of(results[0], "second", perf::server_per_io), ElementsAre(20 / ios, 30 / ios));
    EXPECT_THAT(values_of(results[0], "first", perf::calls_per_io), ElementsAre(1 / ios, 4 / ios));
    EXPECT_THAT(values_of(results[0], "second", perf::calls_per_io), ElementsAre(2 / ios, 3 / ios));
}

TEST(Counts, EachCaseHasItsOwn)
{
    const auto &one = perf::loads()[0], &other = perf::loads()[1];
    reports::CaseResult skipped{.id = "PERF-4K-MIX", .verdict = reports::Verdict::skip};
    std::vector<reports::CaseResult> results{measured_case(perf::case_id(one)), skipped,
                                             measured_case(perf::case_id(other))};
    const std::vector<perf::UserWork> intervals{{1, 0, 0}, {2, 0, 0}, {3, 0, 0}, {4, 0, 0}};
    ASSERT_TRUE(perf::add_counts(two_subjects(1), results, intervals));
    EXPECT_TRUE(results[1].measurements.empty());
    EXPECT_THAT(values_of(results[2], "first", perf::server_per_io), ElementsAre(3.0 / other.exact_ios));
}

TEST(Counts, TooFewOrTooManyIntervalsAreRefused)
{
    for (const std::size_t count : {1U, 3U}) {
        std::vector<reports::CaseResult> results{measured_case(perf::case_id(perf::loads().front()))};
        const auto added =
            perf::add_counts(two_subjects(1), results, std::vector<perf::UserWork>(count, {1, 1, 1}));
        ASSERT_FALSE(added);
        EXPECT_THAT(added.error(), HasSubstr("1 cases of 2 measurements each, and " + std::to_string(count)));
    }
}

TEST(Counts, IntervalsAreLinesOfThreeNumbers)
{
    const auto intervals = perf::read_user_work("12 34 5\n6 7 8\n");
    ASSERT_TRUE(intervals);
    ASSERT_EQ(intervals->size(), 2U);
    EXPECT_EQ((*intervals)[0].server, 12U);
    EXPECT_EQ((*intervals)[0].load, 34U);
    EXPECT_EQ((*intervals)[1].system_calls, 8U);
    for (const char* bad : {"12 34\n", "1 2 3 4\n", "x 2 3\n", "\n"})
        EXPECT_FALSE(perf::read_user_work(bad)) << bad;
}

} // namespace
