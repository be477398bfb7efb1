#include "reports/ktap.hpp"

#include "reports/random_result.hpp"
#include "reports/sample_run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <regex>
#include <sstream>

namespace reports {
namespace {

struct Line {
    bool ok = false;
    std::string description, directive, data;
};
struct Parsed {
    std::size_t plan = 0;
    std::vector<Line> results;
    std::vector<std::string> diagnostics, problems;
};

// Reads KTAP by the grammar in the kernel's documentation, not by how ktap() writes it.
Parsed parse(const std::string& text)
{
    static const std::regex plan{"1\\.\\.([0-9]+)"};
    static const std::regex result{"(ok|not ok) ([0-9]+)(?: ([^#]*?))?(?: # ?([A-Za-z]+)(.*))?"};
    Parsed parsed;
    std::istringstream in(text);
    std::string line;
    std::getline(in, line);
    if (line != "KTAP version 1")
        parsed.problems.push_back("version: " + line);
    for (std::smatch match; std::getline(in, line);) {
        if (line.starts_with("# "))
            parsed.diagnostics.push_back(line.substr(2));
        else if (std::regex_match(line, match, plan))
            parsed.plan = std::stoul(match[1]);
        else if (std::regex_match(line, match, result) && std::stoul(match[2]) == parsed.results.size() + 1)
            parsed.results.push_back(
                {.ok = match[1] == "ok", .description = match[3], .directive = match[4], .data = match[5]});
        else
            parsed.problems.push_back(line);
    }
    return parsed;
}

TEST(Ktap, EachVerdictHasItsResultAndDirective)
{
    auto run = sample_run();
    const auto parsed = parse(ktap(run));
    EXPECT_THAT(parsed.problems, testing::IsEmpty());
    EXPECT_EQ(parsed.plan, run.planned.size());
    ASSERT_EQ(parsed.results.size(), run.planned.size());
    const auto directive = [&](Verdict verdict) {
        const auto& line = parsed.results[static_cast<std::size_t>(verdict)];
        return (line.ok ? "ok " : "not ok ") + line.directive;
    };
    EXPECT_EQ(directive(Verdict::pass), "ok ");
    EXPECT_EQ(directive(Verdict::fail), "not ok ");
    EXPECT_EQ(directive(Verdict::changed), "ok changed");
    EXPECT_EQ(directive(Verdict::skip), "ok SKIP");
    EXPECT_EQ(directive(Verdict::crash), "not ok ERROR");
    EXPECT_EQ(directive(Verdict::hang), "not ok TIMEOUT");
    EXPECT_EQ(directive(Verdict::known), "ok known");
    EXPECT_EQ(directive(Verdict::fixed), "ok fixed");
    EXPECT_THAT(parsed.results.back().description, testing::HasSubstr("UBLK-SAMPLE-099"));
    EXPECT_EQ(parsed.results.back().directive, "ERROR");
    EXPECT_FALSE(parsed.results.back().ok);
    run.strict = true;
    EXPECT_FALSE(parse(ktap(run)).results[static_cast<std::size_t>(Verdict::changed)].ok);
}

TEST(Ktap, AFailureSaysWhatWasExpectedSeenAndLogged)
{
    const auto diagnostics = parse(ktap(sample_run())).diagnostics;
    for (const auto* line : {"kernel: 7.3.4+deb13-amd64", "boot: WARNING: at boot", "expected: EINVAL",
                             "observed: 0 after 3 ms", "and ?[31mred?]]>", "not ok 99 - a line of the log",
                             "BUG: \uFFFD", "again: ublkcheck run --kernel 7.3 --case UBLK-SAMPLE-002"})
        EXPECT_THAT(diagnostics, testing::Contains(line));
}

RC_GTEST_PROP(Ktap, ReadsBackWhateverTheTextsHold, ())
{
    const auto run = random::run();
    const auto parsed = parse(ktap(run));
    RC_ASSERT(parsed.problems == std::vector<std::string>{});
    RC_ASSERT(parsed.plan == run.planned.size());
    RC_ASSERT(parsed.results.size() == run.planned.size());
    for (std::size_t i = 0; i < run.cases.size(); ++i)
        RC_ASSERT(parsed.results[i].ok != is_unexpected(run.cases[i].verdict, run.strict));
    for (std::size_t i = run.cases.size(); i < run.planned.size(); ++i)
        RC_ASSERT(!parsed.results[i].ok);
}

} // namespace
} // namespace reports
