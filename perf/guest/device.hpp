// A subject brought up in the guest: a block device to put a load on.
#pragma once

#include "perf/plan.hpp"

#include <string>
#include <vector>

namespace perf {

// The commands of ublk-serve and kublk. The first returns when the disk is there.
struct Added {
    std::string id;
    std::string backing{}; // a file, for those that need one
    unsigned queues = 1, depth = 1;
};
bool needs_backing(const Subject& subject);
std::vector<std::string> add_command(const Subject& subject, const Added& added);
std::vector<std::string> delete_command(const Subject& subject, const std::string& id);

class Device {
  public:
    // Brings the subject up, with scheduler `none` and every block written once; `id` tells servers and files
    // apart; `queues` is for those whose number can be chosen. What goes wrong fails the case that runs.
    Device(const Subject& subject, unsigned id, unsigned queues);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    const std::string& disk() const { return disk_; }
    // Takes it down again; that it cannot be fails the case.
    void end();

  private:
    void start_server(unsigned queues);
    void make_backing(); // a file on tmpfs
    void attach_loop();

    const Subject& subject_;
    std::string id_, disk_, backing_;
    int backing_fd_ = -1;
};

} // namespace perf
