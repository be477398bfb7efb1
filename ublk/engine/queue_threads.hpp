// The threads of a running device. Internal to the engine.
#pragma once

#include "ublk/engine/device.hpp"

#include <atomic>
#include <latch>
#include <mutex>
#include <thread>

namespace ublk::engine {

class QueueThreads {
  public:
    using Body = PrepareStep::QueueBody;

    // `ended` and `leave` are eventfds.
    QueueThreads(wire::Fd char_fd, wire::Fd ended, wire::Fd leave, EndedFn on_end)
        : char_fd_(std::move(char_fd)), ended_(std::move(ended)), leave_(std::move(leave)),
          on_end_(std::move(on_end))
    {
    }
    ~QueueThreads() { join(); }
    QueueThreads(const QueueThreads&) = delete;
    QueueThreads& operator=(const QueueThreads&) = delete;

    // Starts the threads of each queue, on the CPUs of masks[queue] (an empty mask: anywhere), and returns
    // when all their FETCHes are with the driver, or the first error. After an error the device must be
    // stopped, so that the other threads end; the destructor waits for them.
    Result<void> launch(const uapi::DevInfo& info, const ServingOptions& serving, const Integrity& integrity,
                        const std::vector<CpuMask>& masks, Body body);
    int ended_fd() const { return ended_.get(); }
    std::optional<Error> failure() const;
    void leave(); // the threads end when no request is with the backend; armed tags are left to the driver
    void join();  // waits for the threads; then the device file is closed
    void abandon();

  private:
    void run_queue(const KernelQueueOptions& options, const CpuMask& mask, std::latch& ready);
    void note_failure(const Error& error);

    wire::Fd char_fd_;
    wire::Fd ended_, leave_;
    EndedFn on_end_;
    SharedMemory shared_; // the queues' view of it
    Body body_;
    std::vector<std::thread> threads_;
    mutable std::mutex mutex_; // guards failure_; taken only when a queue starts or ends
    std::optional<Error> failure_;
};

} // namespace ublk::engine
