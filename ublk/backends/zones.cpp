#include "ublk/backends/zones.hpp"

#include <cerrno>

namespace ublk::backends {

namespace {
constexpr std::uint64_t anywhere = UINT64_MAX;
}

ZoneTable::ZoneTable(const ZoneLayout& layout) : layout_(layout), zones_(layout.zones)
{
    for (std::uint64_t zone = 0; zone < layout.zones; ++zone)
        zones_[zone].store(pack({is_conventional(zone) ? Cond::not_write_pointer : Cond::empty, 0}),
                           std::memory_order_relaxed);
}

std::int32_t ZoneTable::write(std::uint64_t start, std::uint64_t count) noexcept
{
    const std::uint64_t zone = start / layout_.size, at = start % layout_.size;
    if (zone >= layout_.zones || count > layout_.size - at)
        return -EIO;
    if (is_conventional(zone))
        return 0;
    const auto begun = advance(zone, at, count);
    return begun ? 0 : begun.error();
}

std::expected<std::uint64_t, std::int32_t> ZoneTable::append(std::uint64_t zone_start,
                                                             std::uint64_t count) noexcept
{
    const auto zone = sequential_zone(zone_start);
    if (!zone)
        return zone;
    const auto begun = advance(*zone, anywhere, count);
    return begun ? zone_start + *begun : begun;
}

std::expected<std::uint64_t, std::int32_t> ZoneTable::advance(std::uint64_t zone, std::uint64_t at,
                                                              std::uint64_t count) noexcept
{
    std::uint64_t word = zones_[zone].load(std::memory_order_acquire);
    for (;;) {
        const State now = unpack(word);
        if (!is_open(now.cond) || (at != anywhere && at != now.wp) || count >= layout_.capacity - now.wp)
            return advance_locked(zone, at, count); // changes the condition, or is an error
        if (zones_[zone].compare_exchange_weak(word, pack({now.cond, now.wp + count}),
                                               std::memory_order_acq_rel))
            return now.wp;
    }
}

std::expected<std::uint64_t, std::int32_t> ZoneTable::advance_locked(std::uint64_t zone, std::uint64_t at,
                                                                     std::uint64_t count) noexcept
{
    const std::scoped_lock lock(mutex_);
    std::uint64_t word = zones_[zone].load(std::memory_order_acquire);
    for (;;) {
        const State now = unpack(word);
        if (now.cond == Cond::full || (at != anywhere && at != now.wp) || count > layout_.capacity - now.wp)
            return std::unexpected(-EIO);
        if (!is_open(now.cond))
            if (const std::int32_t res = make_room(now.cond); res < 0)
                return std::unexpected(res);
        State next{is_open(now.cond) ? now.cond : Cond::implicit_open, now.wp + count};
        if (next.wp == layout_.capacity)
            next = {Cond::full, layout_.size};
        // Not the weak one: room must not be made twice.
        if (!zones_[zone].compare_exchange_strong(word, pack(next), std::memory_order_acq_rel))
            continue; // another write to the same open zone was first
        this->count(now.cond, -1U);
        this->count(next.cond, 1);
        return now.wp;
    }
}

// For one more open zone, which is empty or closed yet.
std::int32_t ZoneTable::make_room(Cond from) noexcept
{
    const std::uint32_t open = explicitly_open_ + implicitly_open_;
    if (from == Cond::empty && layout_.max_active != 0 && open + closed_ >= layout_.max_active)
        return -EOVERFLOW;
    if (layout_.max_open == 0 || open < layout_.max_open)
        return 0;
    if (implicitly_open_ == 0)
        return -ETOOMANYREFS;
    close_an_implicit_one();
    return 0;
}

// In turn, so that no zone is the first to go each time.
void ZoneTable::close_an_implicit_one() noexcept
{
    while (state(next_victim_).cond != Cond::implicit_open)
        next_victim_ = (next_victim_ + 1) % layout_.zones;
    change(next_victim_, [](State now) { return State{Cond::closed, now.wp}; });
    next_victim_ = (next_victim_ + 1) % layout_.zones;
}

template <typename Next>
void ZoneTable::change(std::uint64_t zone, Next next) noexcept
{
    std::uint64_t word = zones_[zone].load(std::memory_order_acquire);
    State now = unpack(word), then = next(now);
    while (!zones_[zone].compare_exchange_weak(word, pack(then), std::memory_order_acq_rel)) {
        now = unpack(word);
        then = next(now);
    }
    count(now.cond, -1U);
    count(then.cond, 1);
}

void ZoneTable::count(Cond cond, std::uint32_t by) noexcept
{
    if (cond == Cond::explicit_open)
        explicitly_open_ += by;
    if (cond == Cond::implicit_open)
        implicitly_open_ += by;
    if (cond == Cond::closed)
        closed_ += by;
}

std::expected<std::uint64_t, std::int32_t> ZoneTable::sequential_zone(std::uint64_t zone_start) const noexcept
{
    const std::uint64_t zone = zone_start / layout_.size;
    if (zone_start % layout_.size != 0 || zone >= layout_.zones || is_conventional(zone))
        return std::unexpected(-EIO);
    return zone;
}

std::int32_t ZoneTable::open(std::uint64_t zone_start) noexcept
{
    const auto zone = sequential_zone(zone_start);
    if (!zone)
        return zone.error();
    const std::scoped_lock lock(mutex_);
    const Cond cond = state(*zone).cond;
    if (cond == Cond::full)
        return -EIO;
    if (!is_open(cond))
        if (const std::int32_t res = make_room(cond); res < 0)
            return res;
    change(*zone, [](State now) { return State{Cond::explicit_open, now.wp}; });
    return 0;
}

std::int32_t ZoneTable::close(std::uint64_t zone_start) noexcept
{
    const auto zone = sequential_zone(zone_start);
    if (!zone)
        return zone.error();
    const std::scoped_lock lock(mutex_);
    const Cond cond = state(*zone).cond;
    if (cond == Cond::closed)
        return 0;
    if (!is_open(cond))
        return -EIO;
    change(*zone, [](State now) { return State{now.wp == 0 ? Cond::empty : Cond::closed, now.wp}; });
    return 0;
}

std::int32_t ZoneTable::finish(std::uint64_t zone_start) noexcept
{
    const auto zone = sequential_zone(zone_start);
    if (!zone)
        return zone.error();
    const std::scoped_lock lock(mutex_);
    const Cond cond = state(*zone).cond;
    // A zone is finished by way of being open.
    if (cond == Cond::empty || cond == Cond::closed)
        if (const std::int32_t res = make_room(cond); res < 0)
            return res;
    change(*zone, [this](State) { return State{Cond::full, layout_.size}; });
    return 0;
}

std::int32_t ZoneTable::reset(std::uint64_t zone_start) noexcept
{
    const auto zone = sequential_zone(zone_start);
    if (!zone)
        return zone.error();
    const std::scoped_lock lock(mutex_);
    change(*zone, [](State) { return State{Cond::empty, 0}; });
    return 0;
}

uapi::ZoneReport ZoneTable::report(std::uint64_t zone) const noexcept
{
    const State now = state(zone);
    const bool conventional = is_conventional(zone);
    const std::uint64_t start = zone * layout_.size;
    const auto type = conventional ? uapi::ZoneType::conventional : uapi::ZoneType::sequential_write_required;
    return {.start = start,
            .len = layout_.size,
            .wp = start + (conventional ? layout_.size : now.wp),
            .type = static_cast<std::uint8_t>(type),
            .cond = static_cast<std::uint8_t>(now.cond),
            .capacity = conventional ? layout_.size : layout_.capacity};
}

} // namespace ublk::backends
