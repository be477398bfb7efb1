#include "perf/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

namespace perf {
namespace {

using ::testing::HasSubstr;

TEST(Plan, ReadsBackWhatItWrote)
{
    for (const bool exact : {false, true}) {
        auto plan = usual_plan(exact, "kublk");
        plan.compare = exact;
        plan.runtime = 0.25;
        const auto read = plan_from_json(to_json(plan));
        ASSERT_TRUE(read) << read.error();
        EXPECT_EQ(*read, plan);
    }
}

TEST(Plan, CutAnywhereOrWithAMemberLostIsAnError)
{
    const auto whole = to_json(usual_plan(false));
    for (std::size_t length = 0; length + 2 < whole.size(); ++length)
        EXPECT_FALSE(plan_from_json(whole.substr(0, length))) << length;
    for (const char* member : {"exact", "rounds", "runtime", "queues", "subjects", "against", "compare",
                               "kind", "options", "repeats"}) {
        auto text = whole;
        text.replace(text.find(member), 1, "x");
        EXPECT_FALSE(plan_from_json(text)) << member;
    }
}

TEST(Plan, WithoutRoundsOrWithAnUnknownKindIsAnError)
{
    auto plan = usual_plan(false);
    plan.rounds = 0;
    EXPECT_THAT(plan_from_json(to_json(plan)).error(), HasSubstr("without rounds"));
    auto text = to_json(usual_plan(false));
    text.replace(text.find("\"kind\": \"brd\""), 13, "\"kind\": \"tape\"");
    EXPECT_THAT(plan_from_json(text).error(), HasSubstr("tape"));
}

TEST(Loads, HaveIdsOfTheirOwnAndFitTheWorkingSet)
{
    std::set<std::string> ids;
    for (const auto& load : loads()) {
        ids.insert(case_id(load));
        EXPECT_EQ(working_set % load.block, 0U);
        EXPECT_GT(load.exact_ios, load.depth) << "the counted part would be all ramp";
    }
    EXPECT_EQ(ids.size(), loads().size());
    EXPECT_TRUE(ids.contains("PERF-4K-RANDREAD-QD1"));
}

} // namespace
} // namespace perf
