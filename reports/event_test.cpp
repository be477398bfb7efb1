#include "reports/event.hpp"
#include "reports/random_result.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>

namespace reports {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string error_of(std::string_view line)
{
    const auto event = decode(line);
    return event ? "decoded" : event.error();
}

CaseEnded ended(std::string id, Verdict verdict)
{
    CaseEnded event;
    event.result.id = std::move(id);
    event.result.verdict = verdict;
    return event;
}

std::string lines(std::initializer_list<Event> events)
{
    std::string text;
    for (const auto& event : events)
        text += encode(event) + "\n";
    return text;
}

RC_GTEST_PROP(Event, ReadsBackAsItWasWritten, ())
{
    const auto event = random::event();
    const auto line = encode(event);
    RC_ASSERT(line.find('\n') == std::string::npos);
    const auto back = decode(line);
    RC_ASSERT(back.has_value());
    RC_ASSERT(*back == event);
}

RC_GTEST_PROP(Event, ATruncationIsAnError, ())
{
    const auto line = encode(random::event());
    const auto size = *rc::gen::inRange<std::size_t>(0, line.size());
    RC_ASSERT(!decode(std::string_view{line}.substr(0, size)).has_value());
}

TEST(Event, EveryTruncationIsAnErrorAndADamagedLine)
{
    auto event = ended("UBLK-CUT-001", Verdict::fail);
    event.result.title = "a \"title\" in \\ UTF-8: é → 😀";
    event.result.log = {"one", "\x1b[31mtwo"};
    const auto line = encode(event);
    for (std::size_t size = 1; size < line.size(); ++size) {
        EXPECT_FALSE(decode(std::string_view{line}.substr(0, size)).has_value()) << size;
        const auto folded = fold(line + "\n" + line.substr(0, size));
        EXPECT_EQ(folded.damaged.size(), 1U) << size;
        EXPECT_EQ(folded.run.cases.size(), 1U) << size;
    }
}

RC_GTEST_PROP(Event, AnyBytesAreAnEventOrASentence, ())
{
    const auto line = *random::bytes();
    const auto event = decode(line);
    RC_ASSERT(event.has_value() || !event.error().empty());
    const auto command = decode_command(line);
    RC_ASSERT(command.has_value() || !command.error().empty());
}

RC_GTEST_PROP(Event, AFlippedByteIsAnEventOrASentence, ())
{
    auto line = encode(random::event());
    line[*rc::gen::inRange<std::size_t>(0, line.size())] = *rc::gen::arbitrary<char>();
    const auto event = decode(line);
    RC_ASSERT(event.has_value() || !event.error().empty());
}

RC_GTEST_PROP(Event, BytesThatAreNoTextAreReplacedOnce, ())
{
    const auto line = encode(HarnessNote{.message = *random::bytes()});
    const auto event = decode(line);
    RC_ASSERT(event.has_value());
    RC_ASSERT(encode(*event) == line);
}

TEST(Event, InvalidUtf8BecomesTheReplacementCharacter)
{
    const auto event = decode(encode(HarnessNote{.message = "a\xff\xfe z\xc3"}));
    ASSERT_TRUE(event.has_value()) << event.error();
    EXPECT_EQ(std::get<HarnessNote>(*event).message, "a\uFFFD\uFFFD z\uFFFD");
}

TEST(Event, ErrorsNameTheMemberAndWhatIsWrongWithIt)
{
    EXPECT_THAT(error_of(""), HasSubstr("no JSON"));
    EXPECT_THAT(error_of("[]"), HasSubstr("array, not an object"));
    EXPECT_THAT(error_of("null"), HasSubstr("null, not an object"));
    EXPECT_THAT(error_of("{}"), HasSubstr("no \"event\""));
    EXPECT_THAT(error_of(R"({"event":7})"), HasSubstr("not a string"));
    EXPECT_THAT(error_of(R"({"event":"lunch"})"), HasSubstr("\"lunch\" is no event"));
    EXPECT_THAT(error_of(R"({"event":"note"})"), HasSubstr("no \"message\""));
    EXPECT_THAT(error_of(R"({"event":"note","message":["x"]})"), HasSubstr("array, not a string"));
    EXPECT_THAT(error_of(R"({"event":"run_ended","complete":1,"seconds":0})"),
                HasSubstr("not true or false"));
    EXPECT_THAT(error_of(R"({"event":"run_ended","complete":true,"seconds":-1})"), HasSubstr("\"seconds\""));
    EXPECT_THAT(error_of(R"({"event":"run_ended","complete":true,"seconds":1e999})"), HasSubstr("no JSON"));
    EXPECT_THAT(error_of(R"({"event":"guest_ready","kernel":[],"boot_log":[]})"), HasSubstr("not an object"));
    EXPECT_THAT(error_of("{\"event\":\"note\",\"message\":\"\xff\"}"), HasSubstr("no JSON in UTF-8"));
}

TEST(Event, ACaseWithAnOddMemberIsAnError)
{
    const auto with = [](const std::string& level, const std::string& verdict, const std::string& duration) {
        return error_of(
            R"({"event":"case_ended","id":"UBLK-X-001","suite":"","title":"","worker":0,"level":)" + level +
            R"(,"verdict":)" + verdict + R"(,"duration_ms":)" + duration + "}");
    };
    EXPECT_EQ(with(R"("contract")", R"("pass")", "12"), "decoded");
    EXPECT_THAT(with(R"("treaty")", R"("pass")", "12"), HasSubstr("no level"));
    EXPECT_THAT(with(R"("contract")", R"("passed")", "12"), HasSubstr("no verdict"));
    EXPECT_THAT(with(R"("contract")", R"("fail")", "12"), HasSubstr("no \"expected\""));
    EXPECT_THAT(with(R"("contract")", R"("pass")", "1.5"), HasSubstr("no integer"));
    EXPECT_THAT(with(R"("contract")", R"("pass")", "-1"), HasSubstr("outside"));
    EXPECT_THAT(with(R"("contract")", R"("pass")", "18446744073709551615"), HasSubstr("outside"));
    EXPECT_THAT(with(R"("contract")", R"("pass")", "99999999999999999999999"), HasSubstr("no integer"));
}

TEST(Event, DeepNestingAndLongLinesAreErrorsOnly)
{
    const std::size_t deep = max_event_bytes / 2 - 64;
    EXPECT_THAT(error_of(std::string(deep, '[')), HasSubstr("no JSON"));
    EXPECT_THAT(error_of(std::string(deep, '[') + std::string(deep, ']')), HasSubstr("not an object"));
    EXPECT_THAT(error_of(R"({"event":)" + std::string(deep, '[') + std::string(deep, ']') + "}"),
                HasSubstr("not a string"));
    EXPECT_THAT(error_of(std::string(max_event_bytes + 1, ' ')), HasSubstr("more than"));
}

TEST(Event, AnotherSchemaIsNamedInTheError)
{
    auto line = encode(RunStarted{});
    const std::string schema = "\"schema\":" + std::to_string(schema_version);
    line.replace(line.find(schema), schema.size(), "\"schema\":99");
    EXPECT_THAT(error_of(line), HasSubstr("schema 99"));
}

TEST(Event, ALongLogKeepsItsNewestLinesWithinTheLimit)
{
    auto event = ended("UBLK-LONG-001", Verdict::crash);
    event.result.observed = std::string(max_event_bytes, '\x01'); // each byte is six in JSON
    for (int i = 0; i < 40'000; ++i)
        event.result.log.push_back("line " + std::to_string(i));
    const auto line = encode(event);
    EXPECT_LE(line.size(), max_event_bytes);
    const auto back = decode(line);
    ASSERT_TRUE(back.has_value()) << back.error();
    const auto& got = std::get<CaseEnded>(*back).result;
    EXPECT_EQ(got.id, "UBLK-LONG-001");
    EXPECT_EQ(got.verdict, Verdict::crash);
    EXPECT_THAT(got.observed, testing::StartsWith("["));
    EXPECT_THAT(got.observed, HasSubstr("bytes cut]"));
    ASSERT_GT(got.log.size(), 2U);
    EXPECT_EQ(got.log.back(), event.result.log.back());
    const auto cut = event.result.log.size() - (got.log.size() - 1);
    EXPECT_EQ(got.log.front(), "[" + std::to_string(cut) + " lines cut]");
}

TEST(Event, ACaseThatJustFitsIsNotCut)
{
    auto event = ended("UBLK-LONG-002", Verdict::fail);
    event.result.log.emplace_back();
    event.result.log[0].assign(max_event_bytes - encode(event).size(), 'x');
    EXPECT_EQ(encode(event).size(), max_event_bytes);
    EXPECT_EQ(decode(encode(event)).value(), Event{event});
    event.result.log[0] += 'x';
    EXPECT_LE(encode(event).size(), max_event_bytes);
}

Measurement a_measurement(int round)
{
    return {
        .subject = "subject " + std::to_string(round), .load = "load", .metric = "IOPS", .values = {1, 2}};
}

TEST(Event, MeasurementsThatDoNotFitAreCutWholeAndTheLogSaysHowMany)
{
    auto event = ended("UBLK-LONG-003", Verdict::pass);
    for (int i = 0; i < 10'000; ++i)
        event.result.measurements.push_back(a_measurement(i));
    const auto line = encode(event);
    EXPECT_LE(line.size(), max_event_bytes);
    const auto got = std::get<CaseEnded>(decode(line).value()).result;
    ASSERT_GT(got.measurements.size(), 100U);
    for (std::size_t i = 0; i < got.measurements.size(); ++i)
        EXPECT_EQ(got.measurements[i], event.result.measurements[i]);
    EXPECT_THAT(got.log,
                ElementsAre("[" + std::to_string(10'000 - got.measurements.size()) + " measurements cut]"));
}

TEST(Event, ALongLogCostsNoMeasurement)
{
    auto event = ended("UBLK-LONG-004", Verdict::fail);
    event.result.log.assign(40'000, "a line of the log");
    for (int i = 0; i < 100; ++i)
        event.result.measurements.push_back(a_measurement(i));
    const auto got = std::get<CaseEnded>(decode(encode(event)).value()).result;
    EXPECT_EQ(got.measurements, event.result.measurements);
}

TEST(Event, AMeasurementWithAFigureThatIsNotFiniteKeepsNone)
{
    for (auto figure : {&Measurement::ratio, &Measurement::low, &Measurement::high}) {
        auto event = ended("UBLK-ODD-001", Verdict::pass);
        event.result.measurements = {a_measurement(1)};
        event.result.measurements[0].against = "loop";
        event.result.measurements[0].*figure = std::nan("");
        const auto got = std::get<CaseEnded>(decode(encode(event)).value()).result.measurements.at(0);
        EXPECT_THAT(got.values, ElementsAre());
        EXPECT_EQ(got.against, "");
        EXPECT_THAT(got.conclusion, HasSubstr("no finite number"));
    }
}

TEST(Event, MembersThatAReaderDoesNotKnowAreIgnored)
{
    const Event event = ended("UBLK-NEW-001", Verdict::pass);
    auto line = encode(event);
    line.insert(1, R"("colours":[{"red":1.5}],)");
    EXPECT_EQ(decode(line).value(), event);
}

TEST(Event, WhatCannotFitBecomesANote)
{
    const auto back = decode(encode(HarnessNote{.message = std::string(max_event_bytes, 'x')}));
    ASSERT_TRUE(back.has_value()) << back.error();
    EXPECT_THAT(std::get<HarnessNote>(*back).message, HasSubstr("left out"));
}

TEST(Event, NumbersThatJsonCannotSayBecomeZero)
{
    for (const double odd : {std::nan(""), std::numeric_limits<double>::infinity(), -1.0}) {
        const auto back = decode(encode(RunEnded{.complete = true, .seconds = odd}));
        ASSERT_TRUE(back.has_value()) << back.error();
        EXPECT_EQ(std::get<RunEnded>(*back).seconds, 0);
    }
}

TEST(Command, ReadsBackAndRefusesOthers)
{
    const RunCase command{.id = "UBLK-CTRL-ADD-004", .timeout_ms = 30'000};
    EXPECT_EQ(decode_command(encode(command)).value(), command);
    EXPECT_THAT(decode_command(R"({"command":"stop","id":"x","timeout_ms":1})").error(),
                HasSubstr("\"stop\""));
    EXPECT_THAT(decode_command(R"({"command":"run_case","id":"x"})").error(), HasSubstr("timeout_ms"));
    EXPECT_THAT(decode_command(R"({"command":"run_case","id":"x","timeout_ms":-1})").error(),
                HasSubstr("outside"));
}

TEST(Fold, CasesComeInTheOrderOfThePlanAndTheLastVerdictWins)
{
    const auto folded =
        fold(lines({RunStarted{.started = "t0", .command = "c", .planned = {"A", "B", "C"}},
                    GuestReady{.kernel = {.release = "7.3.4"}, .boot_log = {"oops"}},
                    GuestReady{.kernel = {.features = 5}, .boot_log = {"oops"}}, CaseStarted{.id = "C"},
                    ended("C", Verdict::pass), ended("X", Verdict::pass), ended("A", Verdict::hang),
                    ended("A", Verdict::pass), TimingTaken{.timing = {.what = "boot", .seconds = 2}},
                    HarnessNote{.message = "slow"}, RunEnded{.complete = true, .seconds = 9}}));
    const auto& run = folded.run;
    EXPECT_THAT(folded.damaged, ElementsAre());
    ASSERT_EQ(run.cases.size(), 3U);
    EXPECT_EQ(run.cases[0].id, "A");
    EXPECT_EQ(run.cases[0].verdict, Verdict::pass);
    EXPECT_EQ(run.cases[1].id, "C");
    EXPECT_EQ(run.cases[2].id, "X");
    EXPECT_THAT(run.missing(), ElementsAre("B"));
    EXPECT_THAT(run.unplanned(), ElementsAre("X"));
    EXPECT_EQ(run.kernel.release, "7.3.4");
    EXPECT_EQ(run.kernel.features, 5U);
    EXPECT_THAT(run.boot_log, ElementsAre("oops"));
    EXPECT_THAT(run.notes, ElementsAre("slow"));
    EXPECT_EQ(run.timings.size(), 1U);
    EXPECT_TRUE(run.complete);
    EXPECT_EQ(run.seconds, 9);
}

TEST(Fold, AResumedRunIsOneRun)
{
    const auto first = lines({RunStarted{.started = "t0", .command = "c0", .planned = {"A", "B"}},
                              ended("A", Verdict::pass), RunEnded{.complete = false, .seconds = 3}});
    EXPECT_FALSE(fold(first).run.complete);
    const auto resumed = lines({RunStarted{.started = "t1", .command = "c1", .planned = {"A", "B", "C"}}});
    EXPECT_FALSE(fold(first + resumed + lines({RunEnded{.complete = true}}) + resumed).run.complete);
    const auto run = fold(first + resumed +
                          lines({ended("C", Verdict::pass), ended("B", Verdict::pass),
                                 RunEnded{.complete = true, .seconds = 4}}))
                         .run;
    EXPECT_EQ(run.started, "t0");
    EXPECT_EQ(run.command, "c0");
    EXPECT_THAT(run.planned, ElementsAre("A", "B", "C"));
    EXPECT_EQ(run.cases.size(), 3U);
    EXPECT_EQ(run.seconds, 7);
    EXPECT_TRUE(run.complete);
    EXPECT_EQ(exit_code(run), exit_expected);
}

TEST(Fold, DamagedLinesAreNamedByNumberAndLoseOnlyThemselves)
{
    const auto a = encode(ended("A", Verdict::pass));
    const auto folded =
        fold("\n" + a + "\nrubbish\n" + encode(ended("B", Verdict::pass)) + "\n" + a.substr(0, 20));
    EXPECT_EQ(folded.run.cases.size(), 2U);
    ASSERT_EQ(folded.damaged.size(), 2U);
    EXPECT_THAT(folded.damaged[0], testing::StartsWith("line 3: "));
    EXPECT_THAT(folded.damaged[1], testing::StartsWith("line 5: "));
}

TEST(Fold, ALastLineWithoutNewlineCountsWhenItIsWhole)
{
    EXPECT_EQ(fold(encode(ended("A", Verdict::pass))).run.cases.size(), 1U);
}

RC_GTEST_PROP(Fold, TakesAnyBytes, ())
{
    const auto folded = fold(*random::bytes());
    RC_ASSERT(folded.run.cases.empty());
}

} // namespace
} // namespace reports
