// What a QueueRunner tells while it serves: counters, clocks, logs and checks are observers. An observer is a
// policy whose hooks are inlined into the loop: what it does not define costs nothing.
#pragma once

#include "ublk/engine/io.hpp"
#include "ublk/engine/tags.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace ublk::engine {

// Every hook, doing nothing. An observer derives from this and hides the hooks that it wants. They are called
// on the queue's thread, in the I/O path: no lock, no allocation, nothing that blocks or throws.
struct Unobserved {
    // The ring was entered; what came back is taken next.
    void entered() noexcept {}
    // We send a command for the tag: fetch, commit (with `result`) or get_data.
    void sent(std::uint16_t, TagEvent, std::int32_t) noexcept {}
    // A command came back; as it is, whatever the tag may be.
    void completed(std::uint16_t, std::int32_t) noexcept {}
    // All completions that were there have been taken: so many.
    void drained(unsigned) noexcept {}
    // A request, before its payload is brought and before the backend sees it. `buffer` is where its payload
    // goes: the tag's, or shared memory from there to its end; empty if it is not mapped, or nowhere.
    void request(const Io&, const uapi::IoDesc&, std::span<std::byte>) noexcept {}
    // The payload of this request is in memory that is shared with the application.
    void shared(const Io&) noexcept {}
    // What will be committed for the request.
    void answered(const Io&, std::int32_t) noexcept {}

    // False: nothing more may be served, and the queue ends with EPROTO and report().
    static constexpr bool sound() noexcept { return true; }
    std::string report() const { return {}; }
};

template <typename O>
concept QueueObserver = requires(O& observer, std::uint16_t tag, std::int32_t result, const Io& io,
                                 const uapi::IoDesc& desc, std::span<std::byte> buffer) {
    { observer.entered() } noexcept;
    { observer.sent(tag, TagEvent::commit, result) } noexcept;
    { observer.completed(tag, result) } noexcept;
    { observer.drained(0U) } noexcept;
    { observer.request(io, desc, buffer) } noexcept;
    { observer.shared(io) } noexcept;
    { observer.answered(io, result) } noexcept;
    { observer.sound() } noexcept -> std::same_as<bool>;
    { observer.report() } -> std::same_as<std::string>;
};

// Several observers as one, told in this order.
template <QueueObserver... O>
class Observers : private O... {
  public:
    explicit Observers(O... observers) : O(std::move(observers))... {}

    void entered() noexcept { (O::entered(), ...); }
    void sent(std::uint16_t tag, TagEvent event, std::int32_t result) noexcept
    {
        (O::sent(tag, event, result), ...);
    }
    void completed(std::uint16_t tag, std::int32_t result) noexcept { (O::completed(tag, result), ...); }
    void drained(unsigned completions) noexcept { (O::drained(completions), ...); }
    void request(const Io& io, const uapi::IoDesc& desc, std::span<std::byte> buffer) noexcept
    {
        (O::request(io, desc, buffer), ...);
    }
    void shared(const Io& io) noexcept { (O::shared(io), ...); }
    void answered(const Io& io, std::int32_t result) noexcept { (O::answered(io, result), ...); }
    bool sound() const noexcept { return (O::sound() && ...); }
    std::string report() const { return (std::string() + ... + O::report()); }
};

} // namespace ublk::engine
