// Device feature flags (UBLK_F_*) and what is known of each: name, first kernel, what it needs.
#pragma once

#include "ublk/uapi/flags.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ublk::uapi {

// UBLK_F_*: bits of ublksrv_ctrl_dev_info.flags and of the GET_FEATURES answer.
enum class Feature : std::uint64_t {
    support_zero_copy = 1ULL << 0,
    uring_cmd_comp_in_task = 1ULL << 1,
    need_get_data = 1ULL << 2,
    user_recovery = 1ULL << 3,
    user_recovery_reissue = 1ULL << 4,
    unprivileged_dev = 1ULL << 5,
    cmd_ioctl_encode = 1ULL << 6,
    user_copy = 1ULL << 7,
    zoned = 1ULL << 8,
    user_recovery_fail_io = 1ULL << 9,
    update_size = 1ULL << 10,
    auto_buf_reg = 1ULL << 11,
    quiesce = 1ULL << 12,
    per_io_daemon = 1ULL << 13,
    buf_reg_off_daemon = 1ULL << 14,
    batch_io = 1ULL << 15,
    integrity = 1ULL << 16,
    safe_stop_dev = 1ULL << 17,
    no_auto_part_scan = 1ULL << 18,
    shmem_zc = 1ULL << 19,
    io_desc_size = 1ULL << 20,
};
using Features = FlagSet<Feature>;
constexpr Features operator|(Feature a, Feature b)
{
    return Features(a) | Features(b);
}

// A released kernel version; compares in release order.
struct KernelVersion {
    unsigned major = 0, minor = 0, patch = 0;
    constexpr auto operator<=>(const KernelVersion&) const = default;
};
std::string to_string(KernelVersion version); // "7.3", or "7.3.4" if there is a patch level

// One row of the registry. `since` is the first mainline release that honours the flag.
struct FeatureInfo {
    Feature flag;
    std::string_view name; // UAPI name without the UBLK_F_ prefix
    KernelVersion since;
    Features needs;        // ADD_DEV refuses the flag without all of these
    Features needs_one_of; // ... and without at least one of these, if there are any
    std::string_view what; // one line for people
};

// Every flag that Linux 7.3 knows, in bit order.
extern const std::array<FeatureInfo, 21> feature_registry;

// The row of `flag`, which must be a single known bit (asserted).
const FeatureInfo& info(Feature flag);
std::optional<Feature> feature_by_name(std::string_view name); // with or without UBLK_F_, any case
std::string to_string(Features set);                           // "USER_COPY|ZONED|0x200000"; "none" if empty

} // namespace ublk::uapi
