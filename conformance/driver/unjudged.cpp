#include "conformance/driver/unjudged.hpp"

namespace conformance {

const std::vector<std::pair<std::string_view, std::string_view>> unjudged{
    {"UBLK-BATCH-COMMIT-007",
     "no call tells a program where its append went, and btrfs, which is told, would believe a wrong place"},
    {"UBLK-CDEV-MMAP-011",
     "promises nothing: a descriptor whose tag the server does not own may hold anything"},
    {"UBLK-DATA-TMO-002", "UBLK-UNPRIV-010 judges it"},
    {"UBLK-DATA-TMO-003", "UBLK-LIFE-002 judges it"},
    {"UBLK-PARAM-DISC-004", "the attribute it would show in (discard_alignment) always reads 0"},
    {"UBLK-MOD-007", "every case judges it: one during which the kernel log complains fails"},
    {"UBLK-RING-009", "a 32-bit server needs a 32-bit program, which the guest does not have"},
    {"UBLK-RING-011",
     "promises progress under memory pressure, which no bound tells from the lack of it; needs suspend too"},
    {"UBLK-ZONE-009",
     "INTEGRITY-ZONED-006 and -008 judge it: btrfs finds what it appended where it was told"},
    {"UBLK-ZONE-010",
     "the place is only of use to who appended, and the kernel looks at it no more than that"},
};

} // namespace conformance
