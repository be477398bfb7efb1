// ublk-serve and its disk, read and written directly: every call is a request to the server.
#pragma once

#include "conformance/driver/driver.hpp"
#include "conformance/server/digest.hpp"
#include "conformance/server/disk_io.hpp"
#include "conformance/server/process.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace conformance {

class ServedDisk {
  public:
    // The arguments of `ublk-serve add`.
    explicit ServedDisk(const std::vector<std::string>& add_arguments, Where where = Where::current())
        : server_(add_arguments, where), fd_(ublk::wire::open_node(path(), O_RDWR | O_DIRECT).value_or(Fd()))
    {
        expect_true(static_cast<bool>(fd_), path() + " opens", where);
    }

    const std::string& path() const { return server_.disk(); }
    pid_t pid() const { return server_.pid(); }
    int fd() const { return fd_.get(); }

    // Bytes done, or -errno. Sectors of 512 bytes.
    long write(std::uint64_t sector, std::span<const std::byte> data) const
    {
        return sys(::pwrite(fd(), data.data(), data.size(), offset(sector)));
    }
    long read(std::uint64_t sector, std::span<std::byte> data) const
    {
        return sys(::pread(fd(), data.data(), data.size(), offset(sector)));
    }

    void close() { fd_.reset(); }
    // SIGTERM; see Serving. A server cannot delete a device that is open.
    void stop(Where where = Where::current())
    {
        close();
        server_.stop(where);
    }

  private:
    static off_t offset(std::uint64_t sector) { return static_cast<off_t>(sector * ublk::uapi::sector_size); }

    Serving server_;
    Fd fd_;
};

} // namespace conformance
