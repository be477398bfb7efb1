// The server under test, seen from outside: a process that the case starts, and the block device that
// appears.
#pragma once

#include "conformance/driver/driver.hpp"
#include "conformance/server/power_disk.hpp"
#include "conformance/server/profile.hpp"
#include "conformance/server/stall_watch.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace conformance {

// What `ublkcheck server` said. Skips the case when this is another kind of run.
const ServerProfile& profile();

class Subject {
  public:
    // Makes the backing, starts the server, and returns when its block device opens and says its size. A
    // server that ends before, or brings up nothing in its time, fails the case.
    explicit Subject(Where where = Where::current());
    ~Subject(); // kills what still runs and deletes its device
    Subject(const Subject&) = delete;
    Subject& operator=(const Subject&) = delete;

    const std::string& disk() const { return disk_; } // "/dev/ublkb0"
    std::uint32_t id() const { return id_; }
    std::uint64_t size() const { return size_; }               // bytes, from sysfs
    std::size_t block() const { return block_; }               // bytes, logical
    std::string sysfs(const std::string& name) const;          // of /sys/block/ublkbN; "" if it is not there
    std::uint64_t sysfs_number(const std::string& name) const; // 0 if it is not there
    Features features() const { return features_; }
    PowerDisk* power_disk() { return power_disk_ ? &*power_disk_ : nullptr; }
    Driver& control() { return control_; }

    // How the server has ended, as a sentence; nullopt: it is there.
    std::optional<std::string> ended() const;
    // Fails the case. If the server has ended, or was ended because it left a request without an answer, that
    // is what the text says first: it is the cause of whatever was seen after it.
    [[noreturn]] void fail(std::string expected, std::string observed, Where where = Where::current()) const;

    // A descriptor of the device, which closes when the server is told to end: with one open, it could not
    // delete its device.
    std::shared_ptr<Fd> keep(Fd fd) const;

    void signal(int sig) const; // to every process of the server
    // Tells the server to end; it must, in its time, with its status, and its device must go.
    void finish(Where where = Where::current());
    void tell_to_end(Where where = Where::current());  // the first half,
    void expect_ended(Where where = Where::current()); // and the second
    // SIGKILL, and the deletion of what is left. Both must work.
    void kill(Where where = Where::current());
    void delete_device(Where where = Where::current()); // DEL_DEV; must end in its time
    // Starts the server again after kill(), on what it left behind.
    void start_again(Where where = Where::current());
    void watch_stalls(bool on) const; // off: a case makes the server wait on purpose

  private:
    friend class Waiting;
    void prepare_backing(Where where);
    void start(Where where);
    std::optional<std::uint32_t> await_device(Where where);
    void adopt(std::uint32_t id, Where where);
    std::optional<std::string> nobody_left();
    std::optional<int> reap_launched();
    void reap();

    void close_all();

    std::unique_ptr<StallWatch> stalls_;
    mutable std::vector<std::weak_ptr<Fd>> open_;
    std::optional<PowerDisk> power_disk_;
    Driver control_;
    std::string disk_;
    std::uint32_t id_ = 0;
    std::uint64_t size_ = 0;
    std::size_t block_ = 512;
    Features features_;
    pid_t launched_ = -1;                // what we started
    pid_t main_ = -1;                    // what we tell to end: launched_, or the daemon it left
    pid_t serving_ = -1;                 // what the driver calls the server
    std::optional<int> launched_status_; // of wait()
};

// While it lives, the calling process waits for the device to answer.
class Waiting {
  public:
    Waiting(const Subject& subject, const char* what, std::uint64_t offset, std::uint64_t bytes,
            std::chrono::seconds limit = StallWatch::usual);
    ~Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

  private:
    const Subject& subject_;
    int slot_;
};

} // namespace conformance
