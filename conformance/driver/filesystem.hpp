// A filesystem on a device that a case serves.
#pragma once

#include "conformance/driver/server.hpp"

#include <string>
#include <vector>

namespace conformance {

// An ext4, made and mounted while `server` serves. Skips the case where the guest or its kernel lacks ext4.
class Ext4 {
  public:
    explicit Ext4(Server& server, const std::vector<std::string>& mkfs_options = {},
                  const char* mount_options = nullptr, Where where = Where::current());
    ~Ext4(); // detaches it, whatever still uses it
    Ext4(const Ext4&) = delete;
    Ext4& operator=(const Ext4&) = delete;

    const std::string& directory() const { return directory_; }
    void unmount(Where where = Where::current()); // served; must work

  private:
    Server& server_;
    std::string directory_ = "/tmp/ublkcheck-mnt";
    bool mounted_ = false;
};

} // namespace conformance
