// Verbs for cases about the scan of a partition table.
#pragma once

#include "conformance/driver/live.hpp"
#include "conformance/driver/user_verbs.hpp"

#include <string>
#include <vector>

namespace conformance {

inline constexpr std::uint64_t partition_sectors = 1024;

// The content of a disk of basic_params() with one partition.
std::vector<std::byte> partitioned_disk();
bool has_partition(const Device& device);
// For Device::sysfs(): an attribute of the partition.
std::string partition_attribute(const Device& device, const std::string& name);
App reread_partitions(const Device& device); // BLKRRPART

// Of a live partitioned_disk() whose server counts what reaches it: nothing does, BLKRRPART is EINVAL, no
// partition is found, and reading works.
void expect_never_scanned(const Device& device, const SharedCounter& requests,
                          Where where = Where::current());

} // namespace conformance
