#include "perf/comparison.hpp"

#include "perf/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace perf {

namespace {

const std::vector<double>* values_of(const Plan& plan, const Values& values, std::string_view name)
{
    for (std::size_t i = 0; i < plan.subjects.size() && i < values.size(); ++i)
        if (plan.subjects[i].name == name)
            return &values[i];
    return nullptr;
}

void compare(reports::Measurement& m, std::string_view against, const std::vector<double>& base)
{
    const auto by_round = ratios(m.values, base);
    if (by_round.empty())
        return;
    const auto interval = median_interval(by_round, interval_confidence);
    m.against = against;
    m.ratio = median(by_round);
    m.low = interval.low;
    m.high = interval.high;
}

// What a subject of a comparison is compared with: of those in `against`, the one with its backend.
bool comparable(const Plan& plan, const Subject& subject, std::string_view against)
{
    if (subject.name == against)
        return false;
    if (!plan.compare)
        return true;
    const auto base = std::ranges::find(plan.subjects, against, &Subject::name);
    return base != plan.subjects.end() && base->backend == subject.backend;
}

Conclusion difference(double ratio, bool less)
{
    const double cost = less ? ratio : 1 / ratio; // of B, in those of A
    return {cost > 1 ? Change::slower : Change::faster,
            fmt::format("{:.1f} % {}", 100 * std::abs(cost - 1), cost > 1 ? "slower" : "faster")};
}

} // namespace

std::string metric(const Load& load, bool exact)
{
    if (exact)
        return "instructions per I/O";
    return load.random ? "IOPS" : "MiB/s";
}

bool less_is_better(std::string_view metric)
{
    return metric != "IOPS" && metric != "MiB/s";
}

std::vector<reports::Measurement> measurements(const Plan& plan, const Load& load, const Values& values)
{
    std::vector<reports::Measurement> result;
    for (std::size_t i = 0; i < plan.subjects.size() && i < values.size(); ++i) {
        const auto& subject = plan.subjects[i];
        const reports::Measurement plain{.subject = subject.name,
                                         .load = std::string(load.title),
                                         .metric = metric(load, plan.exact),
                                         .values = values[i]};
        auto bases = subject.repeats.empty() ? plan.against : std::vector{subject.repeats};
        std::erase_if(bases, [&](const auto& base) { return !comparable(plan, subject, base); });
        if (bases.empty())
            result.push_back(plain);
        for (const auto& base : bases) {
            result.push_back(plain);
            if (const auto* of_base = values_of(plan, values, base))
                compare(result.back(), base, *of_base);
        }
    }
    return result;
}

namespace {

bool is_repeat(const Plan& plan, const reports::Measurement& m)
{
    return std::ranges::any_of(plan.subjects, [&](const auto& subject) {
        return subject.name == m.subject && !subject.repeats.empty() && subject.repeats == m.against;
    });
}

} // namespace

double noise_of(const std::vector<reports::Measurement>& measured)
{
    double noise = 0;
    for (const auto& m : measured)
        if (!m.against.empty())
            noise = std::max({noise, std::abs(m.low - 1), std::abs(m.high - 1)});
    return noise;
}

Conclusion conclude_noisy(const reports::Measurement& measured, double noise)
{
    const bool inside = measured.low <= 1 && measured.high >= 1;
    if (inside || std::abs(measured.ratio - 1) <= noise)
        return {Change::none, "no difference"};
    return difference(measured.ratio, less_is_better(measured.metric));
}

Conclusion conclude_exact(const reports::Measurement& measured, double gate)
{
    if (measured.ratio == 1 && measured.low == 1 && measured.high == 1)
        return {Change::none, "equal"};
    if (measured.metric == calls_per_io || measured.metric == switches_per_io)
        return {};
    constexpr double server_gate = 0.05;
    if (std::abs(measured.ratio - 1) <= (measured.metric == server_per_io ? server_gate : gate))
        return {Change::none, "no difference"};
    return difference(measured.ratio, less_is_better(measured.metric));
}

std::optional<std::string> conclude(const Plan& plan, const Load& load,
                                    std::vector<reports::Measurement>& measured)
{
    std::vector<reports::Measurement> repeats;
    std::ranges::copy_if(measured, std::back_inserter(repeats),
                         [&](const auto& m) { return is_repeat(plan, m); });
    const double noise = noise_of(repeats);
    std::vector<std::string> slower;
    for (auto& m : measured) {
        if (m.against.empty())
            continue;
        if (is_repeat(plan, m)) {
            m.conclusion = fmt::format("A/A, noise {:.1f} %", 100 * noise);
            continue;
        }
        if (!plan.compare)
            continue;
        const auto conclusion = plan.exact ? conclude_exact(m, load.exact_gate) : conclude_noisy(m, noise);
        m.conclusion = conclusion.text;
        if (conclusion.change == Change::slower)
            slower.push_back(fmt::format("{} is {} than {}", m.subject, conclusion.text, m.against));
    }
    if (slower.empty())
        return std::nullopt;
    return fmt::format("{}", fmt::join(slower, "; "));
}

std::vector<reports::Measurement> pair_up(const Load& load, std::string_view a, std::string_view b,
                                          const std::vector<reports::Measurement>& of_a,
                                          const std::vector<reports::Measurement>& of_b)
{
    std::vector<reports::Measurement> result;
    for (const auto& from_a : of_a) {
        const auto from_b = std::ranges::find_if(
            of_b, [&](const auto& m) { return m.subject == from_a.subject && m.metric == from_a.metric; });
        if (from_b == of_b.end())
            continue;
        auto first = from_a, second = *from_b;
        first.subject = fmt::format("{} {}", a, from_a.subject);
        second.subject = fmt::format("{} {}", b, from_a.subject);
        const auto by_round = ratios(second.values, first.values);
        if (!by_round.empty()) {
            const auto [low, high] = std::ranges::minmax(by_round);
            second.against = first.subject;
            // Of the medians and not the median: a repetition that a timer's tick moved counts on one side
            // only.
            second.ratio = median(second.values) / median(first.values);
            second.low = low;
            second.high = high;
            second.conclusion = conclude_exact(second, load.exact_gate).text;
        }
        result.push_back(std::move(first));
        result.push_back(std::move(second));
    }
    return result;
}

} // namespace perf
