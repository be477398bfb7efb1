#include "ublk/uapi/features.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cctype>

#include <fmt/format.h>

namespace ublk::uapi {

using enum Feature;

const std::array<FeatureInfo, 21> feature_registry{{
    {support_zero_copy, "SUPPORT_ZERO_COPY", {6, 15}, {}, {}, "request pages as registered ring buffers"},
    {uring_cmd_comp_in_task, "URING_CMD_COMP_IN_TASK", {6, 0}, {}, {}, "completions by task work; always on"},
    {need_get_data, "NEED_GET_DATA", {6, 0}, {}, {}, "a write waits until the server names its buffer"},
    {user_recovery, "USER_RECOVERY", {6, 1}, {}, {}, "the disk outlives its server"},
    {user_recovery_reissue,
     "USER_RECOVERY_REISSUE",
     {6, 1},
     user_recovery,
     {},
     "requests of a dead server are given to the next one"},
    {unprivileged_dev, "UNPRIVILEGED_DEV", {6, 3}, {}, {}, "devices owned by an ordinary user"},
    {cmd_ioctl_encode, "CMD_IOCTL_ENCODE", {6, 4}, {}, {}, "ioctl-style opcodes; always on"},
    {user_copy, "USER_COPY", {6, 5}, {}, {}, "data by pread and pwrite on the char device"},
    {zoned, "ZONED", {6, 6}, {}, user_copy | support_zero_copy, "host-managed zoned devices"},
    {user_recovery_fail_io,
     "USER_RECOVERY_FAIL_IO",
     {6, 13},
     user_recovery,
     {},
     "requests fail at once while there is no server"},
    {update_size, "UPDATE_SIZE", {6, 16}, {}, {}, "the disk can be resized while live"},
    {auto_buf_reg, "AUTO_BUF_REG", {6, 16}, {}, {}, "request buffers are registered by the driver"},
    {quiesce, "QUIESCE", {6, 16}, user_recovery, {}, "a live device can be parked for a server upgrade"},
    {per_io_daemon, "PER_IO_DAEMON", {6, 16}, {}, {}, "each tag may have its own server task"},
    {buf_reg_off_daemon, "BUF_REG_OFF_DAEMON", {6, 17}, {}, {}, "any task may register request buffers"},
    {batch_io, "BATCH_IO", {7, 0}, {}, {}, "many tags per command"},
    {integrity, "INTEGRITY", {7, 0}, user_copy, {}, "requests carry integrity metadata"},
    {safe_stop_dev, "SAFE_STOP_DEV", {7, 0}, {}, {}, "TRY_STOP_DEV stops only a device nobody has open"},
    {no_auto_part_scan, "NO_AUTO_PART_SCAN", {7, 0}, {}, {}, "no partition scan at start"},
    {shmem_zc, "SHMEM_ZC", {7, 1}, {}, {}, "no copy for requests in registered shared memory"},
    {io_desc_size, "IO_DESC_SIZE", {7, 3}, {}, {}, "the server chooses the size of a descriptor slot"},
}};

std::string to_string(KernelVersion version)
{
    return version.patch == 0 ? fmt::format("{}.{}", version.major, version.minor)
                              : fmt::format("{}.{}.{}", version.major, version.minor, version.patch);
}

const FeatureInfo& info(Feature flag)
{
    // The registry is in bit order, so the bit's number is the row's.
    const auto row = static_cast<std::size_t>(std::countr_zero(static_cast<std::uint64_t>(flag)));
    assert(row < feature_registry.size() && feature_registry[row].flag == flag);
    return feature_registry[row];
}

std::optional<Feature> feature_by_name(std::string_view name)
{
    std::string upper(name);
    std::ranges::transform(upper, upper.begin(),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    std::string_view wanted = upper;
    if (wanted.starts_with("UBLK_F_"))
        wanted.remove_prefix(7);
    const auto* row = std::ranges::find(feature_registry, wanted, &FeatureInfo::name);
    if (row == feature_registry.end())
        return std::nullopt;
    return row->flag;
}

std::string to_string(Features set)
{
    std::string text;
    const auto add = [&](std::string_view part) {
        if (!text.empty())
            text += '|';
        text += part;
    };
    Features unknown = set;
    for (const auto& row : feature_registry) {
        if (set.has(row.flag))
            add(row.name);
        unknown = unknown.without(row.flag);
    }
    if (!unknown.empty())
        add(fmt::format("{:#x}", unknown.raw()));
    return text.empty() ? "none" : text;
}

} // namespace ublk::uapi
