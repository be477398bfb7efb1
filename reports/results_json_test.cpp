#include "reports/results_json.hpp"

#include "reports/event.hpp"
#include "reports/random_result.hpp"
#include "reports/sample_run.hpp"
#include "reports/schema_check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace reports {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

std::string error_of(const Json& json)
{
    const auto run = read_results_json(json.dump());
    return run ? "read" : run.error();
}

RC_GTEST_PROP(ResultsJson, ReadsBackAsItWasWritten, ())
{
    const auto run = random::run();
    const auto text = results_json(run);
    const auto back = read_results_json(text);
    RC_ASSERT(back.has_value());
    RC_ASSERT(*back == run);
    RC_ASSERT(results_json(*back) == text);
}

RC_GTEST_PROP(ResultsJson, IsWhatTheSchemaSays, ())
{
    RC_ASSERT(violation(Json::parse(results_json(random::run())), "results.schema.json") == "");
}

RC_GTEST_PROP(ResultsJson, AnyBytesAreAResultOrASentence, ())
{
    auto text = results_json(random::run());
    text[*rc::gen::inRange<std::size_t>(0, text.size())] = *rc::gen::arbitrary<char>();
    const auto run = read_results_json(text);
    RC_ASSERT(run.has_value() || !run.error().empty());
    RC_ASSERT(!read_results_json(*random::bytes()).has_value());
}

RC_GTEST_PROP(ResultsJson, ATruncatedFileIsAnError, ())
{
    const auto text = results_json(random::run());
    const auto whole = text.size() - 1; // the last byte is a newline
    RC_ASSERT(!read_results_json(std::string_view{text}.substr(0, *rc::gen::inRange<std::size_t>(0, whole))));
}

RC_GTEST_PROP(EventSchema, EveryEventIsWhatTheSchemaSays, ())
{
    RC_ASSERT(violation(Json::parse(encode(random::event())), "events.schema.json") == "");
}

// What other tools were promised, spelled out once, apart from the schema file.
TEST(ResultsJson, HasTheMembersThatOtherToolsRead)
{
    const auto json = Json::parse(results_json(sample_run()));
    EXPECT_EQ(json.at("schema"), schema_version);
    EXPECT_EQ(json.at("kernel").at("release"), "7.3.4+deb13-amd64");
    EXPECT_TRUE(json.at("kernel").at("features").is_number_unsigned());
    EXPECT_EQ(json.at("summary").at("planned"), 10);
    for (const Verdict verdict : all_verdicts)
        EXPECT_EQ(json.at("summary").at(std::string{to_string(verdict)}), 1);
    ASSERT_EQ(json.at("cases").size(), all_verdicts.size());
    for (const auto& c : json.at("cases")) {
        for (const auto* name : {"id", "level", "verdict", "duration_ms"})
            EXPECT_TRUE(c.contains(name)) << name;
        for (const auto* name : {"expected", "observed", "log", "again"})
            EXPECT_EQ(c.contains(name), c.at("verdict") != "pass") << name;
    }
}

TEST(ResultsJson, TheEmptyTextsOfAFailureAreWrittenToo)
{
    RunResult run;
    run.cases.push_back({.id = "UBLK-T-001", .verdict = Verdict::fail});
    const auto c = Json::parse(results_json(run)).at("cases").at(0);
    EXPECT_EQ(c.at("expected"), "");
    EXPECT_EQ(c.at("observed"), "");
    EXPECT_EQ(c.at("again"), "");
    EXPECT_EQ(c.at("log"), Json::array());
}

// The schema file and the reader are two statements of one rule: take away each required member in turn.
void expect_each_required(const Json& whole, const Json::json_pointer& at, const Json& names)
{
    for (const auto& name : names) {
        auto less = whole;
        less.at(at).erase(name.get<std::string>());
        EXPECT_THAT(error_of(less), HasSubstr("no " + name.dump())) << at;
        EXPECT_THAT(violation(less, "results.schema.json"), HasSubstr("no " + name.dump())) << at;
    }
}

TEST(ResultsJson, ReaderAndSchemaRequireTheSame)
{
    const auto whole = Json::parse(results_json(sample_run()));
    ASSERT_EQ(error_of(whole), "read");
    const auto& rules = schema("results.schema.json");
    expect_each_required(whole, Json::json_pointer{""}, rules.at("required"));
    for (const auto& [name, at] : {std::pair{"kernel", "/kernel"},
                                   {"summary", "/summary"},
                                   {"timing", "/timings/0"},
                                   {"measurement", "/cases/0/measurements/0"},
                                   {"case", "/cases/1"}})
        expect_each_required(whole, Json::json_pointer{at}, rules.at("$defs").at(name).at("required"));
    expect_each_required(whole, Json::json_pointer{"/cases/0/measurements/0"},
                         rules.at("/$defs/measurement/dependentRequired/against"_json_pointer));
    expect_each_required(whole, Json::json_pointer{"/cases/1"},
                         rules.at("/$defs/case/else/required"_json_pointer));
}

TEST(ResultsJson, ReaderAndSchemaRefuseTheSameValues)
{
    const auto whole = Json::parse(results_json(sample_run()));
    for (const auto& [at, value] : std::vector<std::pair<std::string, Json>>{
             {"/schema", 2},
             {"/seconds", -1},
             {"/complete", "yes"},
             {"/kernel", nullptr},
             {"/kernel/features", -1},
             {"/kernel/features", "0x3"},
             {"/kernel/feature_names/0", 3},
             {"/summary/pass", 1.5},
             {"/planned", "all"},
             {"/cases", Json::object()},
             {"/cases/0", 1},
             {"/cases/0/id", ""},
             {"/cases/0/level", "rule"},
             {"/cases/0/verdict", "ok"},
             {"/cases/0/duration_ms", -5},
             {"/cases/0/worker", -2},
             {"/cases/1/log", "text"},
             {"/timings/0/seconds", "3 s"},
             {"/cases/0/measurements", Json::object()},
             {"/cases/0/measurements/0/values", 7},
             {"/cases/0/measurements/0/values/0", "7"},
             {"/cases/0/measurements/0/against", ""},
             {"/cases/0/measurements/0/ratio", nullptr},
         }) {
        auto odd = whole;
        odd.at(Json::json_pointer{at}) = value;
        EXPECT_NE(error_of(odd), "read") << at;
        EXPECT_NE(violation(odd, "results.schema.json"), "") << at;
    }
}

TEST(ResultsJson, MembersThatAReaderDoesNotKnowAreIgnored)
{
    auto json = Json::parse(results_json(sample_run()));
    json["colour"] = "red";
    json["kernel"]["colour"] = "red";
    json["cases"][0]["colours"] = {{{"red", 1.5}}};
    json["cases"][0]["measurements"][0]["colour"] = nullptr;
    EXPECT_EQ(read_results_json(json.dump()).value(), read_results_json(results_json(sample_run())).value());
}

TEST(ResultsJson, ErrorsSayWhere)
{
    auto json = Json::parse(results_json(sample_run()));
    json["cases"][2]["verdict"] = "maybe";
    EXPECT_EQ(error_of(json), "\"verdict\" of item 3 of \"cases\" is \"maybe\", which is no verdict");
}

TEST(ResultsJson, ASummaryThatDoesNotAddUpIsAnError)
{
    auto json = Json::parse(results_json(sample_run()));
    json["cases"].erase(1);
    EXPECT_THAT(error_of(json), HasSubstr("says 1 fail, the lists hold 0"));
}

TEST(IndexJson, ReadsBackAndIsWhatTheSchemaSays)
{
    const std::vector runs{index_entry("2026-11-23T101500-7.3.4", sample_run()),
                           index_entry("empty", RunResult{})};
    const auto text = index_json(runs);
    EXPECT_EQ(read_index_json(text).value(), runs);
    EXPECT_EQ(violation(Json::parse(text), "index.schema.json"), "");
    const auto first = Json::parse(text).at("runs").at(0);
    EXPECT_EQ(first.at("exit"), exit_unexpected);
    EXPECT_EQ(first.at("summary").at("planned"), 10);
    EXPECT_EQ(first.at("summary").at("crash"), 1);

    auto less = Json::parse(text);
    less["runs"][1].erase("folder");
    EXPECT_THAT(read_index_json(less.dump()).error(), HasSubstr("item 2 of \"runs\" has no \"folder\""));
    EXPECT_NE(violation(less, "index.schema.json"), "");
}

TEST(IndexJson, AnUnexpectedVerdictOutweighsAKernelThatWasNotJudged)
{
    const auto with = [](std::initializer_list<int> codes) {
        std::vector<IndexEntry> runs;
        for (const int code : codes)
            runs.push_back({.exit = code});
        return exit_code(runs);
    };
    EXPECT_EQ(with({}), exit_no_run);
    EXPECT_EQ(with({0, 0}), exit_expected);
    EXPECT_EQ(with({0, 3}), exit_no_run);
    EXPECT_EQ(with({3, 1, 0}), exit_unexpected);
}

} // namespace
} // namespace reports
