#include "reports/ktap.hpp"

#include "reports/text.hpp"

#include <fmt/format.h>

#include <iterator>
#include <string_view>

namespace reports {
namespace {

// A parser ends the description at the first "#".
std::string described(std::string_view id, std::string_view title)
{
    std::string text;
    for (const char c : plain(title.empty() ? std::string{id} : fmt::format("{} {}", id, title)))
        if (c == '#')
            text += "(hash)";
        else
            text += c;
    return text;
}

void diagnose(std::string& out, std::string_view label, std::string_view text)
{
    for (const auto& line : plain_lines(text)) {
        fmt::format_to(std::back_inserter(out), "# {}{}\n", label, line);
        label = {};
    }
}

// What follows the description: a directive of the specification, or diagnostic data.
std::string directive(const CaseResult& c, bool strict)
{
    const auto with = [](std::string_view name, std::string_view text) {
        return text.empty() ? fmt::format(" # {}", name) : fmt::format(" # {} {}", name, plain(text));
    };
    switch (c.verdict) {
    case Verdict::skip:
        return with("SKIP", c.reason);
    case Verdict::crash:
        return with("ERROR", c.observed);
    case Verdict::hang:
        return with("TIMEOUT", c.observed);
    case Verdict::known:
        return with("known:", c.reason);
    case Verdict::fixed:
        return with("fixed:", c.reason);
    case Verdict::changed:
        return strict ? std::string{} : with("changed:", c.observed);
    case Verdict::pass:
    case Verdict::fail:
        break;
    }
    return {};
}

void add_case(std::string& out, std::size_t number, const CaseResult& c, bool strict)
{
    if (c.verdict != Verdict::pass && c.verdict != Verdict::skip) {
        diagnose(out, "expected: ", c.expected);
        diagnose(out, "observed: ", c.observed);
        diagnose(out, "again: ", c.again);
        for (const auto& line : c.log)
            diagnose(out, "", line);
    }
    fmt::format_to(std::back_inserter(out), "{} {} {}{}\n",
                   is_unexpected(c.verdict, strict) ? "not ok" : "ok", number, described(c.id, c.title),
                   directive(c, strict));
}

} // namespace

std::string ktap(const RunResult& run)
{
    const auto missing = run.missing();
    auto out = fmt::format("KTAP version 1\n1..{}\n", run.cases.size() + missing.size());
    diagnose(out, "kernel: ", run.kernel.release);
    diagnose(out, "machine: ", run.machine);
    diagnose(out, "started: ", run.started);
    for (const auto& line : run.boot_log)
        diagnose(out, "boot: ", line);
    std::size_t number = 0;
    for (const auto& c : run.cases)
        add_case(out, ++number, c, run.strict);
    for (const auto& id : missing)
        fmt::format_to(std::back_inserter(out),
                       "not ok {} {} # ERROR planned, but the run ended without a verdict\n", ++number,
                       described(id, ""));
    return out;
}

} // namespace reports
