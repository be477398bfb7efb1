// A disk in a file or on a block device, served with operations on the queue's ring.
#pragma once

#include "ublk/backends/file.hpp"

#include <atomic>
#include <utility>

namespace ublk::backends {

// A backend for every data path. Where payload is mapped, what can be had without waiting is had at once,
// which is cheaper than an operation: from a page cache that holds it, and from a file that is in memory
// (tmpfs). All else waits in the ring and never blocks the queue's thread.
class AsyncFile {
  public:
    explicit AsyncFile(File file) noexcept : file_(std::move(file)), at_once_(how_at_once(file_)) {}
    AsyncFile(AsyncFile&& other) noexcept : file_(std::move(other.file_)), at_once_(other.at_once_.load()) {}
    // As File::open().
    static Result<AsyncFile> open(const FileOptions& options);

    engine::Geometry geometry() const { return file_.geometry(); }
    std::uint64_t size() const { return file_.size(); } // bytes

    bool has_places() const noexcept { return file_.has_places(); }
    std::span<std::byte> place(const engine::Io& io) const noexcept { return file_.place(io); }
    std::int32_t begin(engine::Io& io, engine::RingOp& op) noexcept
    {
        if (file_.is_in_place(io))
            return static_cast<std::int32_t>(io.data.size());
        // Copies, so that nobody takes the address of what then can be in registers.
        engine::Io kept = io;
        engine::RingOp wanted;
        const std::int32_t answer = go_and_get(kept, wanted);
        if (answer == engine::op_pending) {
            io = kept;
            op = wanted;
        }
        return answer;
    }
    std::int32_t resume(engine::Io& io, std::int32_t result, engine::RingOp& op) noexcept;

  private:
    enum class AtOnce : std::uint8_t { never, cached, always };
    std::int32_t go_and_get(engine::Io& io, engine::RingOp& op) noexcept;
    static AtOnce how_at_once(const File& file) noexcept;
    void try_at_once(engine::Io& io, std::uint64_t offset) noexcept;
    std::int32_t transfer(const engine::Io& io, engine::RingOp& op) const noexcept;

    File file_;
    std::atomic<AtOnce> at_once_; // a file system that refuses RWF_NOWAIT is not asked again
};

} // namespace ublk::backends
