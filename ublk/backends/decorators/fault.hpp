// A decorator that fails requests instead of having them served.
#pragma once

#include "ublk/backends/decorators/selection.hpp"

#include <cerrno>

namespace ublk::backends {

class Fault;

// Lets code decide when requests fail. Any thread.
class Trigger {
  public:
    static constexpr std::uint64_t for_ever = UINT64_MAX;

    // From now on so many requests fail.
    void pull(std::uint64_t times = for_ever) noexcept { left_.store(times, std::memory_order_relaxed); }
    void release() noexcept { pull(0); }
    bool pulled() const noexcept { return left_.load(std::memory_order_relaxed) != 0; }

    // Whether one more may fail, which is then counted.
    bool take() noexcept
    {
        std::uint64_t left = left_.load(std::memory_order_relaxed);
        while (left != 0 && left != for_ever)
            if (left_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed))
                break;
        return left != 0;
    }

  private:
    std::atomic<std::uint64_t> left_ = 0;
};

struct FaultOptions {
    using Decorator = Fault;
    Selection which;
    int error = EIO;            // positive errno, at most 4095
    Trigger* trigger = nullptr; // if there is one: only while it is pulled; it has to outlive the decorator
};

class Fault {
  public:
    explicit Fault(const FaultOptions& options)
        : selector_(options.which), error_(options.error), trigger_(options.trigger)
    {
    }

    std::optional<std::int32_t> before(const engine::Io& io) noexcept
    {
        if (trigger_ != nullptr && !trigger_->pulled())
            return std::nullopt;
        if (!selector_.choose(io) || (trigger_ != nullptr && !trigger_->take()))
            return std::nullopt;
        return -error_;
    }
    std::int32_t after(const engine::Io&, std::int32_t answer) noexcept { return answer; }

  private:
    Selector selector_;
    int error_;
    Trigger* trigger_;
};

} // namespace ublk::backends
