#include "reports/html.hpp"

#include "reports/html_page.hpp"
#include "reports/html_tables.hpp"
#include "reports/terminal.hpp"
#include "reports/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

namespace reports {
namespace {

using page::add;
using page::Node;
using page::Page;

constexpr std::ptrdiff_t log_lines_shown = 8; // of a log, before the fold

void add_pair(Node list, const char* name, std::string_view value)
{
    if (value.empty())
        return;
    add(list, "dt", name);
    add(list, "dd", value);
}

void add_lines(Node parent, std::span<const std::string> lines)
{
    std::string text;
    for (const auto& line : lines) // each by itself: a "\r" at its end is shown
        text += html_text(line) + "\n";
    if (!text.empty())
        text.pop_back();
    add(parent, "pre", text);
}

// The first lines stand open, and a fold hides only what is worth a click.
void add_log(Node parent, const std::vector<std::string>& log)
{
    if (log.empty())
        return;
    const std::span lines{log};
    if (std::ssize(log) <= log_lines_shown + 4)
        return add_lines(parent, lines);
    add_lines(parent, lines.first(log_lines_shown));
    auto rest = parent.append_child("details");
    add(rest, "summary", fmt::format("{} more lines", std::ssize(log) - log_lines_shown));
    add_lines(rest, lines.subspan(log_lines_shown));
}

void add_case(Node parent, const CaseResult& c, std::size_t number)
{
    auto article = parent.append_child("article");
    page::set(article, "id", case_anchor(number));
    auto heading = article.append_child("h3");
    add_verdict(heading, c.verdict);
    page::add_text(heading, " ");
    add(heading, "code", c.id);
    add(article, "p", c.title, "rule");
    auto list = article.append_child("dl");
    add_pair(list, "Expected", c.expected);
    add_pair(list, "Observed", c.observed);
    add_pair(list, "Reason", c.reason);
    add_pair(list, "Case",
             fmt::format("suite {}, {} rule, {}{}", c.suite, to_string(c.level), page::seconds(c.duration_ms),
                         c.worker < 0 ? "" : fmt::format(", machine {}", c.worker)));
    if (!c.log.empty())
        add(article, "p", "Kernel log and output");
    add_log(article, c.log);
    if (!c.again.empty()) {
        add(article, "p", "To repeat just this case");
        add(article, "pre", c.again);
    }
}

// A pass or a skip that has more to say than its row holds.
bool has_remark(const CaseResult& c)
{
    return (c.verdict == Verdict::pass || c.verdict == Verdict::skip) &&
           !(c.expected.empty() && c.observed.empty() && c.log.empty() &&
             (c.verdict == Verdict::skip || c.reason.empty()));
}

template <typename Choose>
void add_cases(Page& to, const RunResult& run, const char* id, std::string_view title,
               std::string_view meaning, Choose choose)
{
    const auto count = std::ranges::count_if(run.cases, choose);
    if (count == 0)
        return;
    auto section = to.section(id, fmt::format("{} ({})", title, count));
    add(section, "p", meaning, "quiet");
    for (std::size_t i = 0; i < run.cases.size(); ++i)
        if (choose(run.cases[i]))
            add_case(section, run.cases[i], i);
}

void add_header(Node header, const RunResult& run)
{
    add(header, "p", result_line(run), "headline");
    auto list = header.append_child("dl");
    add_pair(list, "Kernel", run.kernel.release);
    add_pair(list, "Build", run.kernel.version);
    add_pair(list, "From", run.kernel.source);
    add_pair(list, "Features",
             fmt::format("{:#x}{}{}", run.kernel.features, run.kernel.feature_names.empty() ? "" : ": ",
                         fmt::join(run.kernel.feature_names, ", ")));
    add_pair(list, "Machine", run.machine);
    add_pair(list, "Command", run.command);
    add_pair(list, "Started", run.started);
    add_pair(list, "Took", duration_text(run.seconds));
    add_pair(list, "Run",
             fmt::format("{}{}", run.complete ? "complete" : "cut off: cases may be missing",
                         run.strict ? "; strict: a changed behaviour is unexpected" : ""));
}

void add_summary(Page& to, const RunResult& run)
{
    auto section = to.section("summary", "Summary");
    const auto unexpected = std::ranges::count_if(
        run.cases, [&](const CaseResult& c) { return is_unexpected(c.verdict, run.strict); });
    const auto missing = run.missing().size();
    add(section, "p",
        fmt::format("{} of {} planned cases ended unexpectedly{}.", unexpected, run.planned.size(),
                    missing == 0 ? "" : fmt::format(", {} without a verdict", missing)));
    auto counts = add(section, "ul", {}, "counts");
    for (const Verdict verdict : all_verdicts) {
        const auto count = run.count(verdict);
        auto item = add(counts, "li", {}, count == 0 ? "none" : nullptr);
        add(item, "strong", fmt::format("{}", count));
        add_verdict(item, verdict);
    }
}

void add_ids(Page& to, const char* id, std::string_view title, std::string_view meaning,
             const std::vector<std::string>& ids)
{
    if (ids.empty())
        return;
    auto section = to.section(id, fmt::format("{} ({})", title, ids.size()));
    add(section, "p", meaning, "quiet");
    auto list = add(section, "ul", {}, "ids");
    for (const auto& one : ids)
        add(list.append_child("li"), "code", one);
}

void add_judged(Page& to, const RunResult& run)
{
    const auto unexpected = [&](const CaseResult& c) { return is_unexpected(c.verdict, run.strict); };
    const auto only = [&](Verdict verdict) {
        return [&, verdict](const CaseResult& c) { return c.verdict == verdict && !unexpected(c); };
    };
    add_cases(to, run, "unexpected", "Unexpected", "Rules that did not hold, crashes and hangs.", unexpected);
    add_ids(to, "unfinished", "Without a verdict", "Planned, but the run ended before they did.",
            run.missing());
    add_ids(to, "unplanned", "Not planned", "With a verdict that nobody asked for.", run.unplanned());
    add_cases(to, run, "changed", "Changed",
              "Behaviour that differs from the reference kernels; a failure only with --strict.",
              only(Verdict::changed));
    add_cases(to, run, "known", "Known", "Failed, as listed for this kernel.", only(Verdict::known));
    add_cases(to, run, "fixed", "Fixed", "Listed as failing for this kernel, but passed: shorten the list.",
              only(Verdict::fixed));
    add_cases(to, run, "remarks", "Remarks", "Cases that passed or do not apply, and left a word.",
              has_remark);
}

void add_harness(Page& to, const RunResult& run)
{
    if (!run.timings.empty())
        add_timings(to.section("timings", "Timings"), run.timings);
    if (!run.notes.empty()) {
        auto list = to.section("notes", "Notes of the harness").append_child("ul");
        for (const auto& note : run.notes)
            add(list, "li", note);
    }
    if (!run.boot_log.empty()) {
        auto section = to.section("boot", "Complaints at boot");
        add(section, "p", "What the kernel complained about before any case ran.", "quiet");
        add_log(section, run.boot_log);
    }
}

} // namespace

std::string html(const RunResult& run)
{
    Page to(fmt::format("ublkcheck: {}", run.kernel.release.empty() ? "no kernel" : run.kernel.release));
    add_header(to.header(), run);
    add_summary(to, run);
    add_judged(to, run);
    if (std::ranges::any_of(run.cases, [](const CaseResult& c) { return !c.measurements.empty(); }))
        add_measurements(to.section("measurements", "Measurements"), run);
    add_all_cases(to.section("cases", fmt::format("All cases ({})", run.planned.size())), run,
                  [&](const CaseResult& c) {
                      return has_remark(c) || (c.verdict != Verdict::pass && c.verdict != Verdict::skip);
                  });
    if (run.count(Verdict::skip) > 0)
        add_skips(to.section("skips", fmt::format("Not applicable ({})", run.count(Verdict::skip))), run);
    add_harness(to, run);
    to.add_script();
    return to.text();
}

std::string index_html(const std::vector<IndexEntry>& runs)
{
    Page to("ublkcheck: several kernels");
    add(to.header(), "p", fmt::format("{} kernels", runs.size()), "headline");
    add_kernels(to.section("kernels", "Kernels"), runs);
    return to.text();
}

} // namespace reports
