// A load for disks that lose their servers: blocks that name their own version. A block must hold the last
// version that was acknowledged, or one that was begun after it: a write that failed may have arrived.
#pragma once

#include "conformance/driver/expect.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace conformance {

inline constexpr std::size_t versioned_block_bytes = 4096, versioned_blocks = 1024;
inline constexpr std::size_t versioned_bytes = versioned_blocks * versioned_block_bytes;

// Threads that rewrite the first versioned_bytes of a disk, each its own blocks, in random order. They count
// errors and go on.
class Writers {
  public:
    Writers(const std::string& disk, unsigned threads, std::uint64_t seed = 0); // starts them
    ~Writers();

    void pause(); // returns when none writes any more
    void go_on();

    std::uint64_t written() const; // blocks acknowledged
    std::uint64_t errors() const;
    // Waits until `more` further blocks were acknowledged; false: they were not within 20 s.
    bool write_more(std::uint64_t more) const;

    struct Wrong {
        std::string expected, observed;
    };
    // While paused: the first block of `path`, the disk or what is behind it, that does not hold what it
    // must. `flags` for open(). What cannot be opened or read fails the case.
    std::optional<Wrong> first_wrong(const std::string& path, int flags) const;
    // The same, and a wrong block fails the case.
    void check(const std::string& path, int flags, Where where = Where::current()) const;

  private:
    class Writer;
    std::vector<std::unique_ptr<Writer>> writers_;
};

} // namespace conformance
