// What `ublkcheck perf run` and `ublkcheck perf compare` do alike: measure by a plan on one kernel.
#pragma once

#include "conformance/ublkcheck/run_options.hpp"
#include "perf/plan.hpp"
#include "reports/terminal.hpp"

#include <chrono>
#include <functional>
#include <vector>

namespace CLI {
class App;
}

namespace conformance {

struct PerfOptions {
    RunOptions run; // plan.cases: which loads
    bool exact = false;
    unsigned rounds = 0;               // 0: as the plan says
    double runtime = 0;                // seconds of a fio job; 0: as the plan says
    std::vector<std::string> backends; // of ublk-serve; compare only
    std::filesystem::path kublk{};     // the kernel's test server, measured beside; run --exact only
};

// What is measured in one go: the plan, and what the guest needs for it.
struct PerfPass {
    perf::Plan plan;
    std::vector<std::filesystem::path> programs{};
};
// Of exact passes, one each, the results of one case; see ExactRun.
using PerfCombine = std::function<reports::CaseResult(const std::vector<reports::CaseResult>&)>;

// The options that both have.
void add_perf_options(CLI::App& command, PerfOptions& options);

// Fetches the kernel, measures and leaves a folder. One pass when it is not exact. Errors: usage (an unknown
// load, several kernels), a module that the kernel lacks, no fio.
Expected<reports::RunResult> measure(const PerfOptions& options, std::vector<PerfPass> passes,
                                     const PerfCombine& combine, reports::Terminal& terminal,
                                     std::chrono::steady_clock::time_point asked);

void add_perf_compare_command(CLI::App& perf, int& exit_code);

} // namespace conformance
