// What a run looks like on a terminal, and as plain lines where there is none.
#pragma once

#include "reports/result.hpp"

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>

namespace reports {

struct TerminalStyle {
    bool live = false;   // a progress line that is drawn over; only where a terminal understands it
    bool colour = false; // only on a terminal and without NO_COLOR
    std::size_t width = 80;
};
// What the file descriptor is: a terminal or not, its width, NO_COLOR and TERM=dumb of the environment.
TerminalStyle detect_style(int fd);

// Writes to `out`, which must outlive it, flushing after every call. Not thread-safe. Text from cases is made
// plain() first: a kernel log cannot act on the terminal.
class Terminal {
  public:
    Terminal(std::ostream& out, TerminalStyle style) : out_(out), style_(style) {}

    // "tools      ok"
    void status(std::string_view name, std::string_view text);
    void note(std::string_view text); // a line of the harness about itself, kept above the progress line

    // The progress line: begin() once the plan is known (`done` of a resumed run), tick() whenever time went
    // by.
    void begin(std::size_t planned, std::size_t done, bool strict);
    void tick(double elapsed_seconds);
    // Counts the case; prints it when it is unexpected or fixed.
    void ended(const CaseResult& result, double elapsed_seconds);

    // Prints a case when it is unexpected or fixed, without counting it.
    void problem(const CaseResult& result, bool strict);

    // The lines "result" and "report", before them what is planned and has no verdict.
    void finish(const RunResult& run, std::string_view report_path);
    // The table of --timings.
    void timings(const RunResult& run);

  private:
    void erase_progress();
    void draw_progress();
    void line(std::string_view text);
    std::string coloured(std::string_view text, std::string_view code) const;

    std::ostream& out_;
    TerminalStyle style_;
    std::size_t planned_ = 0, done_ = 0;
    double elapsed_ = 0;
    bool strict_ = false, running_ = false, drawn_ = false;
};

// "215 passed, 1 failed, 0 crashed, 0 hung, 31 not applicable, in 61 s"; changed, known and fixed when there
// are any; "planned 247, got 240" when these differ, and whether the run was interrupted.
std::string result_line(const RunResult& run);
// "38 s", "2 min 5 s", "1 h 2 min"
std::string duration_text(double seconds);

} // namespace reports
