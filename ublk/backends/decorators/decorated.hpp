// Any list of decorators around a backend, chosen while the program runs. What With does for a list that the
// compiler knows.
#pragma once

#include "ublk/backends/decorators/corrupt.hpp"
#include "ublk/backends/decorators/crash.hpp"
#include "ublk/backends/decorators/decorate.hpp"
#include "ublk/backends/decorators/delay.hpp"
#include "ublk/backends/decorators/fault.hpp"
#include "ublk/backends/decorators/record.hpp"
#include "ublk/backends/decorators/short.hpp"

#include <deque>
#include <span>
#include <variant>

namespace ublk::backends {

using DecoratorOptions =
    std::variant<FaultOptions, DelayOptions, ShortOptions, CorruptOptions, CrashOptions, RecordOptions>;

// `backend` has to outlive it. The decorator that is named first sees a request first and its answer last.
template <engine::Backend B>
class Decorated {
  public:
    static constexpr bool serves_zones = engine::ServesZones<B>;
    static constexpr bool serves_integrity = engine::ServesIntegrity<B>;

    Decorated(B& backend, std::span<const DecoratorOptions> list) : backend_(backend)
    {
        for (const auto& one : list)
            std::visit(
                [&]<typename Options>(const Options& options) {
                    decorators_.emplace_back(std::in_place_type<typename Options::Decorator>, options);
                },
                one);
    }

    engine::Geometry geometry() const { return backend_.geometry(); }

    std::int32_t handle(engine::Io& io) noexcept
    {
        std::size_t entered = 0;
        std::optional<std::int32_t> answer;
        for (; entered < decorators_.size(); ++entered) {
            answer = std::visit([&](auto& decorator) { return decorator.before(io); }, decorators_[entered]);
            if (answer)
                break;
        }
        std::int32_t result = answer ? *answer : backend_.handle(io);
        while (entered-- > 0)
            result = std::visit([&](auto& decorator) { return decorator.after(io, result); },
                                decorators_[entered]);
        return result;
    }

  private:
    B& backend_;
    std::deque<std::variant<Fault, Delay, Short, Corrupt, Crash, Record>> decorators_; // they cannot be moved
};

} // namespace ublk::backends
