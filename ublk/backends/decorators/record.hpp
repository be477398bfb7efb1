// A decorator that keeps the last requests of each queue, and how they were answered.
#pragma once

#include "ublk/backends/decorators/selection.hpp"

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace ublk::backends {

struct Recorded {
    std::uint16_t queue = 0, tag = 0;
    std::uint64_t number = 0; // of its queue, from 0 on
    uapi::IoOp op = uapi::IoOp::read;
    uapi::IoFlags flags;
    std::uint64_t start_sector = 0;
    std::uint32_t nr_sectors = 0;
    std::uint64_t began = 0;            // nanoseconds of CLOCK_MONOTONIC
    std::uint64_t took = 0;             // nanoseconds; with the result
    std::optional<std::int32_t> result; // nullopt: it has no answer yet
};

// The time, in nanoseconds of CLOCK_MONOTONIC. No system call.
std::uint64_t monotonic_ns() noexcept;

// Rings of slots, one per queue, each written by its queue's thread alone and read by anybody at any time.
// Allocates when it is made and when it is read, not while it records.
class Recorder {
  public:
    // Keeps the last `last` requests of each queue, rounded up to a power of two. `clock` is for tests.
    Recorder(std::uint16_t queues, std::uint32_t last, std::uint64_t (*clock)() noexcept = monotonic_ns);

    // For the thread of io.queue. A queue beyond those that it was made for is not recorded.
    void asked(const engine::Io& io) noexcept;
    void answered(const engine::Io& io, std::int32_t answer) noexcept;

    // What is there, queue by queue, in each the oldest first. Any thread; what is being written just then is
    // left out.
    std::vector<Recorded> recorded() const;

  private:
    // A slot is written in words, between an odd and an even version: a reader that sees the same even
    // version before and after has read one record.
    struct alignas(64) Slot {
        std::atomic<std::uint64_t> version = 0;
        std::array<std::atomic<std::uint64_t>, 7> words{};
    };
    struct alignas(64) Queue {
        std::atomic<std::uint64_t> next = 0;
        std::vector<std::uint64_t> number_of_tag; // the queue's own
        std::unique_ptr<Slot[]> slots;            // NOLINT(modernize-avoid-c-arrays)
    };
    void write(Slot& slot, const Recorded& record) noexcept;
    static std::optional<Recorded> read(const Slot& slot);

    std::uint64_t mask_;
    std::uint64_t (*clock_)() noexcept;
    std::vector<Queue> queues_;
};

// One JSON object a line: queue, number, tag, op, flags, sector, sectors, began_ns, and of what was answered
// took_ns and result.
std::string json_lines(const std::vector<Recorded>& records);

class Record;

struct RecordOptions {
    using Decorator = Record;
    Recorder* into = nullptr; // has to outlive the decorator
};

class Record {
  public:
    explicit Record(const RecordOptions& options) : into_(*options.into) {}

    std::optional<std::int32_t> before(const engine::Io& io) noexcept
    {
        into_.asked(io);
        return std::nullopt;
    }
    std::int32_t after(const engine::Io& io, std::int32_t answer) noexcept
    {
        into_.answered(io, answer);
        return answer;
    }

  private:
    Recorder& into_;
};

} // namespace ublk::backends
