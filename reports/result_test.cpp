#include "reports/result.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace reports {
namespace {

RunResult run_of(std::initializer_list<Verdict> verdicts)
{
    RunResult run;
    run.complete = true;
    for (const Verdict verdict : verdicts) {
        auto& c = run.cases.emplace_back();
        c.id = "UBLK-T-" + std::to_string(run.cases.size());
        c.verdict = verdict;
        run.planned.push_back(c.id);
    }
    return run;
}

TEST(Result, NamesAreDistinctAndReadBack)
{
    std::set<std::string_view> names;
    for (const Verdict verdict : all_verdicts) {
        names.insert(to_string(verdict));
        EXPECT_EQ(verdict_from(to_string(verdict)), verdict);
    }
    EXPECT_EQ(names.size(), all_verdicts.size());
    for (const Level level : {Level::contract, Level::behaviour})
        EXPECT_EQ(level_from(to_string(level)), level);
    for (const auto* odd : {"", "PASS", "passed", "unknown"}) {
        EXPECT_EQ(verdict_from(odd), std::nullopt);
        EXPECT_EQ(level_from(odd), std::nullopt);
    }
}

TEST(Result, FailCrashAndHangAreUnexpectedAndChangedWhenStrict)
{
    for (const bool strict : {false, true}) {
        for (const Verdict verdict : {Verdict::fail, Verdict::crash, Verdict::hang})
            EXPECT_TRUE(is_unexpected(verdict, strict)) << to_string(verdict);
        for (const Verdict verdict : {Verdict::pass, Verdict::skip, Verdict::known, Verdict::fixed})
            EXPECT_FALSE(is_unexpected(verdict, strict)) << to_string(verdict);
        EXPECT_EQ(is_unexpected(Verdict::changed, strict), strict);
    }
    EXPECT_TRUE(is_unexpected(static_cast<Verdict>(99), false)) << "a value that is no verdict must not pass";
}

TEST(Result, CountsEachVerdict)
{
    const auto run = run_of({Verdict::pass, Verdict::hang, Verdict::pass, Verdict::fixed});
    EXPECT_EQ(run.count(Verdict::pass), 2);
    EXPECT_EQ(run.count(Verdict::hang), 1);
    EXPECT_EQ(run.count(Verdict::fail), 0);
    EXPECT_TRUE(run.has_unexpected());
    EXPECT_FALSE(run_of({Verdict::pass, Verdict::known}).has_unexpected());
}

TEST(ExitCode, IsZeroOnlyForAWholeRunWithoutUnexpectedVerdicts)
{
    EXPECT_EQ(exit_code(run_of({Verdict::pass, Verdict::skip, Verdict::known, Verdict::fixed})),
              exit_expected);
    for (const Verdict verdict : {Verdict::fail, Verdict::crash, Verdict::hang})
        EXPECT_EQ(exit_code(run_of({Verdict::pass, verdict})), exit_unexpected) << to_string(verdict);

    auto changed = run_of({Verdict::changed});
    EXPECT_EQ(exit_code(changed), exit_expected);
    changed.strict = true;
    EXPECT_EQ(exit_code(changed), exit_unexpected);
}

TEST(ExitCode, IsNeverZeroForARunWithGaps)
{
    auto interrupted = run_of({Verdict::pass});
    interrupted.complete = false;
    EXPECT_EQ(exit_code(interrupted), exit_unexpected);

    auto gap = run_of({Verdict::pass});
    gap.planned.emplace_back("UBLK-T-2");
    EXPECT_EQ(exit_code(gap), exit_unexpected);
    EXPECT_THAT(gap.missing(), testing::ElementsAre("UBLK-T-2"));

    auto another = run_of({Verdict::pass});
    another.planned = {"UBLK-T-2"}; // as many as planned, but not the planned one
    EXPECT_EQ(exit_code(another), exit_unexpected);

    auto extra = run_of({Verdict::pass, Verdict::pass});
    extra.planned.pop_back();
    EXPECT_EQ(exit_code(extra), exit_unexpected);
    EXPECT_THAT(extra.unplanned(), testing::ElementsAre("UBLK-T-2"));
}

TEST(ExitCode, SaysThatNothingWasJudged)
{
    EXPECT_EQ(exit_code(run_of({})), exit_no_run);
    auto none = run_of({Verdict::pass});
    none.cases.clear();
    EXPECT_EQ(exit_code(none), exit_no_run);
}

} // namespace
} // namespace reports
