#include "reports/terminal.hpp"

#include "reports/text.hpp"

#include <fmt/format.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace reports {
namespace {

constexpr std::size_t label_columns = 11; // "result     "
constexpr std::size_t widest_bar = 40;
constexpr std::string_view red = "31", green = "32", yellow = "33";

std::string_view label(Verdict verdict)
{
    switch (verdict) {
    case Verdict::crash:
        return "CRASH";
    case Verdict::hang:
        return "HANG";
    case Verdict::changed:
        return "CHANGED";
    case Verdict::fixed:
        return "FIXED";
    default:
        return "FAIL";
    }
}

// The first `most` columns of a plain line.
std::string_view clipped(std::string_view line, std::size_t most)
{
    std::size_t seen = 0;
    for (std::size_t i = 0; i < line.size(); ++i)
        if ((static_cast<unsigned char>(line[i]) & 0xc0) != 0x80 && seen++ == most)
            return line.substr(0, i);
    return line;
}

std::string bar(std::size_t done, std::size_t planned, std::size_t width)
{
    const auto full = std::min(width, planned == 0 ? 0 : done * width / planned);
    std::string text;
    for (std::size_t i = 0; i < width; ++i)
        text += i == full ? "╸" : "━";
    return text;
}

} // namespace

TerminalStyle detect_style(int fd)
{
    TerminalStyle style;
    const auto* term = std::getenv("TERM");
    style.live = isatty(fd) == 1 && term != nullptr && std::string_view{term} != "dumb";
    const auto* no_colour = std::getenv("NO_COLOR");
    style.colour = style.live && (no_colour == nullptr || *no_colour == '\0'); // as no-color.org has it
    winsize size{};
    if (style.live && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        style.width = size.ws_col;
    return style;
}

std::string duration_text(double seconds)
{
    const double whole = std::isfinite(seconds) ? std::clamp(std::round(seconds), 0.0, 1e15) : 0;
    const auto s = static_cast<std::int64_t>(whole);
    if (s < 120)
        return fmt::format("{} s", s);
    if (s < 7200)
        return fmt::format("{} min {} s", s / 60, s % 60);
    return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
}

std::string result_line(const RunResult& run)
{
    auto text = fmt::format("{} passed, {} failed, {} crashed, {} hung, {} not applicable",
                            run.count(Verdict::pass), run.count(Verdict::fail), run.count(Verdict::crash),
                            run.count(Verdict::hang), run.count(Verdict::skip));
    for (const Verdict verdict : {Verdict::changed, Verdict::known, Verdict::fixed})
        if (const auto count = run.count(verdict); count > 0)
            text += fmt::format(", {} {}", count, to_string(verdict));
    text += ", in " + duration_text(run.seconds);
    if (!run.missing().empty() || !run.unplanned().empty())
        text += fmt::format("; planned {}, got {}", run.planned.size(), run.cases.size());
    if (!run.complete)
        text += "; interrupted";
    return text;
}

void Terminal::status(std::string_view name, std::string_view text)
{
    line(fmt::format("{:<{}}{}", name, label_columns, plain(text)));
}

void Terminal::note(std::string_view text)
{
    for (const auto& part : plain_lines(text))
        line(fmt::format("  {}  {}", coloured("NOTE", yellow), part));
}

void Terminal::begin(std::size_t planned, std::size_t done, bool strict)
{
    planned_ = planned;
    done_ = done;
    strict_ = strict;
    running_ = true;
    draw_progress();
}

void Terminal::tick(double elapsed_seconds)
{
    elapsed_ = elapsed_seconds;
    draw_progress();
}

void Terminal::ended(const CaseResult& result, double elapsed_seconds)
{
    elapsed_ = elapsed_seconds;
    ++done_;
    problem(result, strict_);
    draw_progress();
}

void Terminal::problem(const CaseResult& c, bool strict)
{
    const bool unexpected = is_unexpected(c.verdict, strict);
    if (c.verdict == Verdict::pass && !c.reason.empty())
        note(fmt::format("{}: {}", c.id, c.reason));
    if (!unexpected && c.verdict != Verdict::fixed)
        return;
    constexpr std::string_view indent = "        ";
    line(fmt::format("  {}  {}  {}", coloured(label(c.verdict), unexpected ? red : yellow), plain(c.id),
                     plain(c.title)));
    if (!unexpected) {
        line(fmt::format("{}passes, but is listed as a known defect: {}", indent, plain(c.reason)));
        return;
    }
    const auto lines = plain_lines(fmt::format("expected {}, got {}", c.expected, c.observed));
    for (const auto& part : lines)
        line(fmt::format("{}{}", indent, part));
    if (!c.again.empty())
        line(fmt::format("{}again: {}", indent, plain(c.again)));
}

void Terminal::finish(const RunResult& run, std::string_view report_path)
{
    running_ = false;
    constexpr std::size_t shown = 5;
    const auto missing = run.missing();
    for (std::size_t i = 0; i < std::min(shown, missing.size()); ++i)
        line(fmt::format("  {}  {}", coloured("NO VERDICT", red), plain(missing[i])));
    if (missing.size() > shown)
        line(fmt::format("  {} more without a verdict", missing.size() - shown));
    const auto text = result_line(run);
    line(fmt::format("{:<{}}{}", "result", label_columns,
                     coloured(text, exit_code(run) == exit_expected ? green : red)));
    status("report", report_path);
}

void Terminal::timings(const RunResult& run)
{
    std::size_t widest = 0;
    for (const auto& timing : run.timings)
        widest = std::max(widest, columns(plain(timing.what)));
    for (std::size_t i = 0; i < run.timings.size(); ++i) {
        const auto what = plain(run.timings[i].what);
        const std::string gap(widest - columns(what), ' ');
        line(fmt::format("{:<{}}{}{}  {:9.3f} s", i == 0 ? "timings" : "", label_columns, what, gap,
                         run.timings[i].seconds));
    }
}

void Terminal::line(std::string_view text)
{
    erase_progress();
    out_ << text << '\n';
    draw_progress();
    out_.flush();
}

void Terminal::erase_progress()
{
    if (drawn_)
        out_ << "\r\x1b[K";
    drawn_ = false;
}

void Terminal::draw_progress()
{
    erase_progress();
    if (!style_.live || !running_) {
        out_.flush();
        return;
    }
    const auto head = fmt::format("{:<{}}{}/{} ", "running", label_columns, done_, planned_);
    const auto tail = "  " + duration_text(elapsed_);
    const auto taken = head.size() + tail.size() + 1; // the last column stays free: terminals wrap there
    const auto room = style_.width > taken ? style_.width - taken : 0;
    const auto text = head + bar(done_, planned_, std::min(room, widest_bar)) + tail;
    out_ << clipped(text, style_.width > 1 ? style_.width - 1 : 1);
    drawn_ = true;
    out_.flush();
}

std::string Terminal::coloured(std::string_view text, std::string_view code) const
{
    return style_.colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string{text};
}

} // namespace reports
