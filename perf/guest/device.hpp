// A subject brought up in the guest: a block device to put a load on.
#pragma once

#include "perf/plan.hpp"

#include <string>

namespace perf {

class Device {
  public:
    // Brings the subject up, with scheduler `none` and every block written once; `id` tells servers and files
    // apart. What goes wrong fails the case that runs.
    Device(const Subject& subject, unsigned id);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    const std::string& disk() const { return disk_; }
    // Takes it down again; that it cannot be fails the case.
    void end();

  private:
    void start_server();
    void attach_loop();

    const Subject& subject_;
    std::string id_, disk_, backing_;
    int backing_fd_ = -1;
};

} // namespace perf
