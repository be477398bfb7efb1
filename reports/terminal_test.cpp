#include "reports/terminal.hpp"

#include "reports/sample_run.hpp"
#include "reports/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <limits>
#include <regex>
#include <sstream>

namespace reports {
namespace {

using testing::HasSubstr;
using testing::Not;

CaseResult del_004()
{
    return {.id = "UBLK-CTRL-DEL-004",
            .title = "DEL_DEV waits until the last opener is gone",
            .verdict = Verdict::fail,
            .expected = "the command to stay pending",
            .observed = "0 after 3 ms",
            .log = {},
            .again = "ublkcheck run --kernel 7.3 --case UBLK-CTRL-DEL-004"};
}

RunResult run_of(std::initializer_list<std::pair<Verdict, int>> counts, double seconds)
{
    RunResult run;
    run.complete = true;
    run.seconds = seconds;
    for (const auto& [verdict, count] : counts)
        for (int i = 0; i < count; ++i) {
            run.planned.push_back("UBLK-T-" + std::to_string(run.planned.size()));
            run.cases.push_back({.id = run.planned.back(), .verdict = verdict});
        }
    return run;
}

// What the screen shows after the bytes: "\r" goes to the start of the line, "\x1b[K" erases it.
std::string screen(const std::string& bytes)
{
    std::string shown = bytes;
    for (auto at = shown.find("\r\x1b[K"); at != std::string::npos; at = shown.find("\r\x1b[K")) {
        const auto start = shown.rfind('\n', at);
        const auto from = start == std::string::npos ? 0 : start + 1;
        shown.erase(from, at + 4 - from);
    }
    return shown;
}

TEST(Terminal, PlainOutputIsTheStatusTheFailuresAndTheResult)
{
    std::ostringstream out;
    Terminal terminal(out, {});
    terminal.status("tools", "ok");
    terminal.status("kernel", "7.3.4+deb13-amd64, newest packaged, cached");
    auto run = run_of({{Verdict::pass, 215}, {Verdict::skip, 31}}, 61.4);
    terminal.begin(247, 0, false);
    terminal.tick(1);
    for (const auto& c : run.cases)
        terminal.ended(c, 30);
    run.planned.push_back(del_004().id);
    run.cases.push_back(del_004());
    terminal.ended(del_004(), 60);
    terminal.finish(run, "out/2026-11-23T101500-7.3.4");
    EXPECT_EQ(out.str(), "tools      ok\n"
                         "kernel     7.3.4+deb13-amd64, newest packaged, cached\n"
                         "  FAIL  UBLK-CTRL-DEL-004  DEL_DEV waits until the last opener is gone\n"
                         "        expected the command to stay pending, got 0 after 3 ms\n"
                         "        again: ublkcheck run --kernel 7.3 --case UBLK-CTRL-DEL-004\n"
                         "result     215 passed, 1 failed, 0 crashed, 0 hung, 31 not applicable, in 61 s\n"
                         "report     out/2026-11-23T101500-7.3.4\n");
}

TEST(Terminal, TheProgressLineFollowsTheCasesAndFitsTheWidth)
{
    for (const std::size_t width : {1U, 2U, 20U, 40U, 80U, 300U}) {
        std::ostringstream out;
        Terminal terminal(out, {.live = true, .width = width});
        terminal.begin(4, 1, false);
        terminal.ended(run_of({{Verdict::pass, 1}}, 0).cases[0], 38);
        const auto shown = screen(out.str());
        EXPECT_LT(columns(shown), std::max<std::size_t>(width, 2)) << shown;
        EXPECT_THAT(shown, Not(HasSubstr("\n")));
        if (width >= 40) {
            EXPECT_THAT(shown, testing::StartsWith("running    2/4 ━"));
            EXPECT_THAT(shown, testing::EndsWith("━  38 s"));
        }
    }
}

TEST(Terminal, TheBarMovesWithTheShareThatIsDone)
{
    const auto mark = [](std::size_t done) {
        std::ostringstream out;
        Terminal terminal(out, {.live = true});
        terminal.begin(8, done, false);
        const auto shown = screen(out.str());
        const auto at = shown.find("╸");
        return at == std::string::npos ? columns(shown) : columns(shown.substr(0, at));
    };
    EXPECT_EQ(mark(4) - mark(0), 2 * (mark(2) - mark(0)));
    EXPECT_LT(mark(0), mark(1));
    EXPECT_LT(mark(7), mark(8));
}

TEST(Terminal, AFailureStandsAboveTheProgressLine)
{
    std::ostringstream out;
    Terminal terminal(out, {.live = true});
    terminal.begin(2, 0, false);
    terminal.ended(del_004(), 2);
    const auto shown = screen(out.str());
    EXPECT_THAT(shown, testing::StartsWith("  FAIL  UBLK-CTRL-DEL-004"));
    EXPECT_THAT(shown, HasSubstr("\nrunning    1/2 "));
    terminal.finish(run_of({{Verdict::fail, 2}}, 3), "out/x");
    EXPECT_THAT(screen(out.str()), Not(HasSubstr("running"))) << "nothing of it stays behind";
}

TEST(Terminal, ColourIsUsedOnlyWhenAskedFor)
{
    for (const bool colour : {false, true}) {
        std::ostringstream out;
        Terminal terminal(out, {.colour = colour});
        terminal.ended(del_004(), 1);
        terminal.finish(run_of({{Verdict::pass, 1}}, 1), "out/x");
        EXPECT_EQ(out.str().contains("\x1b[31mFAIL\x1b[0m"), colour);
        EXPECT_EQ(out.str().contains("\x1b[32m1 passed"), colour);
        EXPECT_EQ(out.str().contains('\x1b'), colour);
    }
}

TEST(Terminal, TextOfACaseCannotActOnTheTerminal)
{
    std::ostringstream out;
    Terminal terminal(out, {});
    for (const auto& c : sample_run().cases)
        terminal.ended(c, 1);
    terminal.note("\x1b[2J");
    terminal.status("machine", "a\nb\r");
    terminal.finish(sample_run(), "out/\x1b]0;x\a");
    EXPECT_THAT(out.str(), Not(testing::ContainsRegex("[\x01-\x09\x0b-\x1f\x7f]")));
    EXPECT_THAT(out.str(), HasSubstr("got 0 after 3 ms\n        and ?[31mred"));
}

TEST(Terminal, OnlyUnexpectedAndFixedCasesArePrinted)
{
    const auto printed = [](bool strict) {
        std::ostringstream out;
        Terminal terminal(out, {});
        terminal.begin(all_verdicts.size(), 0, strict);
        for (const auto& c : sample_run().cases)
            terminal.ended(c, 1);
        std::vector<std::string> labels;
        const auto text = out.str();
        static const std::regex head{"(^|\n)  ([A-Z]+)  UBLK"};
        for (std::sregex_iterator at(text.begin(), text.end(), head), end; at != end; ++at)
            labels.push_back((*at)[2]);
        return labels;
    };
    EXPECT_THAT(printed(false), testing::ElementsAre("FAIL", "CRASH", "HANG", "FIXED"));
    EXPECT_THAT(printed(true), testing::ElementsAre("FAIL", "CHANGED", "CRASH", "HANG", "FIXED"));
}

TEST(Terminal, TheResultLineNamesWhatIsOutOfTheOrdinary)
{
    EXPECT_EQ(result_line(run_of({{Verdict::pass, 2}, {Verdict::known, 1}, {Verdict::fixed, 3}}, 5)),
              "2 passed, 0 failed, 0 crashed, 0 hung, 0 not applicable, 1 known, 3 fixed, in 5 s");
    auto cut =
        run_of({{Verdict::pass, 1}, {Verdict::changed, 1}, {Verdict::crash, 1}, {Verdict::hang, 2}}, 5);
    cut.planned.emplace_back("UBLK-GAP-001");
    cut.complete = false;
    EXPECT_EQ(result_line(cut), "1 passed, 0 failed, 1 crashed, 2 hung, 0 not applicable, 1 changed, in 5 s; "
                                "planned 6, got 5; interrupted");
    std::ostringstream out;
    Terminal(out, {}).finish(cut, "out/x");
    EXPECT_THAT(out.str(), HasSubstr("NO VERDICT  UBLK-GAP-001\n"));
}

TEST(Terminal, TimingsAreATable)
{
    std::ostringstream out;
    Terminal(out, {}).timings(sample_run());
    EXPECT_EQ(out.str(), "timings    boot                  3.500 s\n"
                         "           restore (median)      0.250 s\n");
}

TEST(Terminal, DurationsReadLikeDurations)
{
    EXPECT_EQ(duration_text(0.4), "0 s");
    EXPECT_EQ(duration_text(61), "61 s");
    EXPECT_EQ(duration_text(125), "2 min 5 s");
    EXPECT_EQ(duration_text(7320), "2 h 2 min");
    EXPECT_EQ(duration_text(-1), "0 s");
    EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "0 s");
}

class PseudoTerminal : public testing::Test {
  protected:
    void SetUp() override
    {
        master_ = ::posix_openpt(O_RDWR | O_NOCTTY);
        ASSERT_GE(master_, 0);
        ASSERT_EQ(::grantpt(master_), 0);
        ASSERT_EQ(::unlockpt(master_), 0);
        slave_ = ::open(::ptsname(master_), O_RDWR | O_NOCTTY);
        ASSERT_GE(slave_, 0);
        const winsize size{.ws_row = 24, .ws_col = 123, .ws_xpixel = 0, .ws_ypixel = 0};
        ASSERT_EQ(::ioctl(slave_, TIOCSWINSZ, &size), 0);
        ::setenv("TERM", "xterm", 1);
        ::unsetenv("NO_COLOR");
    }
    void TearDown() override
    {
        ::close(slave_);
        ::close(master_);
    }
    int master_ = -1, slave_ = -1;
};

TEST_F(PseudoTerminal, IsDetectedWithItsWidth)
{
    const auto style = detect_style(slave_);
    EXPECT_TRUE(style.live);
    EXPECT_TRUE(style.colour);
    EXPECT_EQ(style.width, 123U);
}

TEST_F(PseudoTerminal, IsLeftWithoutColourOnRequest)
{
    ::setenv("NO_COLOR", "1", 1);
    EXPECT_TRUE(detect_style(slave_).live);
    EXPECT_FALSE(detect_style(slave_).colour);
    ::setenv("TERM", "dumb", 1);
    EXPECT_FALSE(detect_style(slave_).live);
}

TEST_F(PseudoTerminal, IsNotSeenInAFile)
{
    const int file = ::open("/dev/null", O_WRONLY);
    EXPECT_FALSE(detect_style(file).live);
    EXPECT_FALSE(detect_style(file).colour);
    ::close(file);
    EXPECT_FALSE(detect_style(-1).live);
}

} // namespace
} // namespace reports
