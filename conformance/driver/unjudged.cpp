#include "conformance/driver/unjudged.hpp"

namespace conformance {

const std::vector<std::pair<std::string_view, std::string_view>> unjudged{
    {"UBLK-CDEV-MMAP-011",
     "promises nothing: a descriptor whose tag the server does not own may hold anything"},
    {"UBLK-PARAM-DISC-004", "the attribute it would show in (discard_alignment) always reads 0"},
    {"UBLK-MOD-007", "every case judges it: one during which the kernel log complains fails"},
    {"UBLK-RING-009", "a 32-bit server needs a 32-bit program, which the guest does not have"},
    {"UBLK-RING-011",
     "promises progress under memory pressure, which no bound tells from the lack of it; needs suspend too"},
};

} // namespace conformance
