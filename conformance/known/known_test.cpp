#include "conformance/known/known.hpp"

#include <gtest/gtest.h>

namespace conformance {
namespace {

using reports::Verdict;

constexpr const char* sample = R"([{"requirement": "UBLK-X-001",
    "kernels": [{"from": "6.12", "before": "6.12.117"}, {"from": "6.13", "before": "7.2.6"}],
    "verdict": "crash", "reference": "CVE-1", "why": "it dereferences NULL"}])";

reports::CaseResult result(Verdict verdict)
{
    return {.id = "UBLK-X-001", .verdict = verdict};
}

Verdict after(Verdict verdict, ublk::uapi::KernelVersion kernel)
{
    auto r = result(verdict);
    apply_known(r, kernel, *parse_known(sample));
    return r.verdict;
}

TEST(Known, ListedFailureOfTheListedKindIsKnown)
{
    EXPECT_EQ(after(Verdict::crash, {6, 12, 116}), Verdict::known);
    EXPECT_EQ(after(Verdict::crash, {6, 12, 0}), Verdict::known);
    EXPECT_EQ(after(Verdict::crash, {7, 2, 5}), Verdict::known);
}

constexpr const char* complaints = R"([{"complaint": ["WARNING: drivers/x.c", "exit_work"],
    "kernels": [{"from": "7.3", "before": "7.4"}], "verdict": "fail", "reference": "", "why": "two meet"}])";

reports::CaseResult with_complaint()
{
    auto r = result(Verdict::fail);
    r.observed = "kernel log: WARNING: drivers/x.c:29 at f" + std::string(reports::passed_by_itself);
    r.log = {"kernel: ---[ cut here ]---", "kernel: WARNING: drivers/x.c:29 at f", "kernel:  exit_work+0x1"};
    return r;
}

Verdict after_complaint(const reports::CaseResult& given, ublk::uapi::KernelVersion kernel = {7, 3, 4})
{
    auto r = given;
    apply_known(r, kernel, *parse_known(complaints));
    EXPECT_EQ(r.verdict == Verdict::pass, r.reason.find("two meet") != std::string::npos);
    return r.verdict;
}

TEST(Known, AListedComplaintIsNotLaidAtTheDoorOfACaseThatPassed)
{
    EXPECT_EQ(after_complaint(with_complaint()), Verdict::pass);
    EXPECT_EQ(after_complaint(with_complaint(), {7, 2, 6}), Verdict::fail) << "not listed for that kernel";

    auto failed_itself = with_complaint();
    failed_itself.observed = "kernel log: WARNING: drivers/x.c:29 at f; before that the case itself failed";
    EXPECT_EQ(after_complaint(failed_itself), Verdict::fail);

    auto another = with_complaint();
    another.observed = "kernel log: WARNING: mm/slub.c:1 at g" + std::string(reports::passed_by_itself);
    EXPECT_EQ(after_complaint(another), Verdict::fail) << "another complaint counts";

    auto two = with_complaint();
    two.log.insert(two.log.end(), {"kernel: ---[ cut here ]---", "kernel: WARNING: mm/slub.c:1 at g"});
    EXPECT_EQ(after_complaint(two), Verdict::fail) << "and a second one";

    auto elsewhere = with_complaint();
    elsewhere.log.back() = "kernel:  other_work+0x1";
    EXPECT_EQ(after_complaint(elsewhere), Verdict::fail) << "the same line from another place";

    auto crashed = with_complaint();
    crashed.verdict = Verdict::crash;
    EXPECT_EQ(after_complaint(crashed), Verdict::crash);
}

TEST(Known, OutsideItsRangesNothingIsKnown)
{
    EXPECT_EQ(after(Verdict::crash, {6, 12, 117}), Verdict::crash);
    EXPECT_EQ(after(Verdict::crash, {7, 2, 6}), Verdict::crash);
    EXPECT_EQ(after(Verdict::pass, {7, 3, 4}), Verdict::pass);
}

TEST(Known, AnotherKindOfFailureStaysWhatItIs)
{
    EXPECT_EQ(after(Verdict::fail, {6, 12, 43}), Verdict::fail);
    EXPECT_EQ(after(Verdict::hang, {6, 12, 43}), Verdict::hang);
    EXPECT_EQ(after(Verdict::skip, {6, 12, 43}), Verdict::skip);
}

TEST(Known, ADefectMayShowInTwoWays)
{
    const auto list = parse_known(
        R"([{"requirement": "UBLK-X-001", "kernels": [{"from": "6.12", "before": "7.0"}], "verdict": "fail",
             "reference": "", "why": "it waits"},
            {"requirement": "UBLK-X-001", "kernels": [{"from": "6.12", "before": "7.0"}], "verdict": "crash",
             "reference": "", "why": "it is used after its end"}])");
    ASSERT_TRUE(list);
    auto failed = result(Verdict::fail), crashed = result(Verdict::crash), hung = result(Verdict::hang);
    for (auto* each : {&failed, &crashed, &hung})
        apply_known(*each, {6, 18, 5}, *list);
    EXPECT_EQ(failed.verdict, Verdict::known);
    EXPECT_EQ(failed.reason, "it waits");
    EXPECT_EQ(crashed.verdict, Verdict::known);
    EXPECT_EQ(crashed.reason, "it is used after its end");
    EXPECT_EQ(hung.verdict, Verdict::hang);
}

TEST(Known, ListedPassIsFixedAndSaysWhy)
{
    auto r = result(Verdict::pass);
    apply_known(r, {6, 18, 5}, *parse_known(sample));
    EXPECT_EQ(r.verdict, Verdict::fixed);
    EXPECT_EQ(r.reason, "it dereferences NULL (CVE-1)");
}

TEST(Known, ARaceThatWasNotMetIsNotFixed)
{
    constexpr const char* race =
        R"([{"requirement": "UBLK-X-001", "kernels": [{"from": "6.12", "before": "7.0"}],
        "verdict": "fail", "race": true, "reference": "", "why": "they meet"}])";
    auto passed = result(Verdict::pass);
    apply_known(passed, {6, 18, 5}, *parse_known(race));
    EXPECT_EQ(passed.verdict, Verdict::known);
    EXPECT_EQ(passed.reason, "they meet; a race, which this run did not meet");
    auto failed = result(Verdict::fail);
    apply_known(failed, {6, 18, 5}, *parse_known(race));
    EXPECT_EQ(failed.verdict, Verdict::known);
    EXPECT_EQ(failed.reason, "they meet");
    auto crashed = result(Verdict::crash);
    apply_known(crashed, {6, 18, 5}, *parse_known(race));
    EXPECT_EQ(crashed.verdict, Verdict::crash);
}

TEST(Known, BadListsAreRefusedWithTheEntry)
{
    for (
        const char* bad :
        {"", "{}", "[{}]", R"([{"requirement": 1}])",
         R"([{"requirement":"a","kernels":[],"verdict":"fail","reference":"","why":"x"}])",
         R"([{"requirement":"a","kernels":[{"from":"7.0","before":"6.0"}],"verdict":"fail","reference":"","why":"x"}])",
         R"([{"requirement":"a","kernels":[{"from":"6.0","before":"7.0"}],"verdict":"pass","reference":"","why":"x"}])"})
        EXPECT_FALSE(parse_known(bad).has_value()) << bad;
    EXPECT_NE(parse_known("[{}]").error().find("defect 1"), std::string::npos);
}

TEST(Known, TheListThatIsCompiledInIsSound)
{
    EXPECT_NO_FATAL_FAILURE(known_defects());
}

TEST(Known, VersionsAreReadFromReleaseStrings)
{
    EXPECT_EQ(parse_version("6.12.107+deb13-cloud-amd64"), (ublk::uapi::KernelVersion{6, 12, 107}));
    EXPECT_EQ(parse_version("7.3"), (ublk::uapi::KernelVersion{7, 3, 0}));
    EXPECT_EQ(parse_version("latest"), std::nullopt);
}

} // namespace
} // namespace conformance
