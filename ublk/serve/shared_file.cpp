#include "ublk/serve/shared_file.hpp"

#include "ublk/engine/shared_memory.hpp"
#include "ublk/wire/ring.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <utility>

namespace ublk::serve {

Result<engine::Pages> map_shared_file(const std::string& path)
{
    const auto failed = [&](int code, std::string hint = {}) {
        Error error = make_error("--shmem " + path, code);
        if (!hint.empty())
            error.hint = std::move(hint);
        return std::unexpected(std::move(error));
    };
    const wire::Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    struct stat status{};
    struct statfs system{};
    if (!fd || ::fstat(fd.get(), &status) != 0 || ::fstatfs(fd.get(), &system) != 0)
        return failed(errno);
    // The driver pins the pages, which no other file system lets it.
    if (!S_ISREG(status.st_mode) || (system.f_type != TMPFS_MAGIC && system.f_type != HUGETLBFS_MAGIC))
        return failed(EINVAL, "give a file on tmpfs or hugetlbfs, as those in /dev/shm");
    const auto size = static_cast<std::uint64_t>(status.st_size);
    const auto page = static_cast<std::uint64_t>(system.f_bsize);
    if (size == 0 || size % page != 0 || size > engine::max_shared_bytes)
        return failed(EINVAL, "give it a positive multiple of " + std::to_string(page) +
                                  " bytes, at most 4G; it has " + std::to_string(size));
    auto pages = engine::Pages::map_file(fd.get(), size);
    if (!pages)
        return failed(pages.error());
    return std::move(*pages);
}

} // namespace ublk::serve
