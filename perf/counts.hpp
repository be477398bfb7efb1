// What QEMU's plugin (perf/count) counted, as measurements of the subjects.
#pragma once

#include "perf/plan.hpp"
#include "reports/result.hpp"

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perf {

// What ran in user mode while the I/Os of one measurement were counted.
struct UserWork {
    std::uint64_t server = 0, load = 0; // instructions
    std::uint64_t system_calls = 0;     // of the server
};

// The plugin's file, a line an interval. Error: a sentence with the line that is none.
std::expected<std::vector<UserWork>, std::string> read_user_work(std::string_view text);

// Adds the server's instructions and system calls per I/O to the results of a pass, in the order in which its
// cases ran the plan. Error: there are not as many intervals as that makes.
std::expected<void, std::string> add_counts(const Plan& plan, std::span<reports::CaseResult> results,
                                            std::span<const UserWork> intervals);

} // namespace perf
