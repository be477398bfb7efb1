// Which cases a run holds, over the cases of this program.
#include "conformance/driver/driver.hpp"
#include "conformance/ublkcheck/plan.hpp"

#include <gmock/gmock.h>
#include <set>

namespace conformance {

// Gates ask the running kernel; no case is run here.
ublk::uapi::Features kernel_features()
{
    return {};
}
ublk::uapi::KernelVersion kernel_version()
{
    return {};
}

namespace {

using testing::HasSubstr;

CASE("PLAN-001", contract, "first") {}
CASE("PLAN-002", contract, "second") {}
CASE("PLAN-003", behaviour, "third", in_suite("other")) {}
CASE("OTHER-001", contract, "fourth", in_suite("other")) {}
CASE("PLAN-900", contract, "asleep", in_suite("sleeping", true)) {}

std::vector<std::string> ids(const PlanOptions& options)
{
    const auto plan = plan_cases(options);
    EXPECT_TRUE(plan) << plan.error();
    std::vector<std::string> found;
    for (const auto* c : plan.value_or(std::vector<const Case*>{}))
        found.push_back(c->id);
    return found;
}

std::string error_of(const PlanOptions& options)
{
    const auto plan = plan_cases(options);
    EXPECT_FALSE(plan);
    return plan ? "" : plan.error();
}

using Ids = std::vector<std::string>;

TEST(Plan, HoldsEverythingThatIsNotHiddenInTheOrderOfIds)
{
    EXPECT_EQ(ids({}), (Ids{"OTHER-001", "PLAN-001", "PLAN-002", "PLAN-003"}));
}

TEST(Plan, GlobsJoinAndIgnoreCase)
{
    EXPECT_EQ(ids({.cases = {"plan-00[12]", "OTHER-*"}}), (Ids{"OTHER-001", "PLAN-001", "PLAN-002"}));
}

TEST(Plan, AGlobDoesNotWakeAHiddenCaseButItsIdAndItsSuiteDo)
{
    EXPECT_EQ(ids({.cases = {"PLAN-*"}}), (Ids{"PLAN-001", "PLAN-002", "PLAN-003"}));
    EXPECT_EQ(ids({.cases = {"PLAN-900"}}), (Ids{"PLAN-900"}));
    EXPECT_EQ(ids({.suites = {"sleeping"}}), (Ids{"PLAN-900"}));
    EXPECT_THAT(error_of({.cases = {"PLAN-9*"}}), HasSubstr("hidden"));
}

TEST(Plan, ASuiteAndAGlobMeet)
{
    EXPECT_EQ(ids({.cases = {"PLAN-*"}, .suites = {"other"}}), (Ids{"PLAN-003"}));
    EXPECT_THAT(error_of({.cases = {"PLAN-001"}, .suites = {"other"}}), HasSubstr("'PLAN-001'"));
}

TEST(Plan, ShardsAreDisjointAndTogetherWhole)
{
    const auto whole = ids({});
    for (std::size_t of = 1; of <= whole.size(); ++of) {
        std::multiset<std::string> together;
        for (std::size_t i = 1; i <= of; ++i) {
            const auto part = ids({.shard = std::to_string(i) + "/" + std::to_string(of)});
            together.insert(part.begin(), part.end());
        }
        EXPECT_EQ(together, std::multiset<std::string>(whole.begin(), whole.end())) << of;
    }
    EXPECT_THAT(
        error_of({.shard = std::to_string(whole.size() + 1) + "/" + std::to_string(whole.size() + 1)}),
        HasSubstr("shard"));
}

TEST(Plan, AnErrorNamesWhatWasGivenAndWhatThereIs)
{
    EXPECT_THAT(error_of({.suites = {"nosuch"}}), testing::AllOf(HasSubstr("'nosuch'"), HasSubstr("other")));
    EXPECT_THAT(error_of({.cases = {"PLAN-001", "NOPE-*"}}), HasSubstr("'NOPE-*'"));
    for (const auto* shard : {"0/2", "3/2", "1/0", "1", "/", "1/", "/2", "a/b", "1/2x", " 1/2", "-1/2",
                              "99999999999/99999999999"})
        EXPECT_THAT(error_of({.shard = shard}), HasSubstr(shard));
}

} // namespace
} // namespace conformance
