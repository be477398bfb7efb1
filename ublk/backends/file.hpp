// A disk in a file or on a block device.
#pragma once

#include "ublk/backends/file_pages.hpp"
#include "ublk/engine/error.hpp"
#include "ublk/engine/io.hpp"
#include "ublk/wire/ring.hpp"

#include <atomic>
#include <expected>
#include <string>
#include <utility>

namespace ublk::backends {

struct FileOptions {
    std::string path;
    std::uint64_t size = 0;         // bytes to serve, from the start; 0: all there is, and will be
    std::uint32_t block_size = 512; // bytes
    bool direct = false;            // O_DIRECT: past the page cache
    bool read_only = false;
};

class File {
  public:
    // Errors: those of open(); EFBIG if the file is smaller than the size asked for, EINVAL if its size is
    // not a positive multiple of the block size, or it cannot do direct I/O in such blocks.
    static Result<File> open(const FileOptions& options);

    File(File&& other) noexcept
        : fd_(std::move(other.fd_)), size_(other.size()), block_size_(other.block_size_),
          direct_(other.direct_), read_only_(other.read_only_), all_of_it_(other.all_of_it_),
          pages_(std::move(other.pages_))
    {
    }

    engine::Geometry geometry() const;
    std::uint64_t size() const { return size_.load(std::memory_order_relaxed); } // bytes
    // As engine::byte_range(). A file that became larger meanwhile is served as far as it goes: the device
    // may have been given another size.
    std::expected<engine::ByteRange, std::int32_t> range_of(const engine::Io& io) const noexcept
    {
        const auto range = engine::byte_range(io, size());
        return range || range.error() != -EIO ? range : range_after_growth(io);
    }
    int fd() const { return fd_.get(); }
    bool is_direct() const { return direct_; }
    bool is_read_only() const { return read_only_; }
    FilePages& pages() { return pages_; }

    // Of a file on tmpfs, where it has no hole there.
    bool has_places() const noexcept { return pages_.any(); }
    std::span<std::byte> place(const engine::Io& io) const noexcept
    {
        if (!engine::is_inside(io, pages_.size()) || (io.op == uapi::IoOp::write && read_only_))
            return {};
        return pages_.find(
            {io.start_sector << uapi::sector_shift, std::uint64_t{io.nr_sectors} << uapi::sector_shift});
    }

    // Whether it is where place() said: done, then, and as durable as tmpfs gets.
    bool is_in_place(const engine::Io& io) const noexcept { return pages_.holds(io.data.data()); }

    // A transfer is complete, or it is an error: the end of a file that shrank is -EIO.
    std::int32_t handle(engine::Io& io) noexcept;

  private:
    File(wire::Fd fd, std::uint64_t size, const FileOptions& options)
        : fd_(std::move(fd)), size_(size), block_size_(options.block_size), direct_(options.direct),
          read_only_(options.read_only), all_of_it_(options.size == 0)
    {
        if (!direct_)
            pages_ = FilePages::map(fd_.get(), size, read_only_);
    }
    std::expected<engine::ByteRange, std::int32_t> range_after_growth(const engine::Io& io) const noexcept;
    std::int32_t read_all(std::span<std::byte> data, std::uint64_t offset) const noexcept;
    std::int32_t write_all(std::span<const std::byte> data, std::uint64_t offset, bool durable) noexcept;
    std::int32_t sync() const noexcept;
    std::int32_t punch(engine::ByteRange range) noexcept;
    std::int32_t allocate(int mode, engine::ByteRange range) const noexcept;
    std::int32_t zero(engine::ByteRange range, bool keep_allocated) noexcept;

    wire::Fd fd_;
    mutable std::atomic<std::uint64_t> size_;
    std::uint32_t block_size_;
    bool direct_;
    bool read_only_;
    bool all_of_it_;
    FilePages pages_;
};

} // namespace ublk::backends
