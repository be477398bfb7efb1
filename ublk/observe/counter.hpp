// Counters with one writer, that others read while it counts.
#pragma once

#include <atomic>
#include <cstdint>

namespace ublk::observe {

// Only by the thread that owns the counter: a load and a store, no locked instruction. Compilers make three
// instructions of that, though there is one for it, which readers see the whole effect of or none.
inline void bump(std::uint64_t& counter, std::uint64_t by) noexcept
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    asm("addq %1, %0" : "+m"(counter) : "er"(by) : "cc");
#else
    std::atomic_ref shared(counter);
    shared.store(shared.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
#endif
}

static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

} // namespace ublk::observe
