#include "conformance/ublkcheck/plan.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>
#include <optional>
#include <set>

namespace conformance {

namespace {

bool matches(const std::string& glob, const std::string& id)
{
    return ::fnmatch(glob.c_str(), id.c_str(), FNM_CASEFOLD) == 0;
}

struct Shard {
    unsigned index = 0, of = 1; // index from 0
};

std::optional<Shard> parse_shard(const std::string& text)
{
    Shard shard;
    const char* end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, shard.index);
    if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '/')
        return std::nullopt;
    const auto second = std::from_chars(first.ptr + 1, end, shard.of);
    if (second.ec != std::errc{} || second.ptr != end || shard.index < 1 || shard.index > shard.of)
        return std::nullopt;
    --shard.index;
    return shard;
}

std::set<std::string> suite_names()
{
    std::set<std::string> names;
    for (const auto& c : all_cases())
        names.insert(c.suite);
    return names;
}

} // namespace

std::expected<std::vector<const Case*>, std::string> plan_cases(const PlanOptions& options)
{
    const auto suites = suite_names();
    for (const auto& suite : options.suites) {
        if (!suites.contains(suite))
            return std::unexpected(
                fmt::format("there is no suite '{}'; there are {}", suite, fmt::join(suites, ", ")));
    }
    const auto in_suites = [&](const Case& c) {
        return options.suites.empty() ? !c.hidden || !options.cases.empty()
                                      : std::ranges::find(options.suites, c.suite) != options.suites.end();
    };
    for (const auto& glob : options.cases) {
        if (std::ranges::none_of(all_cases(),
                                 [&](const Case& c) { return in_suites(c) && matches(glob, c.id); }))
            return std::unexpected(fmt::format("no case matches '{}'; `ublkcheck list` shows the ids", glob));
    }
    Shard shard;
    if (!options.shard.empty()) {
        const auto parsed = parse_shard(options.shard);
        if (!parsed)
            return std::unexpected(
                fmt::format("'{}' is no shard; give i/n with 1 <= i <= n, such as 2/5", options.shard));
        shard = *parsed;
    }
    std::vector<const Case*> plan;
    unsigned position = 0;
    for (const auto& c : all_cases()) {
        const bool named = options.cases.empty() || std::ranges::any_of(options.cases, [&](const auto& glob) {
                               return matches(glob, c.id);
                           });
        // A glob such as * is not meant to wake the hidden suite; a name is.
        const bool woken = !c.hidden || !options.suites.empty() ||
                           std::ranges::find(options.cases, c.id) != options.cases.end();
        if (!named || !in_suites(c) || !woken)
            continue;
        if (position++ % shard.of == shard.index)
            plan.push_back(&c);
    }
    if (plan.empty())
        return std::unexpected(
            "no case is left to run: the globs name only hidden ones, or the shard is empty");
    return plan;
}

} // namespace conformance
