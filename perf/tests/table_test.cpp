#include "perf/table.hpp"

#include "perf/comparison.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

namespace perf {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

reports::RunResult run_of(std::vector<reports::Measurement> measured)
{
    return {.cases = {{.id = "PERF-X", .measurements = std::move(measured)}, {.id = "PERF-Y"}}};
}

reports::RunResult usual_run()
{
    const auto plan = usual_plan(false);
    Values values;
    for (std::size_t i = 0; i < plan.subjects.size(); ++i)
        values.push_back({static_cast<double>(1000 * (i + 1)), static_cast<double>(1000 * (i + 1))});
    auto measured = measurements(plan, loads().front(), values);
    conclude(plan, loads().front(), measured);
    return run_of(std::move(measured));
}

void expect_narrow(const std::string& text)
{
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(line.size(), 110U) << line;
        EXPECT_FALSE(line.ends_with(' ')) << line;
    }
}

TEST(RunTable, HasOneLineForEachSubjectWithItsRatios)
{
    const auto text = run_table(usual_run());
    EXPECT_THAT(text, HasSubstr("4k random read, QD 1"));
    EXPECT_THAT(text, HasSubstr("to loop"));
    EXPECT_THAT(text, HasSubstr("to null_blk"));
    std::istringstream lines(text);
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count)
        if (line.starts_with("  ublk-serve memory")) {
            EXPECT_THAT(line, HasSubstr("5000"));
            EXPECT_THAT(line, HasSubstr("1.667")); // to loop, of 3000
            EXPECT_THAT(line, HasSubstr("5.000")); // to null_blk, of 1000
        } else if (line.starts_with("  loop")) {
            EXPECT_THAT(line, HasSubstr("3.000"));
        }
    EXPECT_EQ(count, 1 + 7);
    expect_narrow(text);
}

TEST(RunTable, CallsTheSecondInstanceNoise)
{
    const auto text = run_table(usual_run());
    EXPECT_THAT(text, HasSubstr("ublk-serve null, again"));
    EXPECT_THAT(text, HasSubstr("to itself 1.750: A/A"));
}

TEST(RunTable, OfNothingIsEmptyAndLetsNoTextActOnTheTerminal)
{
    EXPECT_EQ(run_table(run_of({})), "");
    const auto text =
        run_table(run_of({{.subject = "a\x1b[31m", .load = "l", .metric = "IOPS", .values = {1}}}));
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(CompareTable, HasRatioIntervalAndConclusion)
{
    const std::vector<reports::Measurement> a{
        {.subject = "null", .load = "4k", .metric = "instructions per I/O", .values = {7000}}};
    auto b = a;
    b[0].values = {7140};
    const auto text = compare_table(run_of(pair_up(loads().front(), "A 1", "B 2", a, b)));
    EXPECT_THAT(text, HasSubstr("A 1 null"));
    EXPECT_THAT(text, HasSubstr("7000.0"));
    EXPECT_THAT(text, HasSubstr("1.020"));
    EXPECT_THAT(text, HasSubstr("1.020 to 1.020"));
    EXPECT_THAT(text, HasSubstr("2.0 % slower"));
    expect_narrow(text);
}

TEST(CompareTable, NamesEachMetricOnce)
{
    const auto side = [](double total, double server) {
        return std::vector<reports::Measurement>{
            {.subject = "null", .load = "reads", .metric = "instructions per I/O", .values = {total}},
            {.subject = "null", .load = "reads", .metric = std::string(server_per_io), .values = {server}},
            {.subject = "file", .load = "reads", .metric = "instructions per I/O", .values = {total}}};
    };
    const auto text =
        compare_table(run_of(pair_up(loads().front(), "A", "B", side(7000, 120), side(7000, 150))));
    EXPECT_EQ(text.find("server instructions"), text.rfind("server instructions"));
    EXPECT_LT(text.rfind("B file"), text.find("server instructions")) << text;
    EXPECT_LT(text.find("server instructions"), text.find("25.0 % slower")) << text;
    expect_narrow(text);
}

} // namespace
} // namespace perf
