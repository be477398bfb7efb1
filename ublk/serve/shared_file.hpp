// The memory of `ublk-serve add --shmem FILE`: a file in memory that applications map as well.
#pragma once

#include "ublk/engine/error.hpp"
#include "ublk/engine/queue_base.hpp"

#include <string>

namespace ublk::serve {

// All of the file. It must not become smaller while that lives.
// Errors: those of open() and mmap(); EINVAL, it is not a file on tmpfs or hugetlbfs, or not of whole pages.
Result<engine::Pages> map_shared_file(const std::string& path);

} // namespace ublk::serve
