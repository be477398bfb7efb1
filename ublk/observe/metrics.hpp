// What a device's queues have done: counters and latencies, each queue's in cache lines of its own, in memory
// of this process or in a file that other processes read while the device is served.
#pragma once

#include "ublk/observe/histogram.hpp"
#include "ublk/uapi/io.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ublk::observe {

// Requests are counted by operation; what has no slot of its own (zones) is "other".
inline constexpr std::array<std::string_view, 6> op_names{"read",    "write", "flush",
                                                          "discard", "other", "write_zeroes"};
constexpr std::size_t op_slot(uapi::IoOp op)
{
    static_assert(static_cast<int>(uapi::IoOp::write_same) == 4); // which the driver never sends
    const auto slot = static_cast<std::size_t>(op);
    return slot < op_names.size() ? slot : 4;
}

// Latencies are kept for reads, writes and the rest.
inline constexpr std::array<std::string_view, 3> latency_names{"read", "write", "other"};
constexpr std::size_t latency_slot(uapi::IoOp op)
{
    const auto slot = static_cast<std::size_t>(op);
    return slot < 2 ? slot : 2;
}

// Only counters, so that two copies can be subtracted. Written by one thread, with bump().
struct alignas(128) QueueMetrics {
    template <typename T>
    using PerOp = std::array<T, op_names.size()>;

    PerOp<std::uint64_t> requests{}; // answered
    PerOp<std::uint64_t> errors{};   // of them, with an errno
    PerOp<std::uint64_t> bytes{};    // that were done: moved, discarded or zeroed
    std::uint64_t enters = 0;        // of the ring
    std::uint64_t empty = 0;         // of them, those that no completion was there after
    std::uint64_t dropped = 0;       // log messages of this queue that were dropped
    std::uint64_t shared = 0;        // requests whose payload was in memory shared with the application
    // Nanoseconds from when the server sees that a request is there until its answer is ready to be sent.
    std::array<Histogram, latency_names.size()> latency{};
};

// All of `now` less `before`: what happened in between.
QueueMetrics operator-(const QueueMetrics& now, const QueueMetrics& before);
QueueMetrics& operator+=(QueueMetrics& sum, const QueueMetrics& more);

struct DeviceDescription {
    std::uint32_t device = 0;
    std::uint32_t depth = 0;
    std::uint64_t size = 0; // bytes
    std::int32_t pid = 0;   // of the server
    bool timed = false;     // latencies are measured
    std::string backend;    // its first 31 bytes are kept
};

// The state at one moment, as nearly as one can read it while it changes.
struct Snapshot {
    DeviceDescription device;
    std::vector<QueueMetrics> queues;

    QueueMetrics total() const;
};

class Metrics {
  public:
    // Zeroes, in this process's memory. `threads` is of each queue. Error: positive errno of mmap.
    static std::expected<Metrics, int> create(const DeviceDescription& device, std::uint16_t queues,
                                              std::uint16_t threads = 1);
    // In a file at `path`, replacing what was there; it is removed when the Metrics goes. Error: positive
    // errno.
    static std::expected<Metrics, int> create_file(const std::string& path, const DeviceDescription& device,
                                                   std::uint16_t queues, std::uint16_t threads = 1);
    // What such a file holds. Errors: those of open() and read(); ESRCH if its server is gone; EBADMSG if it
    // is no such file, or of another version.
    static std::expected<Snapshot, int> read_file(const std::string& path);

    Metrics(Metrics&& other) noexcept;
    Metrics& operator=(Metrics&& other) noexcept;
    ~Metrics();

    // For that thread of the queue alone; both are below what was created.
    QueueMetrics& of(std::uint16_t queue, std::uint16_t thread = 0) const;
    Snapshot snapshot() const; // from any thread

  private:
    Metrics() = default;
    static std::expected<Metrics, int> map(int fd, const DeviceDescription& device, std::uint16_t queues,
                                           std::uint16_t threads);

    std::byte* base_ = nullptr;
    std::size_t bytes_ = 0;
    std::string path_;
    int fd_ = -1; // holds the lock that says that we live
};

// {"schema": 1, "devices": […]}: everything, and quantiles of the latencies. Buckets without values are left
// out.
std::string to_json(std::span<const Snapshot> devices);

} // namespace ublk::observe
