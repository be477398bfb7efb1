#include "perf/counts.hpp"

#include "perf/comparison.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sstream>

namespace perf {

std::expected<std::vector<UserWork>, std::string> read_user_work(std::string_view text)
{
    std::vector<UserWork> result;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        UserWork interval;
        std::string more;
        if (!(words >> interval.server >> interval.load >> interval.system_calls) || words >> more)
            return std::unexpected(fmt::format("\"{}\" is no interval of counts", line));
        result.push_back(interval);
    }
    return result;
}

namespace {

// The load that a result is of; nullptr for one that measured something else, or nothing.
const Load* load_of(const reports::CaseResult& result)
{
    const auto found = std::ranges::find_if(loads(), [&](const auto& l) { return case_id(l) == result.id; });
    return result.measurements.empty() || found == loads().end() ? nullptr : &*found;
}

void add_counts_of_a_case(const Plan& plan, const Load& load, std::span<const UserWork> intervals,
                          std::vector<reports::Measurement>& measurements)
{
    for (std::size_t subject = 0; subject < plan.subjects.size(); ++subject) {
        const reports::Measurement plain{.subject = plan.subjects[subject].name,
                                         .load = std::string(load.title)};
        auto server = plain, calls = plain;
        server.metric = server_per_io;
        calls.metric = calls_per_io;
        for (std::size_t i = 0; i < intervals.size(); ++i) {
            const auto round = static_cast<unsigned>(i / plan.subjects.size());
            if (in_turn(plan, round, i % plan.subjects.size()) != subject)
                continue;
            server.values.push_back(static_cast<double>(intervals[i].server) / load.exact_ios);
            calls.values.push_back(static_cast<double>(intervals[i].system_calls) / load.exact_ios);
        }
        measurements.push_back(std::move(server));
        measurements.push_back(std::move(calls));
    }
}

} // namespace

std::expected<void, std::string> add_counts(const Plan& plan, std::span<reports::CaseResult> results,
                                            std::span<const UserWork> intervals)
{
    const std::size_t of_a_case = plan.rounds * plan.subjects.size();
    const auto cases = static_cast<std::size_t>(
        std::ranges::count_if(results, [](const auto& result) { return load_of(result) != nullptr; }));
    if (intervals.size() != cases * of_a_case)
        return std::unexpected(fmt::format("{} cases of {} measurements each, and {} intervals were counted",
                                           cases, of_a_case, intervals.size()));
    for (auto& result : results)
        if (const auto* load = load_of(result)) {
            add_counts_of_a_case(plan, *load, intervals.first(of_a_case), result.measurements);
            intervals = intervals.subspan(of_a_case);
        }
    return {};
}

} // namespace perf
