// A ublk device served by this process, one type per stage of its life:
//
//   Created::add ─set_parameters→ Configured ─start→ Running ─stop→ Stopped ─remove→ nothing
//
// A step consumes its stage (call it on std::move(stage)), so that a step at the wrong stage does not
// compile. A stage that is dropped, or whose step fails, takes the device away again as well as it can. One
// thread drives the stages; it must not be a queue thread, since requests are served during stop.
#pragma once

#include "ublk/engine/control.hpp"
#include "ublk/engine/error.hpp"
#include "ublk/engine/io.hpp"
#include "ublk/engine/kernel_queue.hpp"
#include "ublk/engine/paranoid.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/params.hpp"

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

namespace ublk::engine {

struct DeviceOptions {
    std::uint32_t id = uapi::no_dev_id;      // no_dev_id: the driver chooses
    std::uint16_t queues = 1;                // the driver gives at most one per CPU
    std::uint16_t depth = 64;                // requests in flight per queue
    std::uint32_t max_io_bytes = 512 * 1024; // of one request; a buffer of this size belongs to each tag
    DataPath data_path = DataPath::copy;
    bool zoned = false; // a zoned device (UBLK_F_ZONED): its parameters must have zones; not with copy
    // Belongs to who adds it, who need not be root (UBLK_F_UNPRIVILEGED_DEV); not with user_copy.
    bool unprivileged = false;
};

// The right and duty to remove a device. Movable; removes it when destroyed.
class DeviceClaim {
  public:
    DeviceClaim(Control& control, const uapi::DevInfo& info) : control_(&control), info_(info) {}
    DeviceClaim(DeviceClaim&& other) noexcept;
    DeviceClaim& operator=(DeviceClaim&& other) noexcept;
    DeviceClaim(const DeviceClaim&) = delete;
    DeviceClaim& operator=(const DeviceClaim&) = delete;
    ~DeviceClaim();

    Control& control() const { return *control_; }
    const uapi::DevInfo& info() const { return info_; }
    Result<void> remove();                        // DEL_DEV
    void leave() noexcept { control_ = nullptr; } // the device stays

  private:
    Control* control_;
    uapi::DevInfo info_;
};

// What an observer of a queue may want to know when it is made.
struct QueueContext {
    std::uint16_t queue = 0;
    uapi::DevInfo info;
    uapi::Params params; // as they were set
};

// Watches no queue; in debug builds every queue is checked.
struct DefaultObservers {
    auto operator()([[maybe_unused]] const QueueContext& context) const
    {
        if constexpr (UBLK_ASSERTIONS != 0)
            return Paranoid(context.info.queue_depth, context.params);
        else
            return Unobserved();
    }
};

class QueueThreads; // threads, device file, how each queue ended

class Stopped {
  public:
    const uapi::DevInfo& info() const { return claim_.info(); }
    // The device is gone when this returns: waits until nobody has it open any more.
    Result<void> remove() && { return claim_.remove(); }
    void leave() && { claim_.leave(); }

  private:
    friend class Running;
    explicit Stopped(DeviceClaim claim) : claim_(std::move(claim)) {}
    DeviceClaim claim_;
};

class Running {
  public:
    Running(Running&&) noexcept;
    Running& operator=(Running&&) = delete;
    ~Running();

    const uapi::DevInfo& info() const { return claim_.info(); }
    // Becomes readable when a queue ends: somebody else stopped the device, or the queue failed.
    int ended_fd() const;
    // The first queue that failed. Its requests can only be freed by closing the device, which takes the end
    // of this process: call abandon() and exit.
    std::optional<Error> failure() const;
    // Stops the disk; what is in flight and the dirty page cache is served first.
    Result<Stopped> stop() &&;
    // Leaves device and threads as they are.
    void abandon() &&;
    // Totals of all queues; complete once they ended.
    struct Totals {
        std::uint64_t requests = 0;
        std::uint64_t errors = 0;
    };

  private:
    friend class Configured;
    Running(DeviceClaim claim, std::unique_ptr<QueueThreads> threads);
    DeviceClaim claim_;
    std::unique_ptr<QueueThreads> threads_;
};

class Configured {
  public:
    const uapi::DevInfo& info() const { return claim_.info(); }
    // Opens the device, starts its queues, and returns when the disk is there. `backend` has to live until
    // the device is stopped. Gives up with EINTR when interrupt_fd (if not -1) becomes readable. `Queue` is a
    // QueueDriver that can be made of a KernelQueue&: the kernel's queue itself, or a decorator of it.
    // `observe` makes the QueueObserver of a queue, on the thread of that queue.
    template <typename Queue = KernelQueue, Backend B, typename Observe = DefaultObservers>
    Result<Running> start(B& backend, int interrupt_fd = -1, Observe observe = {}) &&
    {
        return std::move(*this).start_queues(
            [&backend, observe, context = QueueContext{0, info(), params_}](
                KernelQueue& kernel, std::uint16_t number, const ArmedFn& armed) {
                std::conditional_t<std::same_as<Queue, KernelQueue>, Queue&, Queue> queue(kernel);
                QueueContext mine = context;
                mine.queue = number;
                QueueRunner runner(queue, backend, number, observe(mine));
                armed(runner.arm());
                return runner.run();
            },
            interrupt_fd);
    }
    Result<void> remove() && { return claim_.remove(); }

  private:
    friend class Created;
    friend class QueueThreads;
    using ArmedFn = std::function<void(int errno_or_zero)>;
    using QueueBody = std::function<QueueEnd(KernelQueue&, std::uint16_t, const ArmedFn&)>;
    Configured(DeviceClaim claim, DataPath data_path, const uapi::Params& params)
        : claim_(std::move(claim)), data_path_(data_path), params_(params)
    {
    }
    Result<Running> start_queues(QueueBody body, int interrupt_fd) &&;
    DeviceClaim claim_;
    DataPath data_path_;
    uapi::Params params_;
};

class Created {
  public:
    // `control` has to outlive every stage. Error: EOPNOTSUPP, this kernel does not offer the data path.
    static Result<Created> add(Control& control, const DeviceOptions& options);
    // What the driver made of the options.
    const uapi::DevInfo& info() const { return claim_.info(); }
    Result<Configured> set_parameters(const uapi::Params& params) &&;
    Result<void> remove() && { return claim_.remove(); }

  private:
    Created(DeviceClaim claim, DataPath data_path) : claim_(std::move(claim)), data_path_(data_path) {}
    DeviceClaim claim_;
    DataPath data_path_;
};

// Waits until a device node can be opened with `flags`: udev may make it, and look into it, a moment after
// the driver announced it. Error: what open() said last, after ten seconds of ENOENT, EACCES or EBUSY.
Result<wire::Fd> open_when_there(const std::string& path, int flags);

} // namespace ublk::engine
