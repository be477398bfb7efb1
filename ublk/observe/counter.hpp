// Counters with one writer, that others read while it counts.
#pragma once

#include <atomic>
#include <cstdint>

namespace ublk::observe {

// Only by the thread that owns the counter: a load and a store, no locked instruction.
inline void bump(std::uint64_t& counter, std::uint64_t by) noexcept
{
    std::atomic_ref shared(counter);
    shared.store(shared.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

} // namespace ublk::observe
