// Verbs of the cases about metadata: devices of F_INTEGRITY, whose blocks have protection information or
// bytes of the application's beside them.
#pragma once

#include "conformance/driver/data_verbs.hpp"

namespace conformance {

inline constexpr auto integrity = Feature::integrity | Feature::user_copy;

// basic_params() with this block.
Params integrity_params(const ublk::uapi::ParamIntegrity& block);
// Eight bytes of T10 type 1 beside each 512: what every check takes.
inline constexpr ublk::uapi::ParamIntegrity sound_integrity{
    .flags = ublk::uapi::pi_cap_integrity | ublk::uapi::pi_cap_reftag,
    .interval_exp = 9,
    .metadata_size = 8,
    .csum_type = static_cast<std::uint8_t>(ublk::uapi::PiChecksum::crc16_t10dif),
    .tag_size = 2};

} // namespace conformance
