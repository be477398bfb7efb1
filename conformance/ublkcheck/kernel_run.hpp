// Judges one kernel and leaves its folder.
#pragma once

#include "conformance/ublkcheck/pool.hpp"
#include "conformance/ublkcheck/run_options.hpp"
#include "reports/rundir.hpp"
#include "reports/terminal.hpp"

#include <chrono>
#include <set>

namespace conformance {

// Set by SIGINT, SIGTERM and SIGHUP: nothing new is begun, and what there is gets its report.
extern std::atomic<bool> interrupted;

// Where this program is, and beside it ublkcheck-guest and ublk-serve.
std::filesystem::path program_directory();

class KernelRun {
  public:
    using Clock = std::chrono::steady_clock;

    // References must outlive it. `asked` is when the command was given.
    KernelRun(const RunOptions& options, const vm::Kernel& kernel, reports::RunDir dir,
              reports::Terminal& terminal, Clock::time_point asked);

    // Runs the planned cases that have no verdict in `so_far`. An error means that there is no verdict at
    // all, and then the folder is gone; what ends a run later is told on stderr and leaves gaps in the
    // result.
    Expected<reports::RunResult> run(const std::vector<const Case*>& plan, const reports::Folded& so_far);

    const std::filesystem::path& folder() const { return dir_.path(); }

  private:
    Expected<void> judge(const std::vector<const Case*>& plan, const std::vector<const Case*>& left);
    Expected<PoolOptions> prepare(std::size_t cases);
    Expected<void> open_run(const std::vector<const Case*>& plan);
    unsigned jobs_for(std::size_t cases) const;
    void take(reports::Event event); // one at a time, from the pool's threads
    void record(const reports::Event& event);

    const RunOptions& options_;
    const vm::Kernel& kernel_;
    reports::RunDir dir_;
    reports::Terminal& terminal_;
    Clock::time_point asked_, started_;
    ublk::uapi::KernelVersion version_;
    std::vector<reports::Timing> early_;
    std::string machine_text_, trouble_;
    bool first_ = false;
};

} // namespace conformance
