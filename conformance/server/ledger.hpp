// What was written to a part of the device, block by block, and the writing and checking of it. Its memory is
// shared with the processes forked after it was made; each may write blocks that no other writes.
#pragma once

#include "conformance/server/disk_io.hpp"
#include "conformance/server/stamp.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <random>

namespace conformance {

struct Extent {
    std::uint64_t offset = 0, bytes = 0; // on the device
};

class Ledger {
  public:
    // Of the first `most` bytes of the device, or of all of it; a whole number of blocks.
    explicit Ledger(const Subject& subject, std::uint64_t most = 24ULL << 20);
    Ledger(const Subject& subject, Extent part);
    ~Ledger();
    Ledger(const Ledger&) = delete;
    Ledger& operator=(const Ledger&) = delete;

    Extent part() const { return part_; }
    std::size_t block() const { return block_; }

    // Writes the next generation of these blocks in one call, and notes it when it is acknowledged. Between
    // the two the blocks may hold either.
    void write(const DiskIo& io, Extent extent, std::uint32_t writer = 0, Where where = Where::current());
    // Reads in one call; anything but what was acknowledged last fails the case and is named.
    void check(const DiskIo& io, Extent extent, Where where = Where::current()) const;
    void check_bytes(std::span<const std::byte> data, std::uint64_t offset,
                     Where where = Where::current()) const;
    // All of it, in pieces.
    void write_all(const DiskIo& io, std::uint32_t writer = 0, std::size_t piece = 256 * 1024,
                   Where where = Where::current());
    void check_all(const DiskIo& io, std::size_t piece = 256 * 1024, Where where = Where::current()) const;

    // What the next checks hold, as a sentence for the verdict.
    void state_rule(std::string rule) { rule_ = std::move(rule); }
    // These blocks may hold anything from now on.
    void forget(Extent extent);
    // A random extent of 1 to `most` bytes in `within`, of whole blocks.
    Extent random_extent(std::mt19937_64& random, std::uint64_t most, Extent within) const;
    Extent random_extent(std::mt19937_64& random, std::uint64_t most) const
    {
        return random_extent(random, most, part_);
    }

  private:
    struct Row {
        std::uint32_t generation = 0, writer = 0; // generation 0: unknown
        std::uint64_t request_offset = 0;
        std::uint32_t request_bytes = 0, last = 0; // `last`: generation that was tried last
    };
    Row& row(std::uint64_t offset) const { return rows_[(offset - part_.offset) / block_]; }
    std::optional<Stamp> expected(std::uint64_t offset) const;

    const Subject& subject_;
    Extent part_;
    std::size_t block_;
    Row* rows_;
    std::string rule_ = "what was acknowledged last is what is read";
};

} // namespace conformance
