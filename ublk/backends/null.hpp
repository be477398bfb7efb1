// Answers every request at once and does nothing: what is left is the cost of the path to a server.
#pragma once

#include "ublk/engine/io.hpp"

namespace ublk::backends {

// A read leaves the tag's buffer as it is: the application gets whatever that tag carried last. Never put
// data on it. It has no end: the device may be given any size.
class Null {
  public:
    static constexpr bool ignores_payload = true;

    // `size` in bytes, a multiple of block_size.
    Null(std::uint64_t size, std::uint32_t block_size) : size_(size), block_size_(block_size) {}

    engine::Geometry geometry() const
    {
        return {.size = size_,
                .block_size = block_size_,
                .attrs = {},
                .discard = true,
                .write_zeroes = true,
                .discard_granularity = block_size_};
    }

    static std::int32_t handle(engine::Io& io) noexcept
    {
        using enum uapi::IoOp;
        if (engine::carries_data(io.op)) [[likely]]
            return static_cast<std::int32_t>(io.length());
        switch (io.op) {
        case flush:
            return 0;
        case discard:
        case write_zeroes:
            return static_cast<std::int32_t>(io.length());
        default:
            return -EOPNOTSUPP;
        }
    }

  private:
    std::uint64_t size_;
    std::uint32_t block_size_;
};

} // namespace ublk::backends
