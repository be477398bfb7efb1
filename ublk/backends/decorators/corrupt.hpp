// A decorator that flips one bit of what passes: of data, or of the protection information beside it.
#pragma once

#include "ublk/backends/decorators/selection.hpp"
#include "ublk/backends/t10_pi.hpp"

#include <span>

namespace ublk::backends {

class Corrupt;

struct CorruptOptions {
    using Decorator = Corrupt;
    // Guard and reference tag are those of T10, see t10_pi.hpp.
    enum class Part : std::uint8_t { data, guard, reference };
    Selection which{.ops = uapi::IoOp::read}; // also writes, but nothing else
    Part part = Part::data;
    std::uint32_t block_size =
        uapi::sector_size; // bytes, of each of which there is a guard and a reference tag
};

// Of a read, on its way to the application; of a write, on its way to what is behind. Which bit, follows from
// the selection's seed. A request that does not carry that part passes as it is and is not counted.
class Corrupt {
  public:
    explicit Corrupt(const CorruptOptions& options)
        : selector_(options.which), part_(options.part),
          integrity_{.interval = options.block_size, .metadata_bytes = t10_tuple_bytes}
    {
    }

    std::optional<std::int32_t> before(const engine::Io& io) noexcept
    {
        if (io.op == uapi::IoOp::write)
            flip(io);
        return std::nullopt;
    }
    std::int32_t after(const engine::Io& io, std::int32_t answer) noexcept
    {
        if (io.op == uapi::IoOp::read && answer > 0)
            flip(io);
        return answer;
    }

  private:
    // Where a part's bits are: in each so many bytes, from a byte on.
    struct Place {
        std::size_t every, at, bytes;
    };
    Place place() const noexcept
    {
        switch (part_) {
        case CorruptOptions::Part::data:
            break;
        case CorruptOptions::Part::guard:
            return {.every = t10_tuple_bytes, .at = t10_guard_at, .bytes = sizeof(T10Tuple::guard)};
        case CorruptOptions::Part::reference:
            return {.every = t10_tuple_bytes, .at = t10_reference_at, .bytes = sizeof(T10Tuple::reference)};
        }
        return {.every = 1, .at = 0, .bytes = 1};
    }

    void flip(const engine::Io& io) noexcept
    {
        const auto all = part_ == CorruptOptions::Part::data ? io.data : io.metadata(integrity_);
        if (all.empty())
            return;
        const auto random = selector_.choose(io);
        if (!random)
            return;
        const Place place = this->place();
        const std::size_t bit = (*random >> 32U) % (8 * place.bytes);
        const std::size_t unit = *random % (all.size() / place.every);
        all[unit * place.every + place.at + bit / 8] ^= std::byte{1} << (bit % 8);
    }

    Selector selector_;
    CorruptOptions::Part part_;
    engine::Integrity integrity_;
};

} // namespace ublk::backends
