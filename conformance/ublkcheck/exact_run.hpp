// Counts on machines with clocks of their own, and leaves one folder: each pass boots a machine whose guest
// runs the whole plan unattended (conformance/guest/init.hpp), and the passes' results become one.
#pragma once

#include "conformance/driver/case.hpp"
#include "conformance/ublkcheck/run_options.hpp"
#include "reports/rundir.hpp"
#include "reports/terminal.hpp"
#include "vm/kernel.hpp"

#include <chrono>
#include <expected>
#include <functional>
#include <span>
#include <string>

namespace conformance {

class ExactRun {
  public:
    using Clock = std::chrono::steady_clock;
    // The results of one case, one of each pass in their order, as one.
    using Combine = std::function<reports::CaseResult(const std::vector<reports::CaseResult>&)>;

    // Adds to the results of pass `number` what QEMU's plugin left in its file; a sentence when they do not
    // fit.
    using AddCounts = std::function<std::expected<void, std::string>(
        std::size_t number, std::span<reports::CaseResult> results, const std::string& counts)>;

    // References must outlive it. `asked` is when the command was given.
    ExactRun(const RunOptions& options, const vm::Kernel& kernel, reports::RunDir dir,
             reports::Terminal& terminal, Clock::time_point asked)
        : options_(options), kernel_(kernel), dir_(std::move(dir)), terminal_(terminal), asked_(asked)
    {
    }

    // One pass for each of `passes`, with that in its guest. An error means that not every case has a verdict
    // of every pass; then the folder is gone.
    Expected<reports::RunResult> run(const std::vector<const Case*>& plan,
                                     const std::vector<GuestExtras>& passes, const AddCounts& add_counts,
                                     const Combine& combine);

    const std::filesystem::path& folder() const { return dir_.path(); }

  private:
    struct Pass {
        std::optional<reports::GuestReady> ready;
        std::vector<reports::CaseResult> results;
        std::string counts; // the plugin's
    };
    Expected<Pass> boot_and_listen(const std::vector<const Case*>& plan, const GuestExtras& extras,
                                   std::size_t number) const;
    Expected<std::vector<Pass>> all_passes(const std::vector<const Case*>& plan,
                                           const std::vector<GuestExtras>& passes) const;
    Expected<reports::RunResult> write_down(const std::vector<const Case*>& plan,
                                            const std::vector<Pass>& passes, const Combine& combine);

    const RunOptions& options_;
    const vm::Kernel& kernel_;
    reports::RunDir dir_;
    reports::Terminal& terminal_;
    Clock::time_point asked_;
    std::string machine_text_;
    std::filesystem::path plugin_; // empty: QEMU would not take it
};

} // namespace conformance
