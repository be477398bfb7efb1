// KTAP version 1, as Documentation/dev-tools/ktap.rst of the kernel defines it.
#pragma once

#include "reports/result.hpp"

#include <string>

namespace reports {

// One plan, one result line for each planned case; a planned case without a verdict is "not ok ... # ERROR".
// What a failure expected, saw and logged stands in diagnostic lines before its result line. skip becomes
// SKIP, hang TIMEOUT, crash ERROR; known, fixed and (unless strict) changed are ok and say so after the "#".
std::string ktap(const RunResult& run);

} // namespace reports
