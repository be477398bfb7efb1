// What a process and its kernel hold, as figures, and which of them grow with the number of cycles. What the
// kernel says of itself is parsed and compared without it; leak_watch.hpp asks it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace conformance::endurance {

struct Figure {
    double amount = 0;
    // Growth that is not taken for a leak: so much for each cycle, and so much once.
    double each = 0, once = 0;
};
// By name: "descriptors of /dev/ublkc0", "bytes of heap", "objects of kmalloc-64". What is not in it is 0.
using Footprint = std::map<std::string, Figure>;

// A sentence for each figure that grew by more than it may, those that grew most first.
std::vector<std::string> leaks(const Footprint& before, const Footprint& after, unsigned cycles);

// /proc/self/maps: how many mappings there are of each file of ublk and of io_uring.
void add_mappings(Footprint& footprint, std::string_view maps);
// /proc/meminfo: bytes of the kernel's own memory by kind, and of what belongs to no kind.
void add_kernel_memory(Footprint& footprint, std::string_view meminfo);
// /proc/slabinfo: objects of each cache.
void add_slab_objects(Footprint& footprint, std::string_view slabinfo);
// "VmRSS:   1024 kB" in a file of /proc, in bytes; 0 if it is not there.
double bytes_of(std::string_view file, std::string_view name);

} // namespace conformance::endurance
