// Control commands with checked answers. One thread at a time.
#pragma once

#include "ublk/engine/error.hpp"
#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/features.hpp"
#include "ublk/uapi/params.hpp"
#include "ublk/wire/command.hpp"
#include "ublk/wire/ring.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace ublk::engine {

// A set of CPUs as sched_setaffinity takes it; a multiple of 8 bytes.
using CpuMask = std::vector<std::byte>;

class Control {
  public:
    // Opens /dev/ublk-control and a ring. Errors: ENOENT (no driver), EACCES, those of io_uring_setup.
    static Result<Control> open();

    Result<uapi::Features> features();
    // Adds the device and returns what the driver made of `wanted`: it clamps queues and buffer size, drops
    // unknown flags, and chooses the id if that is no_dev_id. Error: EEXIST, the id is in use.
    Result<uapi::DevInfo> add(const uapi::DevInfo& wanted);
    // Error: ENODEV, no such device. Of an unprivileged device that others added, ask this first: commands
    // for it have to carry the path of its node, which is found out here, and by add().
    Result<uapi::DevInfo> info(std::uint32_t device);
    Result<uapi::Params> params(std::uint32_t device);
    Result<void> set_params(std::uint32_t device, const uapi::Params& params); // EACCES: it runs
    Result<CpuMask> affinity(std::uint32_t device, std::uint16_t queue);
    // Returns when the disk is there. `server` is the process that opened /dev/ublkcN. Waits for all FETCHes;
    // gives up with EINTR when interrupt_fd (if not -1) becomes readable.
    Result<void> start(std::uint32_t device, pid_t server, int interrupt_fd = -1);
    // Returns when no request is left: the server has to go on serving meanwhile. A device that does not run
    // is left as it is, with its FETCHes aborted.
    Result<void> stop(std::uint32_t device);
    // Stops only if nobody has the disk open (7.0, SAFE_STOP_DEV). Errors: EBUSY, somebody has; EOPNOTSUPP.
    Result<void> try_stop(std::uint32_t device);
    // Takes every idle tag back from the server and holds new requests, for another server to go on with
    // (6.16, QUIESCE). The device stays live until its server has closed it.
    Result<void> quiesce(std::uint32_t device, std::chrono::milliseconds timeout);
    // The disk has another size from now on, in bytes (6.16, UPDATE_SIZE).
    Result<void> resize(std::uint32_t device, std::uint64_t bytes);
    // Lets direct I/O of applications in these pages come without a copy (7.1, SHMEM_ZC); their index among
    // all that are registered with the device, from 0. With a disk it waits until no request is out. Errors:
    // EOPNOTSUPP, EINVAL if they are no whole pages or more than 4 GiB, EEXIST if some are registered
    // already, EFAULT if they cannot be written.
    Result<std::uint32_t> register_memory(std::uint32_t device, std::span<std::byte> pages);
    // Whether a new server may attach. Errors: EBUSY, the old one is still there; EINVAL, the device was not
    // added with recovery.
    Result<void> start_recovery(std::uint32_t device);
    // As start(), for the new server.
    Result<void> end_recovery(std::uint32_t device, pid_t server, int interrupt_fd = -1);
    // Stops, and returns when nobody has the device open any more.
    Result<void> remove(std::uint32_t device);

  private:
    Control(wire::Fd node, wire::Ring ring) : node_(std::move(node)), ring_(std::move(ring)) {}
    // What the driver answered, 0 or more.
    Result<std::int32_t> ask(std::string_view name, uapi::CtrlNr nr, const uapi::CtrlCmd& command,
                             int interrupt_fd = -1);
    Result<void> call(std::string_view name, uapi::CtrlNr nr, const uapi::CtrlCmd& command,
                      int interrupt_fd = -1);
    std::int32_t call_interruptible(uapi::CtrlNr nr, const uapi::CtrlCmd& command, int interrupt_fd);

    std::int32_t send(uapi::CtrlNr nr, const uapi::CtrlCmd& command, int interrupt_fd);

    wire::Fd node_;
    wire::Ring ring_;
    std::set<std::uint32_t> by_path_; // unprivileged devices
};

} // namespace ublk::engine
