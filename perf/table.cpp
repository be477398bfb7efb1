#include "perf/table.hpp"

#include "perf/comparison.hpp"
#include "perf/statistics.hpp"
#include "reports/text.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>
#include <vector>

namespace perf {

namespace {

using reports::Measurement;

std::string number(const Measurement& m)
{
    const double value = median(m.values);
    const bool few = m.metric == calls_per_io || m.metric == switches_per_io;
    return fmt::format("{:.{}f}", value, m.metric == "IOPS" ? 0 : few ? 3 : 1);
}

std::string ratio(const Measurement& m)
{
    return m.against.empty() ? "" : fmt::format("{:.3f}", m.ratio);
}

std::string interval(const Measurement& m)
{
    return m.against.empty() ? "" : fmt::format("{:.3f} to {:.3f}", m.low, m.high);
}

// A second instance is not one more column: its ratio is noise.
bool is_repeat(const Measurement& m)
{
    return m.conclusion.starts_with("A/A");
}

std::vector<std::string> bases_of(const std::vector<Measurement>& measured)
{
    std::vector<std::string> bases;
    for (const auto& m : measured)
        if (!m.against.empty() && !is_repeat(m) && std::ranges::find(bases, m.against) == bases.end())
            bases.push_back(m.against);
    return bases;
}

const Measurement* of(const std::vector<Measurement>& measured, std::string_view subject,
                      std::string_view against)
{
    const auto found = std::ranges::find_if(
        measured, [&](const auto& m) { return m.subject == subject && m.against == against; });
    return found == measured.end() ? nullptr : &*found;
}

std::vector<std::string> metrics_of(const std::vector<Measurement>& measured)
{
    std::vector<std::string> metrics;
    for (const auto& m : measured)
        if (std::ranges::find(metrics, m.metric) == metrics.end())
            metrics.push_back(m.metric);
    return metrics;
}

std::string trimmed(std::string line)
{
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
}

// What was counted besides, in the columns' order.
constexpr std::array<std::pair<std::string_view, const char*>, 3> more_columns{
    {{server_per_io, "server"}, {calls_per_io, "syscalls"}, {switches_per_io, "switches"}}};

const Measurement* of_metric(const std::vector<Measurement>& measured, std::string_view subject,
                             std::string_view metric)
{
    const auto found = std::ranges::find_if(
        measured, [&](const auto& m) { return m.subject == subject && m.metric == metric; });
    return found == measured.end() ? nullptr : &*found;
}

std::string load_table(const std::vector<Measurement>& measured)
{
    const auto bases = bases_of(measured);
    std::vector<std::string_view> more;
    std::string line = fmt::format("{:<32}{:>21}{:>9}", reports::plain(measured.front().load),
                                   measured.front().metric, "spread");
    for (const auto& [metric, head] : more_columns)
        if (std::ranges::find(measured, metric, &Measurement::metric) != measured.end()) {
            more.push_back(metric);
            line += fmt::format("{:>10}", head);
        }
    for (const auto& base : bases)
        line += fmt::format("{:>14}", "to " + base);
    std::string text = trimmed(line);
    std::string last;
    for (const auto& m : measured) {
        if (m.subject == last || m.metric != measured.front().metric)
            continue;
        last = m.subject;
        line = fmt::format("  {:<30}{:>21}{:>8.1f}%", reports::plain(m.subject), number(m),
                           100 * spread(m.values));
        for (const auto& metric : more) {
            const auto* counted = of_metric(measured, m.subject, metric);
            const double value = counted != nullptr ? median(counted->values) : 0;
            line += counted == nullptr ? fmt::format("{:>10}", "")
                                       : fmt::format("{:>10.{}f}", value, metric == server_per_io ? 1 : 3);
        }
        if (is_repeat(m))
            line += fmt::format("   to itself {}: {}", ratio(m), m.conclusion);
        else
            for (const auto& base : bases) {
                const auto* compared = of(measured, m.subject, base);
                line += fmt::format("{:>14}", compared != nullptr ? ratio(*compared) : "");
            }
        text += trimmed(line);
    }
    return text;
}

} // namespace

std::string run_table(const reports::RunResult& run)
{
    std::string text;
    for (const auto& result : run.cases)
        if (!result.measurements.empty())
            text += (text.empty() ? "" : "\n") + load_table(result.measurements);
    return text;
}

std::string compare_table(const reports::RunResult& run)
{
    std::string text;
    for (const auto& result : run.cases) {
        if (result.measurements.empty())
            continue;
        const auto& measured = result.measurements;
        text += text.empty() ? "" : "\n";
        std::string first = reports::plain(measured.front().load);
        for (const auto& metric : metrics_of(measured)) {
            text += trimmed(fmt::format("{:<30}{:>28}{:>9}  {:<16}", std::exchange(first, ""), metric,
                                        "ratio", "interval"));
            for (const auto& m : measured)
                if (m.metric == metric)
                    text += trimmed(fmt::format("  {:<28}{:>28}{:>9}  {:<16}  {}", reports::plain(m.subject),
                                                number(m), ratio(m), interval(m), m.conclusion));
        }
    }
    return text;
}

} // namespace perf
