#include "ublk/engine/error.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <string_view>
#include <utility>

namespace ublk {

namespace {

struct Hint {
    std::string_view operation; // empty: any
    int code;
    std::string_view text;
};

// First match wins: rows of one operation come before rows of any.
constexpr std::array hints{
    Hint{"open /dev/ublk-control", ENOENT, "load the driver: modprobe ublk_drv"},
    Hint{"open /dev/ublk-control", ENXIO, "load the driver: modprobe ublk_drv"},
    Hint{"open /dev/ublk-control", EACCES,
         "run as root, or install the udev rule that comes with ublk-serve"},
    Hint{"open /dev/ublk-control", EPERM, "run as root, outside a container that hides devices"},
    Hint{"io_uring_setup", ENOSYS, "this kernel has no io_uring (or a sandbox hides it)"},
    Hint{"io_uring_setup", EPERM, "allow io_uring: sysctl kernel.io_uring_disabled=0"},
    Hint{"io_uring_setup", EINVAL, "this kernel's io_uring lacks SQE128: use Linux 6.0 or newer"},
    Hint{"io_uring_setup", ENOMEM, "raise the locked memory limit (ulimit -l), or lower the queue depth"},
    Hint{"ADD_DEV", EPERM, "run as root, or add an unprivileged device"},
    Hint{"ADD_DEV", EACCES, "there are as many unprivileged devices as the driver allows (ublks_max)"},
    Hint{"ADD_DEV", EEXIST, "that id is in use: choose another, or let the driver choose"},
    Hint{"ADD_DEV", ENOMEM, "lower the number of queues, or their depth"},
    Hint{"START_DEV", EEXIST, "the device runs already: stop it first"},
    Hint{"START_DEV", EBUSY, "the device is being stopped: try again when it is"},
    Hint{"START_DEV", EINTR, "interrupted before the disk was there"},
    Hint{"SET_PARAMS", EACCES, "parameters are fixed once a device runs: stop it first"},
    Hint{"SET_PARAMS", EINVAL, "the driver refuses these parameters: check block size and largest request"},
    Hint{"", ENODEV, "there is no such device"},
    Hint{"", EPERM, "run as root"},
    Hint{"", EACCES, "run as root"},
    Hint{"", EOPNOTSUPP, "this kernel's ublk driver does not know the command: use a newer kernel"},
};

} // namespace

std::string errno_name(int code)
{
    const char* name = ::strerrorname_np(code);
    return name != nullptr ? name : fmt::format("errno {}", code);
}

std::string usual_hint(const std::string& operation, int code)
{
    for (const auto& hint : hints) {
        if (hint.code == code && (hint.operation.empty() || hint.operation == operation))
            return std::string(hint.text);
    }
    return {};
}

Error make_error(std::string operation, int code, std::optional<std::uint32_t> device,
                 std::optional<std::uint16_t> queue, std::optional<std::uint16_t> tag)
{
    std::string hint = usual_hint(operation, code);
    return Error{std::move(operation), code, device, queue, tag, std::move(hint)};
}

std::string Error::message() const
{
    std::string text = operation;
    if (device)
        text += fmt::format(", device {}", *device);
    if (queue)
        text += fmt::format(", queue {}", *queue);
    if (tag)
        text += fmt::format(", tag {}", *tag);
    text += fmt::format(": {} ({})", std::generic_category().message(code), errno_name(code));
    if (!hint.empty())
        text += ": " + hint;
    return text;
}

} // namespace ublk
