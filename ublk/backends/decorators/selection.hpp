// Which requests a decorator means: a choice that depends on nothing but the options and how many requests of
// that kind came before, so that it is the same in every run with the same requests. No lock: queues that
// share a decorator share one counter.
#pragma once

#include "ublk/engine/io.hpp"

#include <atomic>
#include <cstdint>
#include <optional>

namespace ublk::backends {

// A set of operations.
struct Ops {
    std::uint32_t mask = UINT32_MAX; // bit IoOp

    constexpr Ops() = default;
    constexpr Ops(uapi::IoOp op) : mask(bit(op)) {} // NOLINT(google-explicit-constructor)
    constexpr bool has(uapi::IoOp op) const { return (mask & bit(op)) != 0; }
    constexpr Ops operator|(Ops other) const
    {
        other.mask |= mask;
        return other;
    }
    constexpr bool operator==(const Ops&) const = default;

  private:
    static constexpr std::uint32_t bit(uapi::IoOp op)
    {
        const auto number = static_cast<unsigned>(op);
        return number < 32 ? 1U << number : 0U;
    }
};

// All that is given must hold. The counts go by the requests that `ops` and the sectors let through, in the
// order in which they come: of 1, 2, 3, … those behind `after`, of these each `every`-th, of these the
// `first` so many, and of these each with the probability `rate`.
struct Selection {
    Ops ops;
    std::uint64_t first_sector = 0; // 512 bytes each; a request that touches one of first to last
    std::uint64_t last_sector = UINT64_MAX;
    std::uint64_t after = 0;
    std::uint64_t every = 1; // not 0
    std::uint64_t first = UINT64_MAX;
    double rate = 1; // 0 to 1
    std::uint64_t seed = 0;

    constexpr bool operator==(const Selection&) const = default;
};

// A number out of a seed and a place, as good as random.
constexpr std::uint64_t mixed(std::uint64_t seed, std::uint64_t place)
{
    // The finisher of SplitMix64.
    std::uint64_t z = seed + (place + 1) * 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
}

class Selector {
  public:
    explicit Selector(const Selection& which) : which_(which), always_(which.rate >= 1)
    {
        constexpr double two_to_64 = 18446744073709551616.0;
        threshold_ = always_ || !(which.rate > 0) ? 0 : static_cast<std::uint64_t>(which.rate * two_to_64);
    }

    // Counts the request. Chosen: a random number that belongs to this choice; nullopt: not chosen.
    std::optional<std::uint64_t> choose(const engine::Io& io) noexcept
    {
        if (!which_.ops.has(io.op) || !touches(io))
            return std::nullopt;
        const std::uint64_t number = count_.fetch_add(1, std::memory_order_relaxed) + 1;
        if (number <= which_.after)
            return std::nullopt;
        const std::uint64_t behind = number - which_.after;
        if (behind % which_.every != 0 || behind / which_.every > which_.first)
            return std::nullopt;
        const std::uint64_t draw = mixed(which_.seed, number);
        if (!always_ && draw >= threshold_)
            return std::nullopt;
        return mixed(draw, number);
    }

  private:
    bool touches(const engine::Io& io) const noexcept
    {
        if (which_.first_sector == 0 && which_.last_sector == UINT64_MAX)
            return true;
        if (io.op == uapi::IoOp::flush || io.op == uapi::IoOp::zone_reset_all)
            return false; // they have no place
        const bool counts_zones = io.op == uapi::IoOp::report_zones || io.nr_sectors == 0;
        const std::uint64_t more = counts_zones ? 0 : io.nr_sectors - 1U;
        const std::uint64_t end = more > UINT64_MAX - io.start_sector ? UINT64_MAX : io.start_sector + more;
        return io.start_sector <= which_.last_sector && end >= which_.first_sector;
    }

    Selection which_;
    bool always_;
    std::uint64_t threshold_ = 0;
    alignas(64) std::atomic<std::uint64_t> count_ = 0;
};

} // namespace ublk::backends
