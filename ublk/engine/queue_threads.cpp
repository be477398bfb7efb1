#include "ublk/engine/queue_threads.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace ublk::engine {

namespace {

// Best effort: a queue on the wrong CPU is slow, not wrong, and a container may forbid both calls.
void place_thread(const CpuMask& mask, std::uint16_t queue)
{
    const bool empty = std::all_of(mask.begin(), mask.end(), [](std::byte b) { return b == std::byte{0}; });
    if (!empty) {
        const auto* set = static_cast<const cpu_set_t*>(static_cast<const void*>(mask.data()));
        ::pthread_setaffinity_np(::pthread_self(), mask.size(), set);
    }
    // Memory reclaim may wait for this thread to write pages: its own allocations must not wait for reclaim.
    ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    const std::string name = "ublk-q" + std::to_string(queue);
    ::pthread_setname_np(::pthread_self(), name.c_str());
}

} // namespace

Result<void> QueueThreads::launch(const uapi::DevInfo& info, DataPath data_path,
                                  const std::vector<CpuMask>& masks, Body body)
{
    body_ = std::move(body);
    // Shared: the last thread may still be leaving count_down() when we are woken.
    const auto ready = std::make_shared<std::latch>(info.nr_hw_queues);
    for (std::uint16_t queue = 0; queue < info.nr_hw_queues; ++queue) {
        const KernelQueueOptions options{.char_fd = char_fd_.get(),
                                         .device = info.dev_id,
                                         .queue = queue,
                                         .depth = info.queue_depth,
                                         .buffer_bytes = info.max_io_buf_bytes,
                                         .data_path = data_path};
        threads_.emplace_back(
            [this, options, &mask = masks[queue], ready] { run_queue(options, mask, *ready); });
    }
    ready->wait();
    if (auto error = failure())
        return std::unexpected(std::move(*error));
    return {};
}

void QueueThreads::run_queue(const KernelQueueOptions& options, const CpuMask& mask, std::latch& ready)
{
    place_thread(mask, options.queue);
    auto queue = KernelQueue::open(options);
    if (!queue) {
        note_failure(std::move(queue.error()));
        ready.count_down();
        return;
    }
    const auto armed = [&](int code) {
        if (code != 0)
            note_failure(make_error("FETCH_REQ", code, options.device, options.queue));
        ready.count_down();
    };
    const QueueEnd end = body_(*queue, options.queue, armed);
    if (end.code != 0) {
        Error error = make_error(end.report.empty() ? "COMMIT_AND_FETCH_REQ" : "check of the queue", end.code,
                                 options.device, options.queue, end.tag);
        if (!end.report.empty())
            error.hint = end.report;
        note_failure(std::move(error));
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(ended_.get(), &one, sizeof(one));
}

void QueueThreads::note_failure(Error error)
{
    const std::lock_guard lock(mutex_);
    if (!failure_)
        failure_ = std::move(error);
}

std::optional<Error> QueueThreads::failure() const
{
    const std::lock_guard lock(mutex_);
    return failure_;
}

void QueueThreads::join()
{
    for (auto& thread : threads_)
        thread.join();
    threads_.clear();
    char_fd_.reset();
}

void QueueThreads::abandon()
{
    for (auto& thread : threads_)
        thread.detach();
    threads_.clear();
}

} // namespace ublk::engine
