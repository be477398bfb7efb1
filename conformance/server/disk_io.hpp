// Reads and writes of the device under test that are watched: one that gets no answer ends the server, so
// that the case can say so instead of hanging.
#pragma once

#include "conformance/driver/driver.hpp"
#include "conformance/server/subject.hpp"

#include <cstddef>
#include <memory>
#include <span>

namespace conformance {

// Memory for O_DIRECT.
class Buffer {
  public:
    explicit Buffer(std::size_t bytes);
    std::span<std::byte> span() const { return {static_cast<std::byte*>(memory_.get()), bytes_}; }
    std::span<std::byte> first(std::size_t bytes) const { return span().first(bytes); }

  private:
    std::unique_ptr<void, void (*)(void*)> memory_;
    std::size_t bytes_;
};

enum class Path {
    direct,
    cached,
    durable, // direct, and each write is a FUA request without a flush after it
};

// The device, opened. Offsets and lengths are bytes. What does not succeed fails the case, and the text tells
// the server's end or silence first.
class DiskIo {
  public:
    explicit DiskIo(const Subject& subject, Path path = Path::direct, int flags = O_RDWR,
                    Where where = Where::current());

    int fd() const { return fd_->get(); }
    void write(std::uint64_t offset, std::span<const std::byte> data, Where where = Where::current()) const;
    void read(std::uint64_t offset, std::span<std::byte> data, Where where = Where::current()) const;
    void flush(Where where = Where::current()) const; // fsync
    // The same, and its result: bytes or -errno.
    long try_write(std::uint64_t offset, std::span<const std::byte> data) const;
    long try_read(std::uint64_t offset, std::span<std::byte> data) const;
    long try_flush() const;
    // BLKDISCARD, BLKZEROOUT: 0 or -errno.
    long try_range(unsigned long request, std::uint64_t offset, std::uint64_t bytes) const;
    // FALLOC_FL_PUNCH_HOLE: a WRITE_ZEROES that may unmap, and nothing in its place.
    long try_punch(std::uint64_t offset, std::uint64_t bytes) const;

    // Fails the case for a call that gave `result`.
    [[noreturn]] void refuse(std::string_view what, long result, Where where = Where::current()) const;

  private:
    long write_durably(std::uint64_t offset, std::span<const std::byte> data) const;

    const Subject& subject_;
    bool durable_;
    std::shared_ptr<Fd> fd_;
};

} // namespace conformance
