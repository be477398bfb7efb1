// The kernel's own selftests for suite "kselftest": had from the distribution's packaged source of the
// kernel's line, made cases of, and taken along.
#pragma once

#include "conformance/ublkcheck/run_options.hpp"
#include "reports/terminal.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace conformance {

// Whether a plan is about them. Their cases are not known before they are here.
bool wants_kselftests(const PlanOptions& plan);
bool is_kselftest(std::string_view id);

// The folder with the scripts and their built server, of kernel `release`, or of the newest packaged source
// where that is empty; their cases are then among all_cases(), so this comes before anything asks for those.
// Error (no_run): no such source package, no network, no compiler.
Expected<std::filesystem::path> get_kselftests(const std::string& release, reports::Terminal* terminal);

// Takes them along, with the programs that they run, into a machine that is large enough. Error (no_run):
// this machine lacks a program.
Expected<void> carry_kselftests(const std::filesystem::path& folder, RunOptions& options);

} // namespace conformance
