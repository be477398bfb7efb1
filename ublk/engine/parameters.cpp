#include "ublk/engine/parameters.hpp"

#include "ublk/engine/assert.hpp"

#include <algorithm>
#include <bit>

namespace ublk::engine {

namespace {

constexpr std::uint32_t page = 4096;
constexpr std::uint32_t most_sectors = UINT32_MAX >> uapi::sector_shift; // so that bytes fit 32 bits, too

std::uint8_t log2_of(std::uint32_t power_of_two)
{
    return static_cast<std::uint8_t>(std::countr_zero(power_of_two));
}

} // namespace

uapi::Params make_params(const Geometry& geometry, std::uint32_t max_io_bytes)
{
    UBLK_ASSERT(std::has_single_bit(geometry.block_size), "block size {}", geometry.block_size);
    UBLK_ASSERT(geometry.size % geometry.block_size == 0, "size {}, block size {}", geometry.size,
                geometry.block_size);
    uapi::Params params;
    params.len = sizeof(params);
    params.types = static_cast<std::uint32_t>(uapi::ParamType::basic);
    params.basic.attrs = geometry.attrs.raw();
    params.basic.logical_bs_shift = log2_of(geometry.block_size);
    params.basic.physical_bs_shift = log2_of(std::max(geometry.block_size, page));
    params.basic.io_min_shift = params.basic.physical_bs_shift;
    params.basic.io_opt_shift = log2_of(std::bit_floor(std::max(max_io_bytes, page)));
    params.basic.max_sectors = max_io_bytes >> uapi::sector_shift;
    params.basic.dev_sectors = geometry.size >> uapi::sector_shift;

    if (geometry.zones.size != 0) {
        params.types |= static_cast<std::uint32_t>(uapi::ParamType::zoned);
        params.basic.chunk_sectors = static_cast<std::uint32_t>(geometry.zones.size >> uapi::sector_shift);
        params.zoned.max_open_zones = geometry.zones.max_open;
        params.zoned.max_active_zones = geometry.zones.max_active;
        params.zoned.max_zone_append_sectors = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(geometry.zones.max_append, max_io_bytes) >> uapi::sector_shift);
    }
    const bool writable = !geometry.attrs.has(uapi::Attr::read_only);
    if (writable && (geometry.discard || geometry.write_zeroes)) {
        params.types |= static_cast<std::uint32_t>(uapi::ParamType::discard);
        params.discard.discard_granularity = std::max(geometry.discard_granularity, geometry.block_size);
        params.discard.max_discard_segments = 1;
        params.discard.max_discard_sectors = geometry.discard ? most_sectors : 0;
        params.discard.max_write_zeroes_sectors = geometry.write_zeroes ? most_sectors : 0;
    }
    if (geometry.integrity.interval != 0) {
        const Integrity& integrity = geometry.integrity;
        params.types |= static_cast<std::uint32_t>(uapi::ParamType::integrity);
        params.integrity.flags = (integrity.checksum != uapi::PiChecksum::none ? uapi::pi_cap_integrity : 0) |
                                 (integrity.reference_tags ? uapi::pi_cap_reftag : 0);
        params.integrity.interval_exp = log2_of(integrity.interval);
        params.integrity.metadata_size = integrity.metadata_bytes;
        params.integrity.pi_offset = integrity.pi_offset;
        params.integrity.csum_type = static_cast<std::uint8_t>(integrity.checksum);
        params.integrity.tag_size = integrity.tag_bytes;
    }
    return params;
}

Integrity integrity_of(const uapi::Params& params)
{
    if (!uapi::ParamTypes::from_raw(params.types).has(uapi::ParamType::integrity))
        return {};
    return {.interval = 1U << params.integrity.interval_exp,
            .metadata_bytes = params.integrity.metadata_size,
            .pi_offset = params.integrity.pi_offset,
            .tag_bytes = params.integrity.tag_size,
            .checksum = static_cast<uapi::PiChecksum>(params.integrity.csum_type),
            .reference_tags = (params.integrity.flags & uapi::pi_cap_reftag) != 0};
}

} // namespace ublk::engine
