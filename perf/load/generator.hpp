// Our own load on a block device: a fixed number of I/Os in a fixed order, counted in their steady part. fio
// rounds and sets up more than the few thousand I/Os that exact counts need.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

namespace perf {

struct GeneratorJob {
    bool random = true;
    unsigned write_percent = 0; // of the I/Os
    unsigned block = 4096;      // bytes
    unsigned depth = 1;         // I/Os in flight
    std::uint64_t span = 0;     // bytes from the beginning of the disk that are touched
    std::uint64_t warm_up = 0;  // I/Os before the counted ones
    std::uint64_t ios = 0;      // counted
    std::uint64_t seed = 1;     // the same seed gives the same I/Os
    bool marked = false;        // the counted I/Os stand between markers.hpp's instructions
};

// What the counted I/Os took together: of the time stamp counter, which under QEMU's -icount shift=0 is the
// number of guest instructions.
struct Counted {
    std::uint64_t ticks = 0;
    // For how long the CPU was idle meanwhile. No instruction ran then, but the counter went on.
    std::uint64_t idle_nanoseconds = 0;
    std::uint64_t switches = 0; // of tasks, in the whole system; here the I/Os of the warm-up count too
};

// Direct I/O through io_uring. Error: a sentence that names the disk and the step that failed.
std::expected<Counted, std::string> generate(const std::string& disk, const GeneratorJob& job);

} // namespace perf
