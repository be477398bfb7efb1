// The zones of a host-managed disk: conditions, write pointers, limits. Knows no data. All places and lengths
// are sectors of 512 bytes; a zone's number is its place among all, from 0.
//
// Where SCSI, ATA and NVMe differ it is an NVMe zoned namespace: closing an empty zone, opening a full one
// are errors, and a limit that is met has an error of its own. An implicitly opened zone gives way: it is
// closed when its place is needed.
#pragma once

#include "ublk/uapi/io.hpp"

#include <atomic>
#include <cstdint>
#include <expected>
#include <mutex>
#include <vector>

namespace ublk::backends {

struct ZoneLayout {
    std::uint64_t zones = 0;
    std::uint64_t size = 0;         // of a zone
    std::uint64_t capacity = 0;     // of a zone: what can be written, from its start
    std::uint64_t conventional = 0; // the first so many are written anywhere and have no state
    std::uint32_t max_open = 0;     // 0: no limit
    std::uint32_t max_active = 0;   // open or closed; 0: no limit
};

// Any thread may call anything at any time. A write or append to an open zone that leaves it open takes no
// lock; what changes a condition does.
//
// Errors, as the block layer tells them to the application: -EIO what the zone does not allow, -EOVERFLOW
// max_active is met, -ETOOMANYREFS max_open is met by zones that were opened explicitly.
class ZoneTable {
  public:
    explicit ZoneTable(const ZoneLayout& layout);

    const ZoneLayout& layout() const { return layout_; }

    // Moves the write pointer over a write of `count` at `start`, which must not leave the zone: from then on
    // it counts as written. 0, or the error.
    std::int32_t write(std::uint64_t start, std::uint64_t count) noexcept;
    // The same for a write to wherever the pointer of the zone at `zone_start` is: where that was.
    std::expected<std::uint64_t, std::int32_t> append(std::uint64_t zone_start, std::uint64_t count) noexcept;

    // 0, or the error. `zone_start` is a zone's first sector, or it is an error.
    std::int32_t open(std::uint64_t zone_start) noexcept;
    std::int32_t close(std::uint64_t zone_start) noexcept;
    std::int32_t finish(std::uint64_t zone_start) noexcept;
    std::int32_t reset(std::uint64_t zone_start) noexcept;

    // The number of the sequential zone that begins there; -EIO if none does.
    std::expected<std::uint64_t, std::int32_t> sequential_zone(std::uint64_t zone_start) const noexcept;
    uapi::ZoneReport report(std::uint64_t zone) const noexcept;
    bool is_conventional(std::uint64_t zone) const noexcept { return zone < layout_.conventional; }

  private:
    using Cond = uapi::ZoneCond;
    struct State {
        Cond cond = Cond::empty;
        std::uint64_t wp = 0; // from the zone's start; the whole size when full
    };
    static constexpr unsigned cond_bits = 8;
    static constexpr std::uint64_t pack(State state)
    {
        return state.wp << cond_bits | static_cast<std::uint64_t>(state.cond);
    }
    static constexpr State unpack(std::uint64_t word)
    {
        constexpr std::uint64_t mask = (1U << cond_bits) - 1;
        return {static_cast<Cond>(word & mask), word >> cond_bits};
    }
    static constexpr bool is_open(Cond cond)
    {
        return cond == Cond::implicit_open || cond == Cond::explicit_open;
    }

    State state(std::uint64_t zone) const noexcept
    {
        return unpack(zones_[zone].load(std::memory_order_acquire));
    }
    // Where the write begins in its zone. `at` is UINT64_MAX for an append.
    std::expected<std::uint64_t, std::int32_t> advance(std::uint64_t zone, std::uint64_t at,
                                                       std::uint64_t count) noexcept;
    std::expected<std::uint64_t, std::int32_t> advance_locked(std::uint64_t zone, std::uint64_t at,
                                                              std::uint64_t count) noexcept;
    std::int32_t make_room(Cond from) noexcept;
    void close_an_implicit_one() noexcept;
    // What is counted follows the condition. `next` is made of the state as it is at that moment.
    template <typename Next>
    void change(std::uint64_t zone, Next next) noexcept;
    void count(Cond cond, std::uint32_t by) noexcept;

    ZoneLayout layout_;
    // Only the write pointer of an open zone moves without the mutex.
    std::vector<std::atomic<std::uint64_t>> zones_;
    std::mutex mutex_;
    std::uint32_t explicitly_open_ = 0, implicitly_open_ = 0, closed_ = 0;
    std::uint64_t next_victim_ = 0;
};

} // namespace ublk::backends
