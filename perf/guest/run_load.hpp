// A job of the load, in a process of its own.
#pragma once

#include "perf/load/generator.hpp"

#include <string>

namespace perf {

inline constexpr const char* load_program = "ublkcheck-load"; // in the guest's /bin

// Fails the case with what the load said when an I/O was not done.
Counted run_load(const std::string& disk, const GeneratorJob& job);

} // namespace perf
