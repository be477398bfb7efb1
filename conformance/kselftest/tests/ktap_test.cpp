#include "conformance/kselftest/ktap.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace conformance::kselftest;
using Kind = SubResult::Kind;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty;

namespace {

Judgement judged(std::optional<int> status, std::string_view text)
{
    return judge_script(status, parse_output(text));
}

} // namespace

TEST(Ktap, ReadsResultsWithTheirDirectives)
{
    const auto output =
        parse_output("TAP version 13\n1..5\nok 1 - one\nnot ok 2 two\nok 3 - three # SKIP no such device\n"
                     "not ok 4 - four # TODO later\nok 5 # skip\n");
    EXPECT_THAT(output.results,
                ElementsAre(SubResult{"one", Kind::passed, ""}, SubResult{"two", Kind::failed, ""},
                            SubResult{"three", Kind::skipped, "no such device"},
                            SubResult{"four", Kind::todo, "later"}, SubResult{"", Kind::skipped, ""}));
    EXPECT_THAT(output.gaps, IsEmpty());
}

TEST(Ktap, ReadsTheTagsOfShellScripts)
{
    EXPECT_THAT(parse_output("recover_03 : [FAIL]\nnull_01 : [PASS]\nx [SKIP] no fio\n").results,
                ElementsAre(SubResult{"recover_03", Kind::failed, ""}, SubResult{"null_01", Kind::passed, ""},
                            SubResult{"x", Kind::skipped, "no fio"}));
}

TEST(Ktap, ProseIsNoResult)
{
    const auto output = parse_output("ok then\nnot ok at all\nok 3rd try\nbook 1\n1..many\n1..2 or so\n");
    EXPECT_THAT(output.results, IsEmpty());
    EXPECT_THAT(output.gaps, IsEmpty());
}

TEST(Ktap, NestedTestsHavePlansOfTheirOwn)
{
    const auto whole =
        parse_output("1..2\n  1..2\n  ok 1 a\n  ok 2 b\nok 1 first\n  1..1\n  not ok 1 c\nnot ok 2 second\n");
    EXPECT_THAT(whole.gaps, IsEmpty());
    EXPECT_EQ(whole.results.size(), 5U);
    const auto cut = parse_output("1..2\n# 1..3\n# ok 1 a\n# ok 2 b\nok 1 first\nok 2 second\n");
    EXPECT_THAT(cut.gaps, ElementsAre("3 results were planned, 2 came"));
}

TEST(Ktap, ANestedFailureIsOne)
{
    EXPECT_EQ(judged(0, "1..1\n  1..1\n  not ok 1 inner\nok 1 outer\n").kind, Judgement::Kind::failed);
}

TEST(Ktap, Passes)
{
    EXPECT_EQ(judged(0, "").kind, Judgement::Kind::passed);
    EXPECT_EQ(judged(0, "null_01 : [PASS]\n").kind, Judgement::Kind::passed);
    EXPECT_EQ(judged(0, "1..2\nok 1 a\nok 2 b # SKIP no\n").kind, Judgement::Kind::passed);
    EXPECT_EQ(judged(0, "1..1\nnot ok 1 a # TODO later\n").kind, Judgement::Kind::passed);
}

TEST(Ktap, AFailureThatIsPrintedCountsWithExitStatusZero)
{
    const auto judgement =
        judged(0, "device isn't quiesced(LIVE)\nrecover_03 : [FAIL]\nrecover_03 : [PASS]\n");
    EXPECT_EQ(judgement.kind, Judgement::Kind::failed);
    EXPECT_THAT(judgement.observed, HasSubstr("failed: recover_03"));
    EXPECT_EQ(judged(0, "1..1\nnot ok 1 a\n").kind, Judgement::Kind::failed);
}

TEST(Ktap, AFailureThatIsPrintedIsNoSkip)
{
    EXPECT_EQ(judged(4, "a : [FAIL]\na : [SKIP]\n").kind, Judgement::Kind::failed);
}

TEST(Ktap, AnExitStatusFails)
{
    const auto judgement = judged(255, "some trouble\n");
    EXPECT_EQ(judgement.kind, Judgement::Kind::failed);
    EXPECT_EQ(judgement.observed, "exit status 255, and last it said: some trouble");
    EXPECT_EQ(judged(1, "a : [PASS]\n").kind, Judgement::Kind::failed);
    EXPECT_EQ(judged(139, "").kind, Judgement::Kind::failed);
}

TEST(Ktap, Skips)
{
    EXPECT_EQ(judged(4, "").reason, "the script skips, and does not say why");
    EXPECT_EQ(judged(4, "SKIP: hugetlbfs not supported\n").reason,
              "the script skips: SKIP: hugetlbfs not supported");
    EXPECT_EQ(judged(0, "1..0 # SKIP no module\n").reason, "the script skips: no module");
    EXPECT_EQ(judged(0, "1..2\nok 1 a # SKIP no fio\nok 2 b # SKIP\n").reason, "the script skips: no fio");
    EXPECT_EQ(judged(0, "a : [SKIP]\n").kind, Judgement::Kind::skipped);
}

TEST(Ktap, OutputThatIsCutOffFails)
{
    EXPECT_EQ(judged(0, "1..3\nok 1 a\nok 2").observed, "3 results were planned, 2 came");
    EXPECT_EQ(judged(0, "1..3\n").kind, Judgement::Kind::failed);
    EXPECT_EQ(judged(0, "1..1\nok 1 a\nok 2 b\n").kind, Judgement::Kind::failed);
    EXPECT_THAT(judged(0, "1..2\nok 1 a\nBail out! no memory\n").observed, HasSubstr("no memory"));
}

TEST(Ktap, AScriptThatDoesNotEndHasFailed)
{
    const auto judgement = judged(std::nullopt, "a : [PASS]\nwaiting\n");
    EXPECT_EQ(judgement.kind, Judgement::Kind::failed);
    EXPECT_EQ(judgement.observed, "it did not end, and last it said: waiting");
}
