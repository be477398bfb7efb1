// The plan that the host put into the guest.
#pragma once

#include "perf/plan.hpp"

namespace perf {

// Skips the case when there is none.
Plan read_plan();

} // namespace perf
