// A decorator that lets requests wait before they are served.
//
// Backends are synchronous: a request that waits holds up its whole queue, all other tags of it included, and
// with them a STOP_DEV, which waits for what is in flight. At depth n a queue is slowed down n times as much
// as the figure says. It sleeps without a lock; other queues go on.
#pragma once

#include "ublk/backends/decorators/selection.hpp"

#include <chrono>

namespace ublk::backends {

class Delay;

struct DelayOptions {
    using Decorator = Delay;
    Selection which;
    std::chrono::nanoseconds least{}; // each waits for something between these two, the same for the same
    std::chrono::nanoseconds most{};  // seed and count; not below `least`
    void (*sleep)(std::chrono::nanoseconds) noexcept = nullptr; // nullptr: sleeps; a test has its own
};

// Goes on sleeping after a signal.
void sleep_for(std::chrono::nanoseconds time) noexcept;

class Delay {
  public:
    explicit Delay(const DelayOptions& options)
        : selector_(options.which), least_(static_cast<std::uint64_t>(options.least.count())),
          span_(static_cast<std::uint64_t>((options.most - options.least).count())),
          sleep_(options.sleep != nullptr ? options.sleep : sleep_for)
    {
    }

    std::optional<std::int32_t> before(const engine::Io& io) noexcept
    {
        if (const auto random = selector_.choose(io))
            sleep_(std::chrono::nanoseconds(least_ + *random % (span_ + 1)));
        return std::nullopt;
    }
    std::int32_t after(const engine::Io&, std::int32_t answer) noexcept { return answer; }

  private:
    Selector selector_;
    std::uint64_t least_, span_; // nanoseconds
    void (*sleep_)(std::chrono::nanoseconds) noexcept;
};

} // namespace ublk::backends
