// Memory that applications share with a server, so that direct I/O in it needs no copy
// (UBLK_F_SHMEM_ZC, 7.1).
#pragma once

#include "ublk/uapi/io.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ublk::engine {

// This process's own mappings of it, in the order in which they are registered with a device: whole pages, at
// most 4 GiB each. The application maps the same pages, wherever it likes.
using SharedMemory = std::vector<std::span<std::byte>>;

inline constexpr std::uint64_t max_shared_bytes = 1ULL << 32; // of one mapping

// Where a request that is marked IoFlag::shmem_zc has its payload, from there to the end of the mapping;
// empty if its descriptor's `addr` is nowhere in them.
inline std::span<std::byte> find_shared(std::span<const std::span<std::byte>> mappings,
                                        std::uint64_t addr) noexcept
{
    constexpr unsigned index_shift = 32;
    const std::uint64_t index = addr >> index_shift;
    const std::uint64_t offset = uapi::shmem_addr_from_desc(addr).offset;
    if (index >= mappings.size() || offset >= mappings[index].size())
        return {};
    return mappings[index].subspan(offset);
}

} // namespace ublk::engine
