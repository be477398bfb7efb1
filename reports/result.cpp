#include "reports/result.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <utility>

namespace reports {
namespace {

constexpr std::array<std::pair<Verdict, std::string_view>, all_verdicts.size()> verdict_names{{
    {Verdict::pass, "pass"},
    {Verdict::fail, "fail"},
    {Verdict::changed, "changed"},
    {Verdict::skip, "skip"},
    {Verdict::crash, "crash"},
    {Verdict::hang, "hang"},
    {Verdict::known, "known"},
    {Verdict::fixed, "fixed"},
}};

} // namespace

std::string_view to_string(Verdict verdict)
{
    for (const auto& [value, name] : verdict_names)
        if (value == verdict)
            return name;
    return "unknown";
}

std::string_view to_string(Level level)
{
    return level == Level::behaviour ? "behaviour" : "contract";
}

std::optional<Verdict> verdict_from(std::string_view text)
{
    for (const auto& [value, name] : verdict_names)
        if (name == text)
            return value;
    return std::nullopt;
}

std::optional<Level> level_from(std::string_view text)
{
    for (const Level level : {Level::contract, Level::behaviour})
        if (to_string(level) == text)
            return level;
    return std::nullopt;
}

bool is_unexpected(Verdict verdict, bool strict)
{
    switch (verdict) {
    case Verdict::pass:
    case Verdict::skip:
    case Verdict::known:
    case Verdict::fixed:
        return false;
    case Verdict::changed:
        return strict;
    case Verdict::fail:
    case Verdict::crash:
    case Verdict::hang:
        break;
    }
    return true; // also for a value that is no verdict: never let one pass
}

bool is_finite(const Measurement& measurement)
{
    const auto finite = [](double value) { return std::isfinite(value); };
    return std::ranges::all_of(measurement.values, finite) && finite(measurement.ratio) &&
           finite(measurement.low) && finite(measurement.high);
}

int RunResult::count(Verdict verdict) const
{
    return static_cast<int>(std::ranges::count(cases, verdict, &CaseResult::verdict));
}

bool RunResult::has_unexpected() const
{
    return std::ranges::any_of(cases, [&](const CaseResult& c) { return is_unexpected(c.verdict, strict); });
}

std::vector<std::string> RunResult::missing() const
{
    std::unordered_set<std::string_view> judged;
    for (const auto& c : cases)
        judged.insert(c.id);
    std::vector<std::string> ids;
    std::ranges::copy_if(planned, std::back_inserter(ids),
                         [&](const std::string& id) { return !judged.contains(id); });
    return ids;
}

std::vector<std::string> RunResult::unplanned() const
{
    const std::unordered_set<std::string_view> wanted{planned.begin(), planned.end()};
    std::vector<std::string> ids;
    for (const auto& c : cases)
        if (!wanted.contains(c.id))
            ids.push_back(c.id);
    return ids;
}

int exit_code(const RunResult& run)
{
    if (run.cases.empty())
        return exit_no_run;
    const bool whole = run.complete && run.missing().empty() && run.unplanned().empty() &&
                       run.cases.size() == run.planned.size();
    return whole && !run.has_unexpected() ? exit_expected : exit_unexpected;
}

} // namespace reports
