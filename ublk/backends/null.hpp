// Answers every request at once and does nothing: what is left is the cost of the path to a server.
#pragma once

#include "ublk/engine/io.hpp"

namespace ublk::backends {

// A read leaves the tag's buffer as it is: the application gets whatever that tag carried last. Never put
// data on it. Requests beyond the end fail as everywhere.
class Null {
  public:
    static constexpr bool ignores_payload = true;

    // `size` in bytes, a multiple of block_size.
    Null(std::uint64_t size, std::uint32_t block_size)
        : size_(size), sectors_(size >> uapi::sector_shift), block_size_(block_size)
    {
    }

    engine::Geometry geometry() const
    {
        return {.size = size_,
                .block_size = block_size_,
                .attrs = {},
                .discard = true,
                .write_zeroes = true,
                .discard_granularity = block_size_};
    }

    std::int32_t handle(engine::Io& io) const noexcept
    {
        using enum uapi::IoOp;
        switch (io.op) {
        case flush:
            return 0;
        case read:
        case write:
        case discard:
        case write_zeroes:
            if (io.start_sector > sectors_ || io.nr_sectors > sectors_ - io.start_sector) [[unlikely]]
                return refusal(io.start_sector, io.nr_sectors);
            return static_cast<std::int32_t>(io.length());
        default:
            return -EOPNOTSUPP;
        }
    }

  private:
    [[gnu::noinline]] std::int32_t refusal(std::uint64_t first, std::uint32_t sectors) const noexcept
    {
        const auto range = engine::byte_range({.start_sector = first, .nr_sectors = sectors}, size_);
        return range ? -EIO : range.error();
    }

    std::uint64_t size_, sectors_;
    std::uint32_t block_size_;
};

} // namespace ublk::backends
