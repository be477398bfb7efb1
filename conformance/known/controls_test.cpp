#include "conformance/known/controls.hpp"

#include "conformance/known/known.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace conformance {
namespace {

using reports::Verdict;

constexpr const char* two_defects = R"([
    {"requirement": "UBLK-X-002", "verdict": "crash", "kernels": ["6.16.12"], "shows": "NULL pointer",
     "mended": ["6.16.3"], "reference": "CVE-1", "why": "it dereferences NULL"},
    {"requirement": "UBLK-X-001", "verdict": "fail", "kernels": ["6.12.43"], "shows": "mprotect",
     "reference": "", "why": "it lets through"}])";

Control crash_control()
{
    return (*parse_controls(two_defects))[2];
}

reports::CaseResult crashed(const std::string& log)
{
    return {.id = "UBLK-X-002", .verdict = Verdict::crash, .log = {"kernel: Oops", log}};
}

TEST(Controls, AreReadOnePerKernelAndRequirementByVersion)
{
    const auto list = parse_controls(two_defects);
    ASSERT_TRUE(list) << list.error();
    ASSERT_EQ(list->size(), 3U);
    EXPECT_EQ((*list)[0].kernel, "6.12.43");
    EXPECT_EQ((*list)[0].expected, Verdict::fail);
    EXPECT_EQ((*list)[1].kernel, "6.16.3") << "by number, and not by letter";
    EXPECT_EQ((*list)[1].expected, Verdict::pass);
    EXPECT_EQ((*list)[1].shows, "") << "a mended kernel has nothing to show";
    EXPECT_EQ((*list)[2].expected, Verdict::crash);
}

TEST(Controls, AKernelThatPassesIsNotAsExpected)
{
    auto passed = crashed("kernel: NULL pointer dereference");
    EXPECT_TRUE(judge(crash_control(), &passed).as_expected());
    for (const auto verdict : {Verdict::pass, Verdict::fail, Verdict::hang, Verdict::skip, Verdict::known}) {
        passed.verdict = verdict;
        const auto result = judge(crash_control(), &passed);
        EXPECT_FALSE(result.as_expected()) << reports::to_string(verdict);
        EXPECT_EQ(exit_code({result}), reports::exit_unexpected);
    }
}

TEST(Controls, TheRightVerdictForAnotherReasonIsNotTheDefect)
{
    const auto elsewhere = crashed("kernel: general protection fault");
    const auto result = judge(crash_control(), &elsewhere);
    EXPECT_FALSE(result.as_expected());
    EXPECT_EQ(exit_code({result}), reports::exit_unexpected);
    EXPECT_TRUE(table({result}).contains("! 6.16.12"));
    EXPECT_TRUE(table({result}).contains("crash (otherwise)"));
    auto observed = elsewhere;
    observed.observed = "kernel log: BUG: NULL pointer dereference";
    EXPECT_TRUE(judge(crash_control(), &observed).as_expected());
}

TEST(Controls, AMendedKernelMustPass)
{
    const auto control = (*parse_controls(two_defects))[1];
    auto given = crashed("kernel: NULL pointer dereference");
    EXPECT_FALSE(judge(control, &given).as_expected());
    given = {.id = control.requirement, .verdict = Verdict::pass};
    EXPECT_TRUE(judge(control, &given).as_expected());
}

TEST(Controls, WhatWasNotRunIsNoSuccess)
{
    const auto good = crashed("kernel: NULL pointer dereference");
    const auto as_expected = judge(crash_control(), &good), not_run = judge(crash_control(), nullptr);
    EXPECT_FALSE(not_run.as_expected());
    EXPECT_EQ(exit_code({as_expected}), reports::exit_expected);
    EXPECT_EQ(exit_code({as_expected, not_run}), reports::exit_no_run);
    EXPECT_EQ(exit_code({}), reports::exit_no_run);
    auto passes = good;
    passes.verdict = Verdict::pass;
    EXPECT_EQ(exit_code({not_run, judge(crash_control(), &passes)}), reports::exit_unexpected);
}

TEST(Controls, TableAndFileSayTheSame)
{
    const auto given = crashed("kernel: NULL pointer dereference");
    const std::vector results{judge(crash_control(), &given), judge(crash_control(), nullptr)};
    const auto text = table(results);
    EXPECT_TRUE(text.contains("  6.16.12   UBLK-X-002             crash    crash")) << text;
    EXPECT_TRUE(text.contains("it dereferences NULL (CVE-1)")) << text;
    EXPECT_TRUE(text.contains("? 6.16.12   UBLK-X-002             crash    not run")) << text;
    const auto json = nlohmann::json::parse(controls_json(results));
    EXPECT_EQ(json["controls"][0]["got"], "crash");
    EXPECT_TRUE(json["controls"][0]["as_expected"]);
    EXPECT_TRUE(json["controls"][1]["got"].is_null());
    EXPECT_FALSE(json["controls"][1]["as_expected"]);
}

TEST(Controls, BadListsAreRefusedWithTheEntry)
{
    const auto good = nlohmann::json::parse(two_defects);
    const auto with = [&](const char* member, const nlohmann::json& value) {
        auto list = good;
        list[1][member] = value;
        return parse_controls(list.dump());
    };
    ASSERT_TRUE(with("why", "because"));
    for (const auto& [member, value] :
         std::vector<std::pair<const char*, nlohmann::json>>{{"verdict", "pass"},
                                                             {"verdict", "skip"},
                                                             {"verdict", "known"},
                                                             {"verdict", 1},
                                                             {"requirement", ""},
                                                             {"shows", ""},
                                                             {"why", ""},
                                                             {"kernels", nlohmann::json::array()},
                                                             {"kernels", {"latest"}},
                                                             {"kernels", {"6.12.43", "6.12.43"}},
                                                             {"mended", {"6.12.43"}},
                                                             {"mended", "7.3"}}) {
        const auto list = with(member, value);
        ASSERT_FALSE(list) << member << " " << value;
        EXPECT_NE(list.error().find("entry 2"), std::string::npos) << list.error();
    }
    for (const char* bad : {"", "{}", "[{}]"})
        EXPECT_FALSE(parse_controls(bad)) << bad;
}

// Otherwise a run would call unexpected, or expected, what a control says the contrary of.
TEST(Controls, TheListThatIsCompiledInAgreesWithTheKnownDefects)
{
    const auto broken = std::ranges::count_if(
        controls(), [](const Control& control) { return control.expected != Verdict::pass; });
    EXPECT_GE(broken, 12);
    for (const auto& control : controls()) {
        const auto kernel = *parse_version(control.kernel);
        const bool listed = std::ranges::any_of(known_defects(), [&](const KnownDefect& defect) {
            return defect.requirement == control.requirement &&
                   (control.expected == Verdict::pass || defect.verdict == control.expected) &&
                   std::ranges::any_of(defect.kernels,
                                       [&](const KernelRange& range) { return range.contains(kernel); });
        });
        EXPECT_EQ(listed, control.expected != Verdict::pass) << control.requirement << ' ' << control.kernel;
    }
}

} // namespace
} // namespace conformance
