// Device parameters, SET_PARAMS / GET_PARAMS (linux/ublk_cmd.h, Linux 7.3). Sectors are 512 bytes.
#pragma once

#include "ublk/uapi/flags.hpp"

#include <cstddef>
#include <cstdint>

namespace ublk::uapi {

// UBLK_PARAM_TYPE_*: which blocks of Params count
enum class ParamType : std::uint32_t {
    basic = 1U << 0,
    discard = 1U << 1,
    devt = 1U << 2, // filled by GET_PARAMS; refused by SET_PARAMS
    zoned = 1U << 3,
    dma_align = 1U << 4, // 6.15
    segment = 1U << 5,   // 6.15
    integrity = 1U << 6, // 7.0
};
using ParamTypes = FlagSet<ParamType>;
constexpr ParamTypes operator|(ParamType a, ParamType b)
{
    return ParamTypes(a) | ParamTypes(b);
}

// UBLK_ATTR_*
enum class Attr : std::uint32_t {
    read_only = 1U << 0,
    rotational = 1U << 1,
    volatile_cache = 1U << 2,
    fua = 1U << 3
};
using Attrs = FlagSet<Attr>;
constexpr Attrs operator|(Attr a, Attr b)
{
    return Attrs(a) | Attrs(b);
}

struct ParamBasic {
    std::uint32_t attrs = 0;
    std::uint8_t logical_bs_shift = 0;
    std::uint8_t physical_bs_shift = 0;
    std::uint8_t io_opt_shift = 0;
    std::uint8_t io_min_shift = 0;
    std::uint32_t max_sectors = 0;
    std::uint32_t chunk_sectors = 0;
    std::uint64_t dev_sectors = 0;
    std::uint64_t virt_boundary_mask = 0;
    constexpr bool operator==(const ParamBasic&) const = default;
};
static_assert(sizeof(ParamBasic) == 32 && offsetof(ParamBasic, max_sectors) == 8 &&
              offsetof(ParamBasic, dev_sectors) == 16);

struct ParamDiscard {
    std::uint32_t discard_alignment = 0;   // bytes
    std::uint32_t discard_granularity = 0; // bytes
    std::uint32_t max_discard_sectors = 0;
    std::uint32_t max_write_zeroes_sectors = 0;
    std::uint16_t max_discard_segments = 0;
    std::uint16_t reserved0 = 0;
    constexpr bool operator==(const ParamDiscard&) const = default;
};
static_assert(sizeof(ParamDiscard) == 20 && offsetof(ParamDiscard, max_discard_segments) == 16);

struct ParamDevt {
    std::uint32_t char_major = 0, char_minor = 0, disk_major = 0, disk_minor = 0;
    constexpr bool operator==(const ParamDevt&) const = default;
};
static_assert(sizeof(ParamDevt) == 16);

struct ParamZoned {
    std::uint32_t max_open_zones = 0;
    std::uint32_t max_active_zones = 0;
    std::uint32_t max_zone_append_sectors = 0;
    std::uint8_t reserved[20] = {};
    constexpr bool operator==(const ParamZoned&) const = default;
};
static_assert(sizeof(ParamZoned) == 32);

struct ParamDmaAlign {
    std::uint32_t alignment = 0; // a mask: 511 asks for 512-byte alignment
    std::uint8_t pad[4] = {};
    constexpr bool operator==(const ParamDmaAlign&) const = default;
};
static_assert(sizeof(ParamDmaAlign) == 8);

inline constexpr std::uint32_t min_segment_size = 4096; // UBLK_MIN_SEGMENT_SIZE
struct ParamSegment {
    std::uint64_t seg_boundary_mask = 0;
    std::uint32_t max_segment_size = 0;
    std::uint16_t max_segments = 0;
    std::uint8_t pad[2] = {};
    constexpr bool operator==(const ParamSegment&) const = default;
};
static_assert(sizeof(ParamSegment) == 16 && offsetof(ParamSegment, max_segments) == 12);

// LBMD_PI_CAP_* and LBMD_PI_CSUM_* of linux/fs.h
inline constexpr std::uint32_t pi_cap_integrity = 1U << 0, pi_cap_reftag = 1U << 1;
enum class PiChecksum : std::uint8_t { none = 0, ip = 1, crc16_t10dif = 2, crc64_nvme = 4 };
struct ParamIntegrity {
    std::uint32_t flags = 0; // pi_cap_*
    std::uint16_t max_integrity_segments = 0;
    std::uint8_t interval_exp = 0;  // log2 of the bytes that one tuple protects
    std::uint8_t metadata_size = 0; // bytes per interval
    std::uint8_t pi_offset = 0;
    std::uint8_t csum_type = 0; // PiChecksum
    std::uint8_t tag_size = 0;
    std::uint8_t pad[5] = {};
    constexpr bool operator==(const ParamIntegrity&) const = default;
};
static_assert(sizeof(ParamIntegrity) == 16 && offsetof(ParamIntegrity, interval_exp) == 6 &&
              offsetof(ParamIntegrity, csum_type) == 9);

struct Params {
    std::uint32_t len = 0;   // bytes of this structure that are meant
    std::uint32_t types = 0; // ParamType bits
    ParamBasic basic;
    ParamDiscard discard;
    ParamDevt devt;
    ParamZoned zoned;
    ParamDmaAlign dma;
    std::uint32_t gap = 0; // alignment hole of struct ublk_params; named so that no byte is lost
    ParamSegment seg;
    ParamIntegrity integrity;
    constexpr bool operator==(const Params&) const = default;
};
static_assert(offsetof(Params, basic) == 8 && offsetof(Params, discard) == 40 &&
              offsetof(Params, devt) == 60);
static_assert(offsetof(Params, zoned) == 76 && offsetof(Params, dma) == 108 && offsetof(Params, seg) == 120);
static_assert(offsetof(Params, integrity) == 136 && sizeof(Params) == 152);

} // namespace ublk::uapi
