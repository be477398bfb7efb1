// Backends around a backend. A decorator is told of a request before and after the backend has it, and may
// answer it itself, or change the answer:
//
//   Memory memory = ...;
//   With faulty(memory, RecordOptions{.into = &recorder}, FaultOptions{.which = {.ops = IoOp::write, .every =
//   100}});
//
// `faulty` is a backend again. The decorator that is named first sees a request first and its answer last.
// With is put together by the compiler and inlines; Decorated takes its list at run time. A backend without
// decorators pays for neither.
#pragma once

#include "ublk/engine/io.hpp"

#include <concepts>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

namespace ublk::backends {

// Both are called by all queue threads at once. before() answers the request itself, and then nothing behind
// it sees it; after() is given the answer of what is behind it (see engine::SyncBackend) and returns its own.
template <typename D>
concept Decorator = requires(D& decorator, engine::Io& io, std::int32_t answer) {
    { decorator.before(io) } noexcept -> std::same_as<std::optional<std::int32_t>>;
    { decorator.after(io, answer) } noexcept -> std::same_as<std::int32_t>;
};

// `backend` has to outlive it.
template <engine::Backend B, Decorator... Ds>
class With {
  public:
    static constexpr bool serves_zones = engine::ServesZones<B>;
    static constexpr bool serves_integrity = engine::ServesIntegrity<B>;

    // What each decorator is made of, in the same order.
    template <typename... Options>
    explicit With(B& backend, const Options&... options) : backend_(backend), decorators_(options...)
    {
    }

    engine::Geometry geometry() const { return backend_.geometry(); }
    std::int32_t handle(engine::Io& io) noexcept { return pass<0>(io); }

  private:
    template <std::size_t Index>
    std::int32_t pass(engine::Io& io) noexcept
    {
        if constexpr (Index == sizeof...(Ds)) {
            return backend_.handle(io);
        } else {
            auto& decorator = std::get<Index>(decorators_);
            if (const auto answer = decorator.before(io))
                return *answer;
            return decorator.after(io, pass<Index + 1>(io));
        }
    }

    B& backend_;
    std::tuple<Ds...> decorators_;
};

// The options of a decorator name it: `using Decorator = Fault;`.
template <typename B, typename... Options>
With(B&, const Options&...) -> With<B, typename Options::Decorator...>;

} // namespace ublk::backends
