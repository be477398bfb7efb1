// Requirements of the catalogue without a case of their own, and why.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

namespace conformance {

extern const std::vector<std::pair<std::string_view, std::string_view>> unjudged; // id, reason

} // namespace conformance
