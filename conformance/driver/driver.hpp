// The verbs of the control plane, as cases use them. Nothing here checks a rule: answers are raw results
// (a CQE's res), and only what a case relies on (make(), info(), ...) fails the case when it does not work.
#pragma once

#include "conformance/driver/expect.hpp"
#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/features.hpp"
#include "ublk/uapi/params.hpp"
#include "ublk/wire/command.hpp"

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>

namespace conformance {

using namespace std::chrono_literals;
using ublk::uapi::Attr;
using ublk::uapi::AutoBufReg;
using ublk::uapi::CtrlCmd;
using ublk::uapi::CtrlNr;
using ublk::uapi::DevInfo;
using ublk::uapi::DevState;
using ublk::uapi::Feature;
using ublk::uapi::Features;
using ublk::uapi::IoCmd;
using ublk::uapi::IoDesc;
using ublk::uapi::IoNr;
using ublk::uapi::IoOp;
using ublk::uapi::Params;
using ublk::uapi::ParamType;
using ublk::wire::Fd;

using Millis = std::chrono::milliseconds;
inline constexpr Millis patience = 10s; // for what must happen: only a defect waits that long
inline constexpr Millis settle = 250ms; // for what must not happen

// ---- the kernel under test ----

Features kernel_features();                 // GET_FEATURES, asked once; none if the driver is absent
ublk::uapi::KernelVersion kernel_version(); // uname
bool kernel_before(unsigned major, unsigned minor);
bool offers(Feature feature);
// Whether this kernel has a fix that appeared in the given releases: true from a listed patch level on
// within its line, and for every line newer than the newest listed. For what no feature bit tells.
bool fixed_in(std::initializer_list<ublk::uapi::KernelVersion> releases);
unsigned possible_cpus(); // /sys/devices/system/cpu/possible, highest number + 1
std::size_t page_size();

// ---- commands ----

class Driver;

// A control command that was sent. The ring belongs to the Driver, which must outlive it.
class Pending {
  public:
    std::optional<long> wait(Millis limit); // its result, nullopt: not yet
    bool done() { return wait(0ms).has_value(); }
    long result(Where where = Where::current()); // waits `patience`; a command that stays out fails the case
    // It is still out after `settle`.
    void expect_pending(std::string_view what, Where where = Where::current());
    // Sends IORING_OP_ASYNC_CANCEL for it; result of the cancel request.
    long cancel();

  private:
    friend class Driver;
    Pending(Driver& driver, std::uint64_t token) : driver_(&driver), token_(token) {}
    Driver* driver_;
    std::uint64_t token_;
};

struct AddOptions {
    unsigned nr_hw_queues = 1;
    unsigned queue_depth = 4;
    std::uint32_t max_io_buf_bytes = 64 * 1024;
    std::uint32_t dev_id = ublk::uapi::no_dev_id;
    Features flags;
    std::uint16_t io_desc_size = 0; // bytes of a descriptor; counts with IO_DESC_SIZE only
    // What a well-formed ADD_DEV fixes:
    std::optional<std::uint32_t> header_dev_id; // default: dev_id
    std::uint16_t queue_id = ublk::uapi::no_queue;
    std::uint16_t len = sizeof(DevInfo);
};
DevInfo to_info(const AddOptions& options);

// Result of ADD_DEV with the information block as the driver left it.
struct Added {
    long res = 0;
    DevInfo info;
    operator long() const { return res; } // NOLINT(google-explicit-constructor): so that expect_*() takes it
};

class Device;

// One opener of /dev/ublk-control with a ring of its own. Single-threaded.
class Driver {
  public:
    explicit Driver(const ublk::wire::RingOptions& ring = {});
    ~Driver(); // deletes the devices that add() made and nobody deleted, as far as that works
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    int fd() const { return node_.get(); }
    ublk::wire::Ring& ring() { return ring_; }

    // Sends and waits `patience`; a command that stays out fails the case.
    long control(std::uint32_t op, const CtrlCmd& cmd, Where where = Where::current());
    long control(CtrlNr nr, const CtrlCmd& cmd, Where where = Where::current());
    // `personality`: of the ring, whose credentials count instead of the caller's; 0: none.
    Pending begin(std::uint32_t op, const CtrlCmd& cmd, std::uint16_t personality = 0);
    Pending begin(CtrlNr nr, const CtrlCmd& cmd) { return begin(ublk::uapi::opcode(nr), cmd); }

    Added add(const AddOptions& options = {});
    // ADD_DEV with everything in the caller's hand; `info` is read and written by the driver.
    long add_raw(const CtrlCmd& cmd, DevInfo& info);
    // A device that the case relies on: ADD_DEV must work. Suppresses the partition scan where the kernel
    // can, so that the only requests are the case's own; ask for `scan` to have it.
    Device make(AddOptions options = {}, bool scan = false, Where where = Where::current());
    long del(std::uint32_t dev_id) { return del(CtrlCmd{.dev_id = dev_id}); }
    long del(const CtrlCmd& cmd);

    std::optional<long> collect(std::uint64_t token, Millis limit);
    std::uint64_t new_token() { return ++last_token_; }

  private:
    Fd node_;
    ublk::wire::Ring ring_;
    std::uint64_t last_token_ = 0;
    std::map<std::uint64_t, long> finished_; // completions that nobody has asked for yet
    std::map<std::uint32_t, bool> added_;    // device ids to delete at the end
};

// ---- a device ----

// Basic parameters that every kernel takes: 512-byte blocks, `sectors` long, requests up to 64 KiB.
Params basic_params(std::uint64_t sectors = 8192);

// The buffer of each command on an unprivileged device begins with the path of ublkcN: commands without a
// buffer of the case's own, parameters and information see to that themselves.
class Device {
  public:
    Device(Driver& driver, const DevInfo& info);

    std::uint32_t id() const { return added_.dev_id; }
    const DevInfo& added() const { return added_; } // as ADD_DEV returned it
    Driver& driver() const { return *driver_; }
    unsigned queues() const { return added_.nr_hw_queues; }
    unsigned depth() const { return added_.queue_depth; }

    bool unprivileged() const { return path_ != nullptr; }
    CtrlCmd cmd(std::uint64_t data = 0) const;
    CtrlCmd cmd(const void* buffer, std::size_t len, std::uint64_t data = 0) const; // the buffer and no more
    // Sends `payload`, behind the path where one is due, and brings back what the driver made of it.
    long exchange(CtrlNr nr, void* payload, std::size_t len, Where where = Where::current()) const;
    long control(CtrlNr nr, std::uint64_t data = 0, Where where = Where::current()) const
    {
        return driver_->control(nr, cmd(data), where);
    }
    Pending begin(CtrlNr nr, std::uint64_t data = 0) const { return driver_->begin(nr, cmd(data)); }

    long set_params(const Params& params) const;
    long get_params(Params& params) const; // params.len as the caller set it; 0: the whole structure
    long get_info(DevInfo& info) const;
    DevInfo info(Where where = Where::current()) const; // must work
    DevState state() const { return static_cast<DevState>(info().state); }

    Pending begin_start(pid_t pid = ::getpid()) const
    {
        return begin(CtrlNr::start_dev, static_cast<std::uint64_t>(pid));
    }
    long start(pid_t pid = ::getpid(), Where where = Where::current()) const
    {
        return control(CtrlNr::start_dev, static_cast<std::uint64_t>(pid), where);
    }
    long stop(Where where = Where::current()) const { return control(CtrlNr::stop_dev, 0, where); }
    long del() const { return driver_->del(cmd()); }
    Pending begin_del() const { return begin(CtrlNr::del_dev); }

    std::string char_path() const { return ublk::wire::char_path(id()); }
    std::string block_path() const { return ublk::wire::block_path(id()); }
    // -errno if it does not open. From 6.15 on the last release may still be under way: see open_char_soon().
    std::expected<Fd, int> open_char(int flags) const { return ublk::wire::open_node(char_path(), flags); }
    Fd open_char_soon(int flags, Where where = Where::current()) const; // retries EBUSY for `patience`
    bool has_char_node() const;
    bool has_disk() const; // /sys/block/ublkbN
    // Content of /sys/block/ublkbN/<name> without the newline; "" if it is not there.
    std::string sysfs(const std::string& name) const;

  private:
    Driver* driver_;
    DevInfo added_;
    std::shared_ptr<const std::string> path_; // of an unprivileged device
};

// Polls `holds` until it is true; false after `limit`.
template <typename F>
bool eventually(F&& holds, Millis limit = patience)
{
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds()) {
        if (std::chrono::steady_clock::now() >= end)
            return false;
        ::usleep(2000);
    }
    return true;
}

} // namespace conformance
