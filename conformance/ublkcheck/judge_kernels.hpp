// What every command that judges kernels does alike: fetch them, judge one after the other, leave folders.
#pragma once

#include "conformance/ublkcheck/kernel_run.hpp"
#include "reports/terminal.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
} // namespace CLI

namespace conformance {

// The options that mean the same in each such command: --kernel, --jobs, --accel, --memory, --timeout-scale,
// --flavour, --out, --json, --timings.
void add_kernel_options(CLI::App& command, RunOptions& options);

// --seed of a command whose cases draw; a number below 0 is refused, and not taken for a large one.
CLI::Option* add_seed_option(CLI::App& command, std::uint64_t& seed, const std::string& description);

// The words of this process's command line, quoted as a shell wants them: for the report.
std::string command_line();

// From now on SIGINT, SIGTERM and SIGHUP set `interrupted`.
void catch_signals();

vm::Progress show_progress(reports::Terminal& terminal);

// The one kernel that options.kernels name. `why_one` ends the sentence that refuses several.
Expected<vm::Kernel> fetch_kernel(const RunOptions& options, reports::Terminal& terminal,
                                  std::string_view why_one);

// A file for --json that cannot be written is told before the run, which takes minutes.
Expected<void> check_json(const std::string& file);
Expected<void> write_json(const std::string& file, const std::string& text);

// Judges each of options.kernels by the plan; the value is what the program exits with.
Expected<int> judge_kernels(const RunOptions& options, const std::vector<const Case*>& plan,
                            reports::Terminal& terminal, std::chrono::steady_clock::time_point asked);

// What the cases of a command read in the guest: a text, as the file `path` there. `name` is the command's.
struct GuestText {
    std::string name, text, path;
};
// The same for a command that has such a text; the newest kernel unless it names some.
Expected<int> judge_kernels_with(const GuestText& text, RunOptions options,
                                 const std::vector<const Case*>& plan, reports::Terminal& terminal,
                                 std::chrono::steady_clock::time_point asked);

// A command's last step: its exit code, after it has told an error.
int conclude(std::string_view command, const Expected<int>& code);

} // namespace conformance
