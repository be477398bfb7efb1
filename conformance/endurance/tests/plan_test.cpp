#include "conformance/endurance/plan.hpp"

#include <gtest/gtest.h>

namespace conformance::endurance {
namespace {

TEST(EndurancePlan, IsReadAsItWasWritten)
{
    const Plan plan{.seed = 18446744073709551615U, .cycles = 77};
    EXPECT_EQ(parse_plan(to_text(plan)), plan);
}

TEST(EndurancePlan, OneThatIsDamagedIsRefused)
{
    for (const char* text : {"", "{}", R"({"seed":1})", R"({"seed":1,"cycles":"x"})"})
        EXPECT_FALSE(parse_plan(text)) << text;
}

TEST(EndurancePlan, ANumberOfCyclesIsMeantForEachCase)
{
    EXPECT_EQ(Plan{}.kills(), 500U);
    EXPECT_EQ(Plan{}.lives(), 1000U);
    EXPECT_EQ(Plan{}.process_lives(), 200U);
    const Plan few{.cycles = 11};
    EXPECT_EQ(few.kills(), 11U);
    EXPECT_EQ(few.lives(), 11U);
    EXPECT_EQ(few.process_lives(), 3U);
}

TEST(EndurancePlan, LimitsFollowTheNumberOfCycles)
{
    EXPECT_EQ(Plan{}.length(), 1);
    EXPECT_EQ(Plan{.cycles = 2000}.length(), 4);
    EXPECT_EQ(Plan{.cycles = 1}.length(), 0.1)
        << "booting and settling take their time, however few there are";
}

} // namespace
} // namespace conformance::endurance
