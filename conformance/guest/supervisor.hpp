// Runs one case in a process of its own, watches it and the kernel log, and judges it.
#pragma once

#include "conformance/driver/case.hpp"
#include "conformance/guest/kernel_log.hpp"
#include "reports/result.hpp"

namespace conformance {

// `sweep`: this process is the machine's init and may kill whatever a case left behind.
reports::CaseResult run_supervised(const Case& c, std::chrono::milliseconds limit, bool sweep);

} // namespace conformance
