// Scenario files: what is read is what was written, wrong lines are named, and those checked in can be read.
#include "conformance/lockstep/rules.hpp"
#include "conformance/lockstep/scenario.hpp"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

namespace conformance::lockstep {
namespace {

namespace fs = std::filesystem;

TEST(Scenario, IsReadBackFromItsText)
{
    const auto plan =
        parse_plan("seed 7\nsteps 30\n# a comment\n\n  add dev=any depth=3 # another\nread dev=1\n");
    ASSERT_TRUE(plan.has_value()) << plan.error();
    EXPECT_EQ(plan->seed, 7U);
    EXPECT_EQ(plan->steps, 30U);
    EXPECT_EQ(plan->scenario.size(), 2U);
    EXPECT_EQ(parse_plan(to_text(*plan)), *plan);
    const auto planted = parse_plan("planted start-early\n");
    ASSERT_TRUE(planted.has_value()) << planted.error();
    EXPECT_EQ(planted->planted, "start-early");
    EXPECT_EQ(parse_plan(to_text(*planted)), *planted);
}

TEST(Rules, ArePlantedByTheirNames)
{
    const auto version = ublk::model::reference_version;
    for (const auto& rule : planted_rules()) {
        const auto rules = rules_for(version, rule.name);
        ASSERT_TRUE(rules.has_value()) << rule.name;
        EXPECT_EQ(rules->step, rule.step);
    }
    EXPECT_TRUE(rules_for(version, "no_stopping")->kernel.no_stopping);
    EXPECT_FALSE(rules_for({7, 2, 6}, "no_stopping")->kernel.no_stopping);
    EXPECT_EQ(rules_for(version, "")->step, &ublk::model::step);
    EXPECT_FALSE(rules_for(version, "nothing").has_value());
}

TEST(Scenario, AWrongLineIsNamedWithItsWord)
{
    EXPECT_EQ(parse_scenario("read dev=0\nfrobnicate dev=0\n").error(), "line 2: 'frobnicate' is no command");
    EXPECT_EQ(parse_scenario("read dev=0 tag=1\n").error(), "line 1: 'tag=1': read takes dev, queue, page");
    EXPECT_EQ(parse_scenario("read dev=x\n").error(), "line 1: 'dev=x' has no value that read takes");
    EXPECT_EQ(parse_scenario("fetch task=2\n").error(), "line 1: 'task=2' has no value that fetch takes");
}

TEST(Scenario, ThoseCheckedInCanBeReadAndSayWhatTheyAreFor)
{
    int files = 0;
    for (const auto& entry : fs::directory_iterator(SCENARIOS)) {
        std::ifstream file(entry.path(), std::ios::binary);
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        const auto scenario = parse_scenario(text);
        ASSERT_TRUE(scenario.has_value()) << entry.path() << ": " << scenario.error();
        EXPECT_FALSE(scenario->empty()) << entry.path();
        EXPECT_TRUE(text.starts_with("# ")) << entry.path();
        ++files;
    }
    EXPECT_GT(files, 0);
}

} // namespace
} // namespace conformance::lockstep
