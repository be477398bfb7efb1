#include "ublk/engine/device_options.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <fmt/core.h>

namespace ublk::engine {

namespace {

using uapi::Feature;
using uapi::Features;

std::unexpected<Error> wrong(int code, std::string what, std::string hint)
{
    Error error = make_error(std::move(what), code);
    error.hint = std::move(hint);
    return std::unexpected(std::move(error));
}

Result<void> check_geometry(const Geometry& geometry, std::uint32_t max_io_bytes)
{
    constexpr std::uint32_t smallest = 512, largest = 4096;
    const std::uint32_t block = geometry.block_size;
    if (!std::has_single_bit(block) || block < smallest || block > largest)
        return wrong(EINVAL, fmt::format("block size {}", block), "give 512, 1024, 2048 or 4096");
    if (geometry.size == 0 || geometry.size % block != 0)
        return wrong(EINVAL, fmt::format("size {}", geometry.size),
                     fmt::format("give a positive multiple of the block size {}", block));
    if (max_io_bytes < largest || max_io_bytes % largest != 0)
        return wrong(EINVAL, fmt::format("largest request {}", max_io_bytes), "give a multiple of 4096");
    return {};
}

// Bytes of protection information with that checksum.
constexpr unsigned tuple_bytes(uapi::PiChecksum checksum)
{
    constexpr unsigned t10 = 8, nvme = 16;
    if (checksum == uapi::PiChecksum::none)
        return 0;
    return checksum == uapi::PiChecksum::crc64_nvme ? nvme : t10;
}

Result<void> check_integrity(const DeviceOptions& options, const Geometry& geometry)
{
    const Integrity& integrity = geometry.integrity;
    if (options.integrity != (integrity.interval != 0))
        return options.integrity
                   ? wrong(EINVAL, "integrity", "this backend keeps no metadata: leave it out")
                   : wrong(EINVAL, "a backend with metadata", "ask for a device with integrity");
    if (!options.integrity)
        return {};
    if (options.serving.data_path != DataPath::user_copy)
        return wrong(EINVAL,
                     fmt::format("integrity with the data path {}", to_string(options.serving.data_path)),
                     "metadata travels by user-copy and no other");
    if (options.zoned)
        return wrong(EINVAL, "integrity of a zoned device", "leave out one of the two");
    constexpr std::uint32_t smallest = 512;
    if (!std::has_single_bit(integrity.interval) || integrity.interval < smallest ||
        integrity.interval > geometry.block_size)
        return wrong(EINVAL, fmt::format("integrity of intervals of {} bytes", integrity.interval),
                     fmt::format("give a power of two from 512 to the block size {}", geometry.block_size));
    const auto least = integrity.pi_offset + tuple_bytes(integrity.checksum);
    if (integrity.metadata_bytes == 0 || integrity.metadata_bytes < least)
        return wrong(EINVAL, fmt::format("{} bytes of metadata", integrity.metadata_bytes),
                     fmt::format("give at least {}", std::max(least, 1U)));
    if (integrity.reference_tags && integrity.checksum == uapi::PiChecksum::none)
        return wrong(EINVAL, "reference tags without a checksum", "leave them out, or choose a checksum");
    return {};
}

Result<void> check_shared(const DeviceOptions& options)
{
    const SharedMemory& shared = options.serving.shared;
    if (options.serving.data_path != DataPath::shmem) {
        if (shared.empty())
            return {};
        return wrong(EINVAL,
                     fmt::format("shared memory with the data path {}", to_string(options.serving.data_path)),
                     "use the data path shmem, or leave it out");
    }
    constexpr std::size_t most_mappings = 65536, page = 4096;
    if (shared.empty() || shared.size() > most_mappings)
        return wrong(EINVAL, fmt::format("the data path shmem with {} mappings", shared.size()),
                     fmt::format("give 1 to {}", most_mappings));
    for (const auto& mapping : shared)
        if (mapping.empty() || mapping.size() > max_shared_bytes || mapping.size() % page != 0 ||
            std::bit_cast<std::uintptr_t>(mapping.data()) % page != 0)
            return wrong(EINVAL, fmt::format("{} bytes of shared memory", mapping.size()),
                         "give whole pages, at most 4 GiB");
    for (const auto& [there, what] :
         {std::pair(options.serving.batch, "batches"), std::pair(options.zoned, "zones"),
          // What was registered stays so when its server has died, and nobody knows it any more.
          std::pair(options.recovery != Recovery::none, "recovery")})
        if (there)
            return wrong(EINVAL, fmt::format("{} with the data path shmem", what),
                         "leave out one of the two");
    return {};
}

} // namespace

std::string_view to_string(Recovery recovery)
{
    constexpr std::array<std::string_view, recoveries.size()> names{"none", "wait", "reissue", "fail-io"};
    return names[static_cast<std::size_t>(recovery)];
}

Features needed_features(Recovery recovery)
{
    switch (recovery) {
    case Recovery::none:
        return {};
    case Recovery::wait:
        return Feature::user_recovery;
    case Recovery::reissue:
        return Feature::user_recovery | Feature::user_recovery_reissue;
    case Recovery::fail_io:
        return Feature::user_recovery | Feature::user_recovery_fail_io;
    }
    return {};
}

Features needed_features(const DeviceOptions& options)
{
    Features needed = needed_features(options.serving.data_path) | needed_features(options.recovery);
    if (options.serving.threads_per_queue > 1)
        needed |= Feature::per_io_daemon;
    if (options.unprivileged)
        needed |= Feature::unprivileged_dev;
    if (options.zoned)
        needed |= Feature::zoned;
    if (options.integrity)
        needed |= Feature::integrity;
    if (options.serving.batch)
        needed |= Feature::batch_io;
    return needed;
}

Features wished_features(const DeviceOptions& options)
{
    Features wished = Feature::update_size | Feature::safe_stop_dev;
    if (options.recovery != Recovery::none && !options.unprivileged)
        wished |= Feature::quiesce;
    return wished;
}

DataPath data_path_of(Features features)
{
    if (features.has(Feature::shmem_zc))
        return DataPath::shmem;
    if (features.has(Feature::auto_buf_reg))
        return DataPath::auto_buf;
    if (features.has(Feature::support_zero_copy))
        return DataPath::zero_copy;
    if (features.has(Feature::user_copy))
        return DataPath::user_copy;
    return features.has(Feature::need_get_data) ? DataPath::get_data : DataPath::copy;
}

Recovery recovery_of(Features features)
{
    if (features.has(Feature::user_recovery_fail_io))
        return Recovery::fail_io;
    if (features.has(Feature::user_recovery_reissue))
        return Recovery::reissue;
    return features.has(Feature::user_recovery) ? Recovery::wait : Recovery::none;
}

Error needs_mapped_payload(DataPath path, std::optional<std::uint32_t> device)
{
    Error error = make_error(fmt::format("data path {}", to_string(path)), EOPNOTSUPP, device);
    error.hint = "this backend has to see the payload: use copy, get-data, user-copy or shmem";
    return error;
}

Result<void> validate(const DeviceOptions& options, const Geometry& geometry, bool serves_unmapped,
                      std::optional<Features> offered)
{
    if (options.queues == 0 || options.queues > uapi::max_nr_queues)
        return wrong(EINVAL, fmt::format("{} queues", options.queues),
                     fmt::format("give 1 to {}", uapi::max_nr_queues));
    if (options.depth == 0 || options.depth > uapi::max_queue_depth)
        return wrong(EINVAL, fmt::format("depth {}", options.depth),
                     fmt::format("give 1 to {}", uapi::max_queue_depth));
    const ServingOptions& serving = options.serving;
    if (serving.threads_per_queue == 0 || serving.threads_per_queue > options.depth)
        return wrong(EINVAL, fmt::format("{} threads per queue", serving.threads_per_queue),
                     fmt::format("give 1 to {}, the depth of a queue", options.depth));
    if (serving.batch && serving.threads_per_queue > 1)
        return wrong(EINVAL, fmt::format("batches with {} threads per queue", serving.threads_per_queue),
                     "a batch is taken by one thread: leave out one of the two");
    if (serving.batch && serving.data_path == DataPath::get_data)
        return wrong(EINVAL, "batches with the data path get-data",
                     "the driver has no such command for a batch: use copy");
    if (auto checked = check_geometry(geometry, options.max_io_bytes); !checked)
        return checked;
    if (auto checked = check_shared(options); !checked)
        return checked;
    if (auto checked = check_integrity(options, geometry); !checked)
        return checked;
    if (!serves_unmapped && !is_mapped(serving.data_path))
        return std::unexpected(needs_mapped_payload(serving.data_path));
    const Features needed = needed_features(options);
    if (offered && !needed.without(*offered).empty())
        return wrong(EOPNOTSUPP, fmt::format("features {}", uapi::to_string(needed)),
                     fmt::format("this kernel does not offer {}", uapi::to_string(needed.without(*offered))));
    return {};
}

} // namespace ublk::engine
