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

void signal(const wire::Fd& eventfd)
{
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(eventfd.get(), &one, sizeof(one));
}

} // namespace

Result<void> QueueThreads::launch(const uapi::DevInfo& info, const ServingOptions& serving,
                                  const Integrity& integrity, const std::vector<CpuMask>& masks, Body body)
{
    body_ = std::move(body);
    shared_ = serving.shared;
    const unsigned per_queue = serving.threads_per_queue;
    // Buffers of whole pages: the driver writes into them page by page.
    constexpr std::uint64_t page = 4096;
    const std::uint64_t metadata = (integrity.bytes_of(info.max_io_buf_bytes) + page - 1) / page * page;
    const auto buffer_bytes = static_cast<std::uint32_t>(info.max_io_buf_bytes + metadata);
    // Shared: the last thread may still be leaving count_down() when we are woken.
    const auto ready = std::make_shared<std::latch>(info.nr_hw_queues * per_queue);
    for (std::uint16_t queue = 0; queue < info.nr_hw_queues; ++queue) {
        for (unsigned part = 0; part < per_queue; ++part) {
            const auto first = static_cast<std::uint16_t>(info.queue_depth * part / per_queue);
            const auto end = static_cast<std::uint16_t>(info.queue_depth * (part + 1) / per_queue);
            const KernelQueueOptions options{
                .char_fd = char_fd_.get(),
                .device = info.dev_id,
                .queue = queue,
                .thread = static_cast<std::uint16_t>(part),
                .depth = info.queue_depth,
                .buffer_bytes = buffer_bytes,
                .tags = {first, static_cast<std::uint16_t>(end - first)},
                .data_path = serving.data_path,
                .batch = serving.batch,
                .zoned = uapi::Features::from_raw(info.flags).has(uapi::Feature::zoned),
                .shared = shared_,
                .huge_pages = serving.huge_pages,
                .leaves_when_quiesced = uapi::Features::from_raw(info.flags).has(uapi::Feature::quiesce),
                .leave_fd = leave_.get()};
            threads_.emplace_back(
                [this, options, &mask = masks[queue], ready] { run_queue(options, mask, *ready); });
        }
    }
    ready->wait();
    if (auto error = failure())
        return std::unexpected(std::move(*error));
    return {};
}

void QueueThreads::run_queue(const KernelQueueOptions& options, const CpuMask& mask, std::latch& ready)
{
    place_thread(mask, options.queue);
    bool counted = false;
    const auto armed = [&](int code) {
        if (code != 0)
            note_failure(make_error("FETCH_REQ", code, options.device, options.queue));
        counted = true;
        ready.count_down();
    };
    const Result<QueueEnd> end = body_(options, armed);
    std::optional<Error> error;
    if (!end)
        error = end.error();
    else if (end->code != 0) {
        error = make_error(end->report.empty() ? "COMMIT_AND_FETCH_REQ" : "check of the queue", end->code,
                           options.device, options.queue, end->tag);
        if (!end->report.empty())
            error->hint = end->report;
    }
    if (error)
        note_failure(*error);
    if (!counted)
        ready.count_down();
    if (on_end_)
        on_end_(options.queue, error);
    signal(ended_);
}

void QueueThreads::note_failure(const Error& error)
{
    const std::lock_guard lock(mutex_);
    if (!failure_)
        failure_ = error;
}

std::optional<Error> QueueThreads::failure() const
{
    const std::lock_guard lock(mutex_);
    return failure_;
}

void QueueThreads::leave()
{
    signal(leave_);
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
