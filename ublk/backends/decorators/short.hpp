// A decorator that answers with a part of what was done.
//
// A short read is sent again for its rest where the driver copies (data paths copy and get-data), and is an
// error elsewhere; a short write is an error everywhere: see engine::commit_result.
#pragma once

#include "ublk/backends/decorators/selection.hpp"

#include <algorithm>

namespace ublk::backends {

class Short;

struct ShortOptions {
    using Decorator = Short;
    Selection which{.ops = uapi::IoOp::read};
    std::uint32_t unit = uapi::sector_size; // bytes; the answer is a multiple: the device's logical block
};

class Short {
  public:
    explicit Short(const ShortOptions& options) : selector_(options.which), unit_(options.unit) {}

    std::optional<std::int32_t> before(const engine::Io&) noexcept { return std::nullopt; }

    // At least one unit, and at least one less than there was: a request of one unit stays whole, and is not
    // counted, nor is one that failed.
    std::int32_t after(const engine::Io& io, std::int32_t answer) noexcept
    {
        if (!engine::carries_data(io.op) || answer < 0 || static_cast<std::uint32_t>(answer) < 2 * unit_)
            return answer;
        const auto random = selector_.choose(io);
        if (!random)
            return answer;
        const std::uint32_t units = static_cast<std::uint32_t>(answer) / unit_;
        const auto done = static_cast<std::uint32_t>(1 + *random % (units - 1)) * unit_;
        // What was not read is not there: a driver that takes the answer for the whole must be seen to.
        if (io.op == uapi::IoOp::read && io.data.size() > done)
            std::ranges::fill(io.data.subspan(done), std::byte{0xdb});
        return static_cast<std::int32_t>(done);
    }

  private:
    Selector selector_;
    std::uint32_t unit_;
};

} // namespace ublk::backends
