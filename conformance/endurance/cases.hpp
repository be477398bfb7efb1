// What the cases of suite "endurance", hidden, have in common. Each does in many cycles what other suites do
// once; `ublkcheck endurance` says how many.
#pragma once

#include "conformance/driver/case.hpp"
#include "conformance/endurance/plan.hpp"

namespace conformance::endurance {

inline const CaseOption endurance_suite = in_suite("endurance", true);
// For the usual number of cycles, in emulation on a busy machine; `ublkcheck endurance` multiplies it.
inline const CaseOption long_limit = timeout(std::chrono::minutes(25));

// Of the run; without one the case is skipped. Prints it, for who reads of a failure.
Plan read_plan();

// No ublk device is left, to be seen in /dev or in sysfs.
void expect_no_devices();

// A figure of the case that `ublkcheck endurance` shows and results.json keeps.
void record_figure(const std::string& load, const std::string& metric, double value);

} // namespace conformance::endurance
