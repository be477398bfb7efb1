// A disk in the guest with a volatile cache: losing power, it loses what was not flushed. For servers that
// keep their data on a disk. It is the kernel's null_blk, which emulates just that.
#pragma once

#include "conformance/driver/expect.hpp"

#include <cstdint>
#include <string>

namespace conformance {

class PowerDisk {
  public:
    // Skips the case when the kernel has no such disk.
    explicit PowerDisk(unsigned mib, Where where = Where::current());
    ~PowerDisk();
    PowerDisk(const PowerDisk&) = delete;
    PowerDisk& operator=(const PowerDisk&) = delete;

    const std::string& path() const { return path_; } // "/dev/nullb..."
    // Off and on again: the cache is empty. Nobody may have it open.
    void lose_power(Where where = Where::current());
    // From now on these bytes give errors; reads and writes of others work.
    void set_bad(std::uint64_t offset, std::uint64_t bytes, bool bad, Where where = Where::current());

  private:
    void set(const std::string& attribute, const std::string& value, Where where) const;
    void wait_for_node(Where where) const;
    std::string directory_, path_;
};

} // namespace conformance
