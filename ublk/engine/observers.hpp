// Observers of a queue: counters, latencies, and a log of what failed.
#pragma once

#include "ublk/engine/assert.hpp"
#include "ublk/engine/device.hpp"
#include "ublk/engine/observer.hpp"
#include "ublk/engine/paranoid.hpp"
#include "ublk/observe/log.hpp"
#include "ublk/observe/metrics.hpp"

#include <array>
#include <chrono>
#include <cstring>
#include <vector>

namespace ublk::engine {

// Counts into the metrics of its queue, which have to outlive it: a handful of instructions for each request.
class Counting : public Unobserved {
  public:
    explicit Counting(observe::QueueMetrics& metrics) : metrics_(&metrics) {}

    void entered() noexcept { observe::bump(metrics_->enters, 1); }
    void drained(unsigned completions) noexcept
    {
        if (completions == 0) [[unlikely]]
            observe::bump(metrics_->empty, 1);
    }
    void shared(const Io&) noexcept { observe::bump(metrics_->shared, 1); }
    void answered(const Io& io, std::int32_t result) noexcept
    {
        // Reads and writes that succeed first: this is in the path of each of them.
        const auto op = static_cast<std::size_t>(io.op);
        if (op > observe::op_slot(uapi::IoOp::write) || result < 0) [[unlikely]]
            return count_rare(io.op, io.nr_sectors, !io.data.empty(), result);
        observe::QueueMetrics& counted = *metrics_;
        observe::bump(counted.requests[op], 1);
        observe::bump(counted.bytes[op], static_cast<std::uint32_t>(result));
    }

  protected:
    observe::QueueMetrics& metrics() noexcept { return *metrics_; }

  private:
    // Not given the request itself, which then need not be in memory.
    [[gnu::cold, gnu::noinline]] void count_rare(uapi::IoOp op, std::uint32_t sectors, bool has_data,
                                                 std::int32_t result) noexcept
    {
        static_assert(observe::op_slot(uapi::IoOp::write) == 1);
        const std::size_t slot = observe::op_slot(op);
        observe::bump(metrics_->requests[slot], 1);
        if (result < 0)
            observe::bump(metrics_->errors[slot], 1);
        else if (has_data) // of zones
            observe::bump(metrics_->bytes[slot], static_cast<std::uint64_t>(result));
        else if (op < uapi::IoOp::zone_open)
            observe::bump(metrics_->bytes[slot], std::uint64_t{sectors} << uapi::sector_shift);
    }

    observe::QueueMetrics* metrics_;
};

// Counting, and the latency of each request: two looks at the clock, one of them shared by a batch.
class Timing : public Counting {
  public:
    Timing(observe::QueueMetrics& metrics, std::uint16_t depth) : Counting(metrics), begun_(depth) {}

    void entered() noexcept
    {
        Counting::entered();
        seen_ = Clock::now();
    }
    void request(const Io& io, const uapi::IoDesc&, std::span<std::byte>) noexcept { begun_[io.tag] = seen_; }
    void answered(const Io& io, std::int32_t result) noexcept
    {
        Counting::answered(io, result);
        const std::chrono::nanoseconds took = Clock::now() - begun_[io.tag];
        metrics().latency[observe::latency_slot(io.op)].add(static_cast<std::uint64_t>(took.count()));
    }

  private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point seen_;
    std::vector<Clock::time_point> begun_; // by tag
};

// A warning for each request that fails, and a count of those that found the log full.
class ErrorLog : public Unobserved {
  public:
    ErrorLog(observe::Log& log, observe::QueueMetrics& metrics, std::uint16_t queue)
        : log_(&log), metrics_(&metrics), queue_(queue)
    {
    }

    void answered(const Io& io, std::int32_t result) noexcept
    {
        if (result < 0) [[unlikely]]
            say(io.tag, io.op, io.nr_sectors, io.start_sector, result);
    }

  private:
    [[gnu::cold, gnu::noinline]] void say(std::uint16_t tag, uapi::IoOp op, std::uint32_t sectors,
                                          std::uint64_t first, std::int32_t result) noexcept
    {
        const char* name = ::strerrorname_np(-result);
        if (!log_->write(observe::Level::warning, "queue {}, tag {}: {} of {} sectors at {} failed: {} ({})",
                         queue_, tag, observe::op_names[observe::op_slot(op)], sectors, first,
                         name != nullptr ? name : "unknown errno", -result))
            observe::bump(metrics_->dropped, 1);
    }

    observe::Log* log_;
    observe::QueueMetrics* metrics_;
    std::uint16_t queue_;
};

enum class Watching : std::uint8_t { counting, timing, paranoid };

// For Configured::start(): every queue counts into `metrics`, which has a place for each thread of the
// device, and logs what fails. `timing` measures latencies as well, `paranoid` also checks; in debug builds
// all of them check.
template <Watching how>
class Watch {
  public:
    Watch(const observe::Metrics& metrics, observe::Log& log) : metrics_(&metrics), log_(&log) {}

    auto operator()(const QueueContext& context) const
    {
        observe::QueueMetrics& metrics = metrics_->of(context.queue, context.thread);
        const std::uint16_t depth = context.info.queue_depth;
        [[maybe_unused]] const auto features = uapi::Features::from_raw(context.info.flags);
        if constexpr (how == Watching::paranoid || UBLK_ASSERTIONS != 0)
            return Observers(Paranoid(depth, context.params, features,
                                      [device = context.info.dev_id] { return sectors_of_disk(device); }),
                             Timing(metrics, depth), ErrorLog(*log_, metrics, context.queue));
        else if constexpr (how == Watching::timing)
            return Observers(Timing(metrics, depth), ErrorLog(*log_, metrics, context.queue));
        else
            return Observers(Counting(metrics), ErrorLog(*log_, metrics, context.queue));
    }

  private:
    const observe::Metrics* metrics_;
    observe::Log* log_;
};

} // namespace ublk::engine
