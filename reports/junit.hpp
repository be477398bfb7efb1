// JUnit XML, in the shape that CI systems read.
#pragma once

#include "reports/result.hpp"

#include <string>

namespace reports {

// A testsuite for each suite; fail (and, when strict, changed) is a failure, crash and hang are errors, skip
// and known are skipped. Planned cases without a verdict are errors in a suite "unfinished". Characters that
// XML 1.0 forbids are replaced.
std::string junit(const RunResult& run);

} // namespace reports
