// A ublk device served by this process, one type per stage of its life:
//
//   Created::add ─set_parameters→ Configured ─prepare→ Prepared ─start→ Running ─stop→ Stopped ─remove→
//   nothing
//                                  Recovering ─prepare→ Prepared             └─ wait_ended ─┘  └─leave→ stays
//
// A step consumes its stage (call it on std::move(stage)), so that a step at the wrong stage does not
// compile. A stage that is dropped, or whose step fails, takes the device away again as well as it can; one
// that is being recovered stays, for another try. One thread drives the stages; it must not be a queue
// thread, since requests are served during stop.
#pragma once

#include "ublk/engine/batch_queue.hpp"
#include "ublk/engine/control.hpp"
#include "ublk/engine/device_options.hpp"
#include "ublk/engine/error.hpp"
#include "ublk/engine/io.hpp"
#include "ublk/engine/kernel_queue.hpp"
#include "ublk/engine/paranoid.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/shmem_queue.hpp"
#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/params.hpp"

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

namespace ublk::engine {

// The right and duty to remove a device. Movable; removes it when destroyed, unless it is to stay.
class DeviceClaim {
  public:
    DeviceClaim(Control& control, const uapi::DevInfo& info, bool stays = false)
        : control_(&control), info_(info), stays_(stays)
    {
    }
    DeviceClaim(DeviceClaim&& other) noexcept;
    DeviceClaim& operator=(DeviceClaim&& other) noexcept;
    DeviceClaim(const DeviceClaim&) = delete;
    DeviceClaim& operator=(const DeviceClaim&) = delete;
    ~DeviceClaim();

    Control& control() const { return *control_; }
    const uapi::DevInfo& info() const { return info_; }
    bool stays() const { return stays_; }
    Result<void> remove();                        // DEL_DEV
    void leave() noexcept { control_ = nullptr; } // the device stays

  private:
    Control* control_;
    uapi::DevInfo info_;
    bool stays_;
};

// What an observer of a queue may want to know when it is made.
struct QueueContext {
    std::uint16_t queue = 0;
    std::uint16_t thread = 0; // of those that serve the queue
    uapi::DevInfo info;
    uapi::Params params; // as they were set
};

// Sectors of a device's disk as the kernel's sysfs has them, 0 where it is not told. Waits for nobody.
std::uint64_t sectors_of_disk(std::uint32_t device) noexcept;

// Watches no queue; in debug builds every queue is checked.
struct DefaultObservers {
    auto operator()([[maybe_unused]] const QueueContext& context) const
    {
        if constexpr (UBLK_ASSERTIONS != 0)
            return Paranoid(context.info.queue_depth, context.params,
                            uapi::Features::from_raw(context.info.flags),
                            [device = context.info.dev_id] { return sectors_of_disk(device); });
        else
            return Unobserved();
    }
};

class QueueThreads; // threads, device file, how each queue ended

// The device without a server: nothing of this process holds it any more.
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
    Result<uapi::DevInfo> state() const; // as the driver tells it now
    // Becomes readable when a queue ends: somebody else stopped or quiesced the device, or the queue failed.
    int ended_fd() const;
    // The first queue that failed. Its requests can only be freed by closing the device, which takes the end
    // of this process: call abandon() and exit.
    std::optional<Error> failure() const;
    // Another size, in bytes; the backend has to have it already. Error: EOPNOTSUPP before 6.16.
    Result<void> resize(std::uint64_t bytes);
    // Ends the disk if nobody has it open; go on with stop() or wait_ended() then. Errors: EBUSY, somebody
    // has, and all is as before; EOPNOTSUPP before 7.0.
    Result<void> try_stop();
    // Stops the disk; what is in flight and the dirty page cache is served first.
    Result<Stopped> stop() &&;
    // Gives the disk to another server: new requests wait (or fail, with Recovery::fail_io) until one takes
    // over, those that the backend has are answered first. Errors: EOPNOTSUPP, before 6.16 or without
    // recovery; then the device has been stopped.
    Result<Stopped> quiesce(std::chrono::milliseconds timeout = std::chrono::seconds(30)) &&;
    // For when somebody else ended the device, see ended_fd().
    Stopped wait_ended() &&;
    // Leaves device and threads as they are.
    void abandon() &&;

  private:
    friend class Prepared;
    Running(DeviceClaim claim, std::unique_ptr<QueueThreads> threads);
    DeviceClaim claim_;
    std::unique_ptr<QueueThreads> threads_;
};

// All FETCHes are with the driver, and there is no disk yet (or, in a recovery, requests wait).
class Prepared {
  public:
    Prepared(Prepared&&) noexcept;
    Prepared& operator=(Prepared&&) = delete;
    ~Prepared();

    const uapi::DevInfo& info() const { return claim_.info(); }
    // Returns when the disk is there. Gives up with EINTR when interrupt_fd (if not -1) becomes readable.
    Result<Running> start(int interrupt_fd = -1) &&;

  private:
    friend class PrepareStep;
    Prepared(DeviceClaim claim, std::unique_ptr<QueueThreads> threads);
    void give_back() noexcept;
    DeviceClaim claim_;
    std::unique_ptr<QueueThreads> threads_;
};

// Opens the device and starts its queues; what Configured and Recovering have in common.
class PrepareStep {
  public:
    const uapi::DevInfo& info() const { return claim_.info(); }
    const uapi::Params& params() const { return params_; }
    // `backend` has to live until the device is stopped. `Queue` is a QueueDriver that can be made of a
    // KernelQueue&: the kernel's queue itself, or a decorator of it. Errors: EOPNOTSUPP, the backend needs
    // mapped payload and the data path has none; EINVAL, its metadata is not that of the device. `observe`
    // makes the QueueObserver of a queue (of each thread's share of it), on the thread that serves it.
    template <typename Queue = KernelQueue, Backend B, typename Observe = DefaultObservers>
    Result<Prepared> prepare(B& backend, Observe observe = {}, EndedFn on_end = {}) &&
    {
        Integrity integrity;
        if constexpr (ServesIntegrity<B>)
            integrity = backend.geometry().integrity;
        constexpr bool may_share = std::same_as<Queue, KernelQueue> && !ServesZones<B> && !ServesIntegrity<B>;
        if (auto fits = check_backend(ServesUnmapped<B>, may_share, integrity); !fits)
            return std::unexpected(std::move(fits.error()));
        return prepare_queues(
            [&backend, observe, context = QueueContext{0, 0, info(), params_}](
                const KernelQueueOptions& options, const ArmedFn& armed) {
                QueueContext mine = context;
                mine.queue = options.queue;
                mine.thread = options.thread;
                if constexpr (may_share) {
                    if (options.data_path == DataPath::shmem)
                        return serve_queue<ShmemQueue, ShmemQueue>(backend, options, armed, observe(mine));
                }
                if constexpr (std::same_as<Queue, KernelQueue>) {
                    if (options.batch)
                        return serve_queue<BatchQueue, BatchQueue>(backend, options, armed, observe(mine));
                }
                return serve_queue<KernelQueue, Queue>(backend, options, armed, observe(mine));
            },
            std::move(on_end));
    }
    // prepare() and Prepared::start() in one.
    template <typename Queue = KernelQueue, Backend B, typename Observe = DefaultObservers>
    Result<Running> start(B& backend, int interrupt_fd = -1, Observe observe = {}, EndedFn on_end = {}) &&
    {
        auto prepared =
            std::move(*this).template prepare<Queue>(backend, std::move(observe), std::move(on_end));
        if (!prepared)
            return std::unexpected(std::move(prepared.error()));
        return std::move(*prepared).start(interrupt_fd);
    }

  protected:
    friend class QueueThreads;
    using ArmedFn = std::function<void(int errno_or_zero)>;
    using QueueBody = std::function<Result<QueueEnd>(const KernelQueueOptions&, const ArmedFn&)>;
    PrepareStep(DeviceClaim claim, const ServingOptions& serving, const uapi::Params& params)
        : claim_(std::move(claim)), serving_(serving), params_(params)
    {
    }
    // What a queue's thread does.
    template <typename Kernel, typename Queue, Backend B, QueueObserver O>
    static Result<QueueEnd> serve_queue(B& backend, const KernelQueueOptions& options, const ArmedFn& armed,
                                        O observer)
    {
        KernelQueueOptions mine = options;
        mine.operations = AsyncBackend<B>;
        auto kernel = Kernel::open(mine);
        if (!kernel)
            return std::unexpected(std::move(kernel.error()));
        std::conditional_t<std::same_as<Queue, Kernel>, Queue&, Queue> queue(*kernel);
        QueueRunner<Queue, B, O> runner(queue, backend, options.queue, std::move(observer));
        armed(runner.arm());
        return runner.run();
    }
    Result<void> check_backend(bool serves_unmapped, bool may_share, const Integrity& integrity) const;
    Result<void> register_shared();
    Result<Prepared> prepare_queues(QueueBody body, EndedFn on_end);
    DeviceClaim claim_;
    ServingOptions serving_;
    uapi::Params params_;
};

class Configured : public PrepareStep {
  public:
    Result<void> remove() && { return claim_.remove(); }

  private:
    friend class Created;
    using PrepareStep::PrepareStep;
};

// A device whose server died or quiesced it, to be served by this process.
class Recovering : public PrepareStep {
  public:
    // Waits up to `patience` for the old server to be gone. The data path is the device's own. Errors:
    // ENODEV; EBUSY, its server is alive; EINVAL, it was added without recovery.
    static Result<Recovering> begin(Control& control, std::uint32_t id, const ServingOptions& serving = {},
                                    std::chrono::milliseconds patience = std::chrono::seconds(10));

  private:
    using PrepareStep::PrepareStep;
};

class Created {
  public:
    // `control` has to outlive every stage. Error: EOPNOTSUPP, this kernel does not offer what was asked for.
    static Result<Created> add(Control& control, const DeviceOptions& options);
    // What the driver made of the options.
    const uapi::DevInfo& info() const { return claim_.info(); }
    Result<Configured> set_parameters(const uapi::Params& params) &&;
    Result<void> remove() && { return claim_.remove(); }

  private:
    Created(DeviceClaim claim, const ServingOptions& serving) : claim_(std::move(claim)), serving_(serving) {}
    DeviceClaim claim_;
    ServingOptions serving_;
};

// Waits until a device node can be opened with `flags`: udev may make it, and look into it, a moment after
// the driver announced it. Error: what open() said last, after ten seconds of ENOENT, EACCES or EBUSY.
Result<wire::Fd> open_when_there(const std::string& path, int flags);

} // namespace ublk::engine
