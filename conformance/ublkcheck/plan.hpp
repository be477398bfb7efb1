// Which cases a run holds.
#pragma once

#include "conformance/driver/case.hpp"

#include <expected>
#include <string>
#include <vector>

namespace conformance {

struct PlanOptions {
    std::vector<std::string> cases;  // globs over ids, any of them; empty: all
    std::vector<std::string> suites; // names, any of them; empty: all that are not hidden
    std::string shard;               // "2/5": the second of five equal parts; empty: everything
};

// In the order of ids. Error: a glob that matches nothing, a suite or shard that is none; names what there
// is.
std::expected<std::vector<const Case*>, std::string> plan_cases(const PlanOptions& options);

} // namespace conformance
