// A host-managed zoned disk in this process's memory: what sits behind a device with UBLK_F_ZONED.
#pragma once

#include "ublk/backends/memory.hpp"
#include "ublk/backends/zones.hpp"

#include <memory>
#include <optional>
#include <string>

namespace ublk::backends {

// Sizes in bytes.
struct ZonedOptions {
    std::uint64_t size = 0;          // a multiple of zone_size
    std::uint64_t zone_size = 0;     // a power of two
    std::uint64_t zone_capacity = 0; // what of a zone can be written, a multiple of block_size; 0: all of it
    std::uint32_t block_size = 512;
    std::uint64_t conventional = 0; // zones, from the first on; at least one zone has to be sequential
    std::uint32_t max_open = 0;     // zones; 0: no limit. At most max_active, unless that is 0
    std::uint32_t max_active = 0;   // zones; 0: no limit
};

// What of the options does not go together, with its mend.
std::optional<std::string> objection(const ZonedOptions& options);

// Zones and errors are those of ZoneTable. Reads behind the write pointer give zeroes; a reset gives the
// memory of the zone back. Requests that overlap in time are as undefined as on a real disk.
class Zoned {
  public:
    static constexpr bool serves_zones = true;

    // Errors: EINVAL with what is wrong as its hint, ENOMEM.
    static Result<Zoned> create(const ZonedOptions& options);

    engine::Geometry geometry() const;
    std::int32_t handle(engine::Io& io) noexcept;

  private:
    Zoned(Memory memory, std::unique_ptr<ZoneTable> zones, const ZonedOptions& options)
        : memory_(std::move(memory)), zones_(std::move(zones)), size_(options.size),
          block_size_(options.block_size)
    {
    }
    std::int32_t handle_write(engine::Io& io) noexcept;
    std::int32_t handle_append(engine::Io& io) noexcept;
    std::int32_t report(const engine::Io& io) const noexcept;
    std::int32_t reset(std::uint64_t zone_start) noexcept;
    std::int32_t reset_all() noexcept;

    Memory memory_;
    std::unique_ptr<ZoneTable> zones_;
    std::uint64_t size_;
    std::uint32_t block_size_;
};

} // namespace ublk::backends
