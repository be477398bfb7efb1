// The memory of `ublk-serve add --shmem FILE`: a file in memory that applications map as well.
#pragma once

#include "ublk/engine/error.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace ublk::serve {

// All of the file, mapped. It must not become smaller while that lives.
class SharedFile {
  public:
    SharedFile() = default;
    // Errors: those of open() and mmap(); EINVAL, it is not a file on tmpfs or hugetlbfs, or not of whole
    // pages.
    static Result<SharedFile> open(const std::string& path);
    SharedFile(SharedFile&& other) noexcept;
    SharedFile& operator=(SharedFile&& other) noexcept;
    ~SharedFile();

    std::span<std::byte> bytes() const { return bytes_; }

  private:
    std::span<std::byte> bytes_;
};

} // namespace ublk::serve
