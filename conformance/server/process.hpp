// Programs that a case starts: run to the end, or kept running as a server.
#pragma once

#include "conformance/driver/expect.hpp"

#include <string>
#include <sys/types.h>
#include <vector>

namespace conformance {

struct Finished {
    int status = -1;    // exit status, or 128 + signal
    std::string output; // stdout and stderr; bounded
};
// Runs a program of the guest to its end. What it prints also goes to the case's own log.
Finished run_program(const std::vector<std::string>& arguments);
// The same, and anything but exit status 0 fails the case.
std::string must_run(const std::vector<std::string>& arguments, Where where = Where::current());
// Starts it and does not wait; its output goes to the case's log.
pid_t spawn_program(const std::vector<std::string>& arguments, Where where = Where::current());
bool has_program(const std::string& name); // in /bin of the guest, or the PATH of a host

// `ublk-serve` in the foreground, seen from outside: a process and a block device.
class Serving {
  public:
    // Waits until the block device is there; a server that ends before fails the case.
    explicit Serving(const std::vector<std::string>& add_arguments, Where where = Where::current());
    ~Serving(); // kills what still runs
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;

    const std::string& disk() const { return disk_; } // "/dev/ublkb7"
    pid_t pid() const { return pid_; }
    // SIGTERM; the server must end with status 0 and its device must be gone.
    void stop(Where where = Where::current());

    // For a device with recovery.
    // SIGKILL, which must be what ends the server; returns when the process is gone.
    void kill(Where where = Where::current());
    void quiesce(Where where = Where::current()); // the server must end with status 0, its disk must stay
    // Another server for the same device; returns when its disk answers for it.
    void recover(const std::vector<std::string>& recover_arguments, Where where = Where::current());
    // The same, and returns at once.
    void begin_recovery(const std::vector<std::string>& recover_arguments, Where where = Where::current());

  private:
    void spawn_server(const char* command, const std::vector<std::string>& options, Where where);
    void await_disk(const char* command, Where where);
    int await_end(const char* after, Where where);
    std::string id_ = "7", disk_ = "/dev/ublkb7";
    pid_t pid_ = -1;
};

} // namespace conformance
