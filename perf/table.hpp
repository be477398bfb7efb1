// Measurements as tables of plain text, lines of at most 120 columns.
#pragma once

#include "reports/result.hpp"

#include <string>

namespace perf {

// For each load its subjects: median, spread, and the ratios to each subject that they were taken to.
std::string run_table(const reports::RunResult& run);
// For each load and backend what A and B have, their ratio with its interval, and the conclusion.
std::string compare_table(const reports::RunResult& run);

} // namespace perf
