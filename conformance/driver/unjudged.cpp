#include "conformance/driver/unjudged.hpp"

namespace conformance {

const std::vector<std::pair<std::string_view, std::string_view>> unjudged{};

} // namespace conformance
