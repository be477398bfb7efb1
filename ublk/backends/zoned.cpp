#include "ublk/backends/zoned.hpp"

#include <bit>
#include <cerrno>
#include <fmt/core.h>

namespace ublk::backends {

std::optional<std::string> objection(const ZonedOptions& options)
{
    const std::uint64_t capacity = options.zone_capacity != 0 ? options.zone_capacity : options.zone_size;
    constexpr std::uint64_t largest = 1ULL << 40; // its sectors fit 32 bits
    if (!std::has_single_bit(options.zone_size) || options.zone_size < options.block_size ||
        options.zone_size > largest)
        return fmt::format("a zone of {} bytes: give a power of two from the block size {} to 1T",
                           options.zone_size, options.block_size);
    if (options.size == 0 || options.size % options.zone_size != 0)
        return fmt::format("a disk of {} bytes: give a multiple of the zone size {}", options.size,
                           options.zone_size);
    if (capacity > options.zone_size || capacity % options.block_size != 0)
        return fmt::format("a zone capacity of {} bytes: give a multiple of the block size {} up to the zone "
                           "size {}",
                           capacity, options.block_size, options.zone_size);
    const std::uint64_t zones = options.size / options.zone_size;
    if (options.conventional >= zones)
        return fmt::format("{} conventional zones of {}: leave one to be sequential", options.conventional,
                           zones);
    for (const auto& [limit, what] :
         {std::pair(options.max_open, "open"), std::pair(options.max_active, "active")})
        if (limit > zones)
            return fmt::format("at most {} {} zones: give a number up to the {} zones that there are", limit,
                               what, zones);
    if (options.max_active != 0 && options.max_open > options.max_active)
        return fmt::format(
            "at most {} open zones, and {} active ones: an open zone is an active one, so give "
            "no more of them",
            options.max_open, options.max_active);
    return std::nullopt;
}

Result<Zoned> Zoned::create(const ZonedOptions& options)
{
    if (auto wrong = objection(options)) {
        Error error = make_error("making the zoned disk", EINVAL);
        error.hint = std::move(*wrong);
        return std::unexpected(std::move(error));
    }
    auto memory = Memory::create(options.size, options.block_size);
    if (!memory)
        return std::unexpected(std::move(memory.error()));
    const std::uint64_t capacity = options.zone_capacity != 0 ? options.zone_capacity : options.zone_size;
    const ZoneLayout layout{.zones = options.size / options.zone_size,
                            .size = options.zone_size >> uapi::sector_shift,
                            .capacity = capacity >> uapi::sector_shift,
                            .conventional = options.conventional,
                            .max_open = options.max_open,
                            .max_active = options.max_active};
    return Zoned(std::move(*memory), std::make_unique<ZoneTable>(layout), options);
}

engine::Geometry Zoned::geometry() const
{
    const auto& layout = zones_->layout();
    return {.size = size_,
            .block_size = block_size_,
            .zones = {.size = layout.size << uapi::sector_shift,
                      .max_open = layout.max_open,
                      .max_active = layout.max_active,
                      .max_append = layout.capacity << uapi::sector_shift}};
}

std::int32_t Zoned::handle(engine::Io& io) noexcept
{
    using enum uapi::IoOp;
    switch (io.op) {
    case flush:
        return 0;
    case read:
        return memory_.handle(io); // behind a write pointer nothing was written since the reset: zeroes
    case write:
        return handle_write(io);
    case zone_append:
        return handle_append(io);
    case report_zones:
        return report(io);
    case zone_open:
        return zones_->open(io.start_sector);
    case zone_close:
        return zones_->close(io.start_sector);
    case zone_finish:
        return zones_->finish(io.start_sector);
    case zone_reset:
        return reset(io.start_sector);
    case zone_reset_all:
        return reset_all();
    default:
        return -EOPNOTSUPP;
    }
}

std::int32_t Zoned::handle_write(engine::Io& io) noexcept
{
    if (const auto range = engine::byte_range(io, size_); !range)
        return range.error();
    if (const std::int32_t res = zones_->write(io.start_sector, io.nr_sectors); res < 0)
        return res;
    return memory_.handle(io);
}

std::int32_t Zoned::handle_append(engine::Io& io) noexcept
{
    const auto start = zones_->append(io.start_sector, io.nr_sectors);
    if (!start)
        return start.error();
    io.start_sector = *start;
    engine::Io written = io;
    written.op = uapi::IoOp::write;
    return memory_.handle(written);
}

std::int32_t Zoned::report(const engine::Io& io) const noexcept
{
    const std::uint64_t first = io.start_sector / zones_->layout().size;
    auto place = io.data;
    for (std::uint64_t zone = first; place.size() >= sizeof(uapi::ZoneReport); ++zone) {
        const auto report = zone < zones_->layout().zones ? zones_->report(zone) : uapi::ZoneReport{};
        std::memcpy(place.data(), &report, sizeof(report));
        place = place.subspan(sizeof(report));
    }
    return static_cast<std::int32_t>(io.data.size());
}

// The data goes first: a write that comes after the reset of the pointer has to stay.
std::int32_t Zoned::reset(std::uint64_t zone_start) noexcept
{
    const auto zone = zones_->sequential_zone(zone_start);
    if (!zone)
        return zone.error();
    engine::Io discard{.op = uapi::IoOp::discard,
                       .start_sector = zone_start,
                       .nr_sectors = static_cast<std::uint32_t>(zones_->layout().size)};
    if (const std::int32_t res = memory_.handle(discard); res < 0)
        return res;
    return zones_->reset(zone_start);
}

std::int32_t Zoned::reset_all() noexcept
{
    const auto& layout = zones_->layout();
    for (std::uint64_t zone = layout.conventional; zone < layout.zones; ++zone)
        if (zones_->report(zone).cond != static_cast<std::uint8_t>(uapi::ZoneCond::empty))
            if (const std::int32_t res = reset(zone * layout.size); res < 0)
                return res;
    return 0;
}

} // namespace ublk::backends
