// Blocks that say where they belong: from a wrong one can be told what went wrong. Pure; no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace conformance {

// What a block says of itself. A block's content is a function of its stamp and nothing else.
struct Stamp {
    std::uint64_t offset = 0; // bytes, on the device
    std::uint32_t writer = 0, generation = 0;
    std::uint64_t request_offset = 0; // of the write that carried it
    std::uint32_t request_bytes = 0;
    bool operator==(const Stamp&) const = default;
};

// `block`: a whole logical block, at least 512 bytes.
void write_stamp(std::span<std::byte> block, const Stamp& stamp);
// nullopt: it does not begin with a stamp.
std::optional<Stamp> read_stamp(std::span<const std::byte> block);
// The first and the last byte at which the block differs from what its stamp says; nullopt: it is whole.
struct Difference {
    std::size_t first = 0, last = 0;
};
std::optional<Difference> difference(std::span<const std::byte> block, const Stamp& stamp);

enum class Wrong {
    lost,      // an acknowledged write did not arrive: an older version or nothing is there
    stale,     // the write arrived, but a read gave an older version
    torn,      // part of a write arrived, or the beginning of a block
    corrupt,   // a block is there but for some bytes in it
    misplaced, // a block of another place is there
    foreign,   // no block that was ever written
};
const char* to_string(Wrong kind);

struct Finding {
    Wrong kind = Wrong::foreign;
    std::string text; // "misplaced: ...", the first wrong block and how many there are
};

// What was last acknowledged for the block at a device offset; nullopt: it was never written, or its content
// is not known, and anything is right.
using ExpectedStamp = std::function<std::optional<Stamp>(std::uint64_t offset)>;
// Reads the bytes of one block again, past every cache; false: it cannot be read.
using ReadAgain = std::function<bool(std::uint64_t offset, std::span<std::byte> block)>;

// What is wrong with `data`, read at `offset`, if anything is.
std::optional<Finding> examine(std::span<const std::byte> data, std::uint64_t offset, std::size_t block,
                               const ExpectedStamp& expected, const ReadAgain& read_again);

// "4096 bytes at 12288"
std::string place_text(std::uint64_t offset, std::size_t bytes);

} // namespace conformance
