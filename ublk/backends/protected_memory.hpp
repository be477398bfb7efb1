// A disk in this process's memory that keeps T10 protection information beside each block: what sits behind a
// device with UBLK_F_INTEGRITY.
#pragma once

#include "ublk/backends/memory.hpp"
#include "ublk/backends/t10_pi.hpp"

namespace ublk::backends {

// A write whose protection information does not fit its data and place is refused with -EILSEQ, and nothing
// of it is written; what fits is kept as it came. A write that brings none gets its own. A read gives back
// what is kept, for the reader to check. Beside what was never written, or was discarded or zeroed, are bytes
// of all ones, which protect nothing.
//
// Requests that overlap in time are as undefined as on a real disk, and may then leave a block beside
// protection information that does not fit it.
class ProtectedMemory {
  public:
    static constexpr bool serves_integrity = true;

    // `size` in bytes, a multiple of block_size. Error: ENOMEM if the address space has no room.
    static Result<ProtectedMemory> create(std::uint64_t size, std::uint32_t block_size, T10Type type,
                                          bool read_only = false);

    engine::Geometry geometry() const;
    std::int32_t handle(engine::Io& io) const noexcept;

  private:
    ProtectedMemory(Memory data, Memory tuples, std::uint32_t block_size, T10Type type);
    std::int32_t handle_write(engine::Io& io) const noexcept;
    bool holds(const engine::Io& io) const noexcept;
    // Of the blocks of a request.
    std::uint64_t first_block(const engine::Io& io) const noexcept;
    engine::ByteRange tuples_of(const engine::Io& io) const noexcept;
    std::span<const std::byte> block_of(const engine::Io& io, std::size_t index) const noexcept
    {
        return io.data.subspan(index * integrity_.interval, integrity_.interval);
    }

    Memory data_;
    Memory tuples_; // with every bit the other way round, so that untouched memory is all ones
    engine::Integrity integrity_;
    T10Type type_;
};

} // namespace ublk::backends
