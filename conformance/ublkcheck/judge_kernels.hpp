// What every command that judges kernels does alike: fetch them, judge one after the other, leave folders.
#pragma once

#include "conformance/ublkcheck/kernel_run.hpp"
#include "reports/terminal.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace conformance {

// The options that mean the same in each such command: --kernel, --jobs, --accel, --memory, --timeout-scale,
// --flavour, --out, --json, --timings.
void add_kernel_options(CLI::App& command, RunOptions& options);

// The words of this process's command line, quoted as a shell wants them: for the report.
std::string command_line();

// From now on SIGINT, SIGTERM and SIGHUP set `interrupted`.
void catch_signals();

vm::Progress show_progress(reports::Terminal& terminal);

// A file for --json that cannot be written is told before the run, which takes minutes.
Expected<void> check_json(const std::string& file);
Expected<void> write_json(const std::string& file, const std::string& text);

// Judges each of options.kernels by the plan; the value is what the program exits with.
Expected<int> judge_kernels(const RunOptions& options, const std::vector<const Case*>& plan,
                            reports::Terminal& terminal, std::chrono::steady_clock::time_point asked);

// A command's last step: its exit code, after it has told an error.
int conclude(std::string_view command, const Expected<int>& code);

} // namespace conformance
