#include "vm/listener.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace vm {
namespace {

constexpr const char* name = "port.sock";

// Socket addresses hold 107 characters, paths may have more: name the socket through the directory's
// descriptor. `call` is bind or connect.
template <typename Call>
Result<UniqueFd> with_address(const std::filesystem::path& directory, Call call)
{
    const UniqueFd dir(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/{}", dir.get(), name);
    if (!dir || !socket || call(socket.get(), address) != 0)
        return unavailable(fmt::format("no socket in {}: {}", directory.string(), std::strerror(errno)));
    return socket;
}

} // namespace

Result<Listener> Listener::create(const std::filesystem::path& directory)
{
    std::error_code ignored;
    std::filesystem::remove(directory / name, ignored);
    auto socket = with_address(directory, [](int fd, const sockaddr_un& address) {
        const int bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
        return bound == 0 ? ::listen(fd, 1) : bound;
    });
    if (!socket)
        return std::unexpected(socket.error());
    Listener listener;
    listener.directory_ = directory;
    listener.listening_ = std::move(*socket);
    return listener;
}

Result<UniqueFd> Listener::connect() const
{
    return with_address(directory_, [](int fd, const sockaddr_un& address) {
        return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    });
}

} // namespace vm
