#include "conformance/driver/unjudged.hpp"

namespace conformance {

const std::vector<std::pair<std::string_view, std::string_view>> unjudged{
    {"UBLK-CDEV-MMAP-011",
     "promises nothing: a descriptor whose tag the server does not own may hold anything"},
    {"UBLK-PARAM-DISC-004", "the attribute it would show in (discard_alignment) always reads 0"},
};

} // namespace conformance
