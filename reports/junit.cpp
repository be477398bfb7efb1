#include "reports/junit.hpp"

#include "reports/text.hpp"

#include <fmt/format.h>
#include <pugixml.hpp>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <vector>

namespace reports {
namespace {

struct Tally {
    std::size_t tests = 0, failures = 0, errors = 0, skipped = 0;
    double milliseconds = 0; // a sum of any number of 64-bit durations

    void operator+=(const Tally& other)
    {
        tests += other.tests;
        failures += other.failures;
        errors += other.errors;
        skipped += other.skipped;
        milliseconds += other.milliseconds;
    }
};

void set(pugi::xml_node node, const char* name, std::string_view value)
{
    node.append_attribute(name).set_value(xml_text(value).c_str());
}

std::string seconds(double milliseconds)
{
    return fmt::format("{:.3f}", milliseconds / 1000);
}

void set(pugi::xml_node node, const Tally& tally)
{
    set(node, "tests", fmt::format("{}", tally.tests));
    set(node, "failures", fmt::format("{}", tally.failures));
    set(node, "errors", fmt::format("{}", tally.errors));
    set(node, "skipped", fmt::format("{}", tally.skipped));
    set(node, "time", seconds(tally.milliseconds));
}

void add_text(pugi::xml_node node, std::string_view text)
{
    node.append_child(pugi::node_pcdata).set_value(xml_text(text).c_str());
}

std::string details(const CaseResult& c)
{
    auto text = fmt::format("expected: {}\nobserved: {}\n", c.expected, c.observed);
    if (!c.reason.empty())
        text += fmt::format("reason: {}\n", c.reason);
    if (!c.again.empty())
        text += fmt::format("again: {}\n", c.again);
    return text;
}

void add_problem(pugi::xml_node node, const char* element, const CaseResult& c)
{
    auto problem = node.append_child(element);
    set(problem, "type", to_string(c.verdict));
    set(problem, "message", fmt::format("expected {}, got {}", c.expected, c.observed));
    add_text(problem, details(c));
}

Tally add_case(pugi::xml_node suite, const CaseResult& c, bool strict)
{
    auto node = suite.append_child("testcase");
    set(node, "classname", c.suite);
    set(node, "name", c.title.empty() ? c.id : fmt::format("{} {}", c.id, c.title));
    Tally tally{.tests = 1, .milliseconds = static_cast<double>(c.duration_ms)};
    set(node, "time", seconds(tally.milliseconds));
    std::string output;
    if (c.verdict == Verdict::crash || c.verdict == Verdict::hang) {
        add_problem(node, "error", c);
        tally.errors = 1;
    } else if (is_unexpected(c.verdict, strict)) {
        add_problem(node, "failure", c);
        tally.failures = 1;
    } else if (c.verdict == Verdict::skip || c.verdict == Verdict::known) {
        const std::string_view prefix = c.verdict == Verdict::known ? "known: " : "";
        set(node.append_child("skipped"), "message", fmt::format("{}{}", prefix, c.reason));
        tally.skipped = 1;
    } else if (c.verdict != Verdict::pass) {
        output = fmt::format("{}\n{}", to_string(c.verdict), details(c));
    }
    for (const auto& line : c.log)
        output += line + "\n";
    if (!output.empty())
        add_text(node.append_child("system-out"), output);
    return tally;
}

void add_properties(pugi::xml_node suite, const RunResult& run)
{
    auto properties = suite.append_child("properties");
    const auto add = [&](const char* name, std::string_view value) {
        auto property = properties.append_child("property");
        set(property, "name", name);
        set(property, "value", value);
    };
    add("kernel.release", run.kernel.release);
    add("kernel.features", fmt::format("{:#x}", run.kernel.features));
    add("machine", run.machine);
    add("command", run.command);
}

Tally add_suite(pugi::xml_node root, const RunResult& run, const std::string& name,
                const std::vector<CaseResult>& cases)
{
    auto suite = root.append_child("testsuite");
    set(suite, "name", name);
    if (!run.started.empty())
        set(suite, "timestamp", run.started);
    add_properties(suite, run);
    Tally tally;
    for (const auto& c : cases)
        if (c.suite == name)
            tally += add_case(suite, c, run.strict);
    set(suite, tally);
    return tally;
}

} // namespace

std::string junit(const RunResult& run)
{
    pugi::xml_document document;
    auto root = document.append_child("testsuites");
    set(root, "name", "ublkcheck");
    std::vector<std::string> suites;
    for (const auto& c : run.cases)
        if (std::ranges::find(suites, c.suite) == suites.end())
            suites.push_back(c.suite);
    Tally all;
    for (const auto& suite : suites)
        all += add_suite(root, run, suite, run.cases);

    std::vector<CaseResult> unfinished;
    for (const auto& id : run.missing()) {
        auto& c = unfinished.emplace_back();
        c.id = id;
        c.suite = "unfinished";
        c.verdict = Verdict::hang;
        c.expected = "a verdict";
        c.observed = "none: the run ended before this case did";
    }
    if (!unfinished.empty())
        all += add_suite(root, run, "unfinished", unfinished);
    set(root, all);

    std::ostringstream out;
    document.save(out, "  ", pugi::format_default, pugi::encoding_utf8);
    return out.str();
}

} // namespace reports
