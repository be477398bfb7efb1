#include "reports/html_tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string_view>
#include <utility>

namespace reports {
namespace {

using page::add;
using page::Node;

// In the order in which each key comes first: a plan's order means something, that of names does not.
template <typename Value>
using Groups = std::vector<std::pair<std::string, std::vector<Value>>>;

template <typename Value>
std::vector<Value>& group_of(Groups<Value>& groups, const std::string& key)
{
    const auto found = std::ranges::find(groups, key, &Groups<Value>::value_type::first);
    return found != groups.end() ? found->second : groups.emplace_back(key, std::vector<Value>{}).second;
}

// "CTRL-ADD" of "UBLK-CTRL-ADD-004".
std::string area_of(std::string_view id)
{
    if (id.starts_with("UBLK-"))
        id.remove_prefix(5);
    const auto dash = id.rfind('-');
    return std::string{dash == std::string_view::npos ? id : id.substr(0, dash)};
}

void add_number(Node row, std::string_view text)
{
    add(row, "td", text, "number");
}

void add_group_heading(Node body, std::string_view text, std::size_t columns)
{
    auto heading = add(add(body, "tr", {}, "group"), "th", text);
    page::set(heading, "colspan", fmt::format("{}", columns));
    page::set(heading, "scope", "rowgroup");
}

Node add_row_heading(Node row, std::string_view text)
{
    auto heading = add(row, "th", text);
    page::set(heading, "scope", "row");
    return heading;
}

double median(std::vector<double> values)
{
    std::ranges::sort(values);
    const auto middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : std::midpoint(values[middle - 1], values[middle]);
}

// Whole numbers stay whole; else five digits or more are shown.
int decimals_of(const std::vector<double>& values, double middle)
{
    if (std::ranges::all_of(values, [](double v) { return v == std::trunc(v); }) &&
        middle == std::trunc(middle))
        return 0;
    const double size = std::abs(middle);
    return size >= 10'000 ? 0 : size >= 1000 ? 1 : size >= 10 ? 2 : 4;
}

constexpr std::array<std::string_view, 8> measurement_columns{
    "Subject", "Median", "Least to most", "Rounds", "Ratio", "Interval", "To", "Conclusion"};

void add_measurement(Node body, const Measurement& m)
{
    auto row = body.append_child("tr");
    add_row_heading(row, m.subject);
    if (m.values.empty()) {
        add_number(row, "none");
        add_number(row, "");
    } else {
        const auto middle = median(m.values);
        const auto [least, most] = std::ranges::minmax(m.values);
        const auto decimals = decimals_of(m.values, middle);
        add_number(row, page::grouped(middle, decimals));
        add_number(row,
                   fmt::format("{} – {}", page::grouped(least, decimals), page::grouped(most, decimals)));
    }
    add_number(row, fmt::format("{}", m.values.size()));
    const bool compared = !m.against.empty();
    add_number(row, compared ? page::grouped(m.ratio, 4) : "");
    add_number(row,
               compared ? fmt::format("{} – {}", page::grouped(m.low, 4), page::grouped(m.high, 4)) : "");
    add(row, "td", m.against, "words");
    add(row, "td", m.conclusion, "words");
}

void mark_numbers(Node table, std::size_t first, std::size_t last)
{
    std::size_t at = 0;
    for (Node column : table.child("thead").child("tr").children()) {
        if (at >= first && at <= last)
            page::set(column, "class", "number");
        ++at;
    }
}

} // namespace

std::string case_anchor(std::size_t number)
{
    return fmt::format("case-{}", number + 1);
}

void add_verdict(Node parent, Verdict verdict)
{
    const auto style = fmt::format("verdict {}", to_string(verdict));
    add(parent, "span", to_string(verdict), style.c_str());
}

void add_all_cases(Node section, const RunResult& run,
                   const std::function<bool(const CaseResult&)>& has_article)
{
    constexpr std::array<std::string_view, 4> columns{"Case", "Rule", "Verdict", "Duration"};
    Groups<std::size_t> groups;
    for (std::size_t i = 0; i < run.cases.size(); ++i)
        group_of(groups, fmt::format("{}, {}", run.cases[i].suite, area_of(run.cases[i].id))).push_back(i);
    auto table = page::add_table(section, "All cases", columns);
    page::set(table, "id", "all-cases");
    mark_numbers(table, 3, 3);
    for (const auto& [name, numbers] : groups) {
        auto body = table.append_child("tbody");
        add_group_heading(body, fmt::format("{} ({})", name, numbers.size()), columns.size());
        for (const auto i : numbers) {
            const auto& c = run.cases[i];
            auto row = body.append_child("tr");
            auto heading = add_row_heading(row, {});
            if (has_article(c)) {
                heading = heading.append_child("a");
                page::set(heading, "href", "#" + case_anchor(i));
            }
            add(heading, "code", c.id);
            add(row, "td", c.title);
            add_verdict(row.append_child("td"), c.verdict);
            add_number(row, page::seconds(c.duration_ms));
        }
    }
    const auto missing = run.missing();
    if (missing.empty())
        return;
    auto body = table.append_child("tbody");
    add_group_heading(body, fmt::format("Without a verdict ({})", missing.size()), columns.size());
    for (const auto& id : missing) {
        auto row = body.append_child("tr");
        add(add_row_heading(row, {}), "code", id);
        row.append_child("td");
        add(row.append_child("td"), "span", "no verdict", "verdict unfinished");
        row.append_child("td");
    }
}

void add_skips(Node section, const RunResult& run)
{
    Groups<std::string> groups;
    for (const auto& c : run.cases)
        if (c.verdict == Verdict::skip)
            group_of(groups, c.reason).push_back(c.id);
    for (const auto& [reason, ids] : groups) {
        add(section, "h3", fmt::format("{} ({})", reason.empty() ? "no reason given" : reason, ids.size()));
        auto list = add(section, "ul", {}, "ids");
        for (const auto& id : ids)
            add(list.append_child("li"), "code", id);
    }
}

void add_measurements(Node section, const RunResult& run)
{
    add(section, "p",
        "Median over the rounds, and the least and the most of them. The ratio is the median of the ratios "
        "round "
        "by round, with its confidence interval.",
        "quiet");
    for (const auto& c : run.cases) {
        if (c.measurements.empty())
            continue;
        add(section, "h3", fmt::format("{} {}", c.id, c.title));
        auto table = page::add_table(section, fmt::format("Measurements of {}", c.id), measurement_columns);
        mark_numbers(table, 1, 5);
        Groups<const Measurement*> groups;
        for (const auto& m : c.measurements)
            group_of(groups, fmt::format("{}: {}", m.load, m.metric)).push_back(&m);
        for (const auto& [load, measurements] : groups) {
            auto body = table.append_child("tbody");
            add_group_heading(body, load, measurement_columns.size());
            for (const auto* m : measurements)
                add_measurement(body, *m);
        }
    }
}

void add_timings(Node section, const std::vector<Timing>& timings)
{
    constexpr std::array<std::string_view, 2> columns{"What", "Time"};
    auto table = page::add_table(section, "Timings", columns);
    mark_numbers(table, 1, 1);
    auto body = table.append_child("tbody");
    for (const auto& timing : timings) {
        auto row = body.append_child("tr");
        add_row_heading(row, timing.what);
        add_number(row, page::grouped(timing.seconds, 3) + " s");
    }
}

void add_kernels(Node section, const std::vector<IndexEntry>& runs)
{
    std::vector<std::string_view> columns{"Kernel", "Result", "planned"};
    for (const Verdict verdict : all_verdicts)
        columns.push_back(to_string(verdict));
    auto table = page::add_table(section, "Kernels", columns);
    mark_numbers(table, 2, columns.size());
    auto body = table.append_child("tbody");
    for (const auto& run : runs) {
        auto row = body.append_child("tr");
        auto link = add(add_row_heading(row, {}), "a", run.kernel.empty() ? run.folder : run.kernel);
        page::set(link, "href", page::link_to(run.folder + "/index.html"));
        const bool good = run.exit == exit_expected;
        add(row.append_child("td"), "span",
            good                      ? "as expected"
            : run.exit == exit_no_run ? "not judged"
                                      : "unexpected",
            good ? "verdict pass" : "verdict fail");
        add_number(row, fmt::format("{}", run.planned));
        for (const int count : run.counts)
            add_number(row, fmt::format("{}", count));
    }
}

} // namespace reports
