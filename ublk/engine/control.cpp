#include "ublk/engine/control.hpp"

#include "ublk/uapi/io.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <poll.h>

namespace ublk::engine {

namespace {

std::uint64_t address(const void* pointer)
{
    return std::bit_cast<std::uintptr_t>(pointer);
}

// A command whose buffer begins with the path of the device's node, as an unprivileged device demands.
class PathCommand {
  public:
    explicit PathCommand(const uapi::CtrlCmd& plain) : command_(plain)
    {
        const std::string path = wire::char_path(plain.dev_id);
        buffer_.resize(path.size() + plain.len);
        std::memcpy(buffer_.data(), path.data(), path.size());
        if (plain.len > 0)
            std::memcpy(buffer_.data() + path.size(), std::bit_cast<const void*>(plain.addr), plain.len);
        command_.addr = address(buffer_.data());
        command_.len = static_cast<std::uint16_t>(buffer_.size());
        command_.dev_path_len = static_cast<std::uint16_t>(path.size());
    }

    const uapi::CtrlCmd& command() const { return command_; }
    // What the driver wrote goes to where the plain command wanted it.
    void answer(const uapi::CtrlCmd& plain) const
    {
        std::memcpy(std::bit_cast<void*>(plain.addr), buffer_.data() + command_.dev_path_len, plain.len);
    }

  private:
    uapi::CtrlCmd command_;
    std::vector<std::byte> buffer_;
};

bool is_answered(uapi::CtrlNr nr)
{
    using enum uapi::CtrlNr;
    return nr == get_dev_info || nr == get_params || nr == get_queue_affinity;
}

} // namespace

Result<Control> Control::open()
{
    auto node = wire::open_node(wire::control_path, O_RDWR);
    if (!node)
        return std::unexpected(make_error(std::string("open ") + wire::control_path, node.error()));
    auto ring = wire::Ring::open({.entries = 4});
    if (!ring)
        return std::unexpected(make_error("io_uring_setup", ring.error()));
    return Control(std::move(*node), std::move(*ring));
}

Result<void> Control::call(std::string_view name, uapi::CtrlNr nr, const uapi::CtrlCmd& command,
                           int interrupt_fd)
{
    if (auto answer = ask(name, nr, command, interrupt_fd); !answer)
        return std::unexpected(std::move(answer.error()));
    return {};
}

Result<std::int32_t> Control::ask(std::string_view name, uapi::CtrlNr nr, const uapi::CtrlCmd& command,
                                  int interrupt_fd)
{
    std::int32_t res = 0;
    if (by_path_.contains(command.dev_id)) {
        const PathCommand carried(command);
        res = send(nr, carried.command(), interrupt_fd);
        if (res >= 0 && is_answered(nr))
            carried.answer(command);
    } else {
        res = send(nr, command, interrupt_fd);
    }
    if (res >= 0)
        return res;
    std::optional<std::uint32_t> device;
    if (command.dev_id != uapi::no_dev_id)
        device = command.dev_id;
    return std::unexpected(make_error(std::string(name), -res, device));
}

std::int32_t Control::send(uapi::CtrlNr nr, const uapi::CtrlCmd& command, int interrupt_fd)
{
    return interrupt_fd < 0 ? wire::control(ring_, node_.get(), uapi::opcode(nr), command)
                            : call_interruptible(nr, command, interrupt_fd);
}

// Sends the command, and cancels it once interrupt_fd is readable; its own answer is awaited either way.
std::int32_t Control::call_interruptible(uapi::CtrlNr nr, const uapi::CtrlCmd& command, int interrupt_fd)
{
    constexpr std::uint64_t command_id = 1;
    constexpr std::uint64_t cancel_id = 2;
    io_uring_sqe* sqe = ring_.sqe();
    if (sqe == nullptr)
        return -EBUSY;
    wire::prep_control(*sqe, ring_.sqe128(), node_.get(), uapi::opcode(nr), command, command_id);
    if (const int res = ring_.submit(); res < 0)
        return res;
    std::int32_t answer = 0;
    unsigned awaited = 1;
    bool cancelled = false;
    while (awaited > 0) {
        std::array<pollfd, 2> fds{pollfd{ring_.fd(), POLLIN, 0}, pollfd{interrupt_fd, POLLIN, 0}};
        if (::poll(fds.data(), cancelled ? 1 : 2, -1) < 0 && errno != EINTR)
            return -errno;
        while (awaited > 0) {
            const auto done = ring_.poll();
            if (!done)
                break;
            --awaited;
            if (done->user_data == command_id)
                answer = done->res;
        }
        if (awaited > 0 && !cancelled && (fds[1].revents & POLLIN) != 0) {
            cancelled = true;
            if (io_uring_sqe* cancel = ring_.sqe(); cancel != nullptr) {
                io_uring_prep_cancel64(cancel, command_id, 0);
                cancel->user_data = cancel_id;
                if (ring_.submit() >= 0)
                    ++awaited;
            }
        }
    }
    return answer;
}

Result<uapi::Features> Control::features()
{
    std::uint64_t bits = 0;
    const uapi::CtrlCmd command{.len = uapi::features_len, .addr = address(&bits)};
    if (auto done = call("GET_FEATURES", uapi::CtrlNr::get_features, command); !done)
        return std::unexpected(std::move(done.error()));
    return uapi::Features::from_raw(bits);
}

Result<uapi::DevInfo> Control::add(const uapi::DevInfo& wanted)
{
    uapi::DevInfo info = wanted;
    const uapi::CtrlCmd command{.dev_id = wanted.dev_id, .len = sizeof(info), .addr = address(&info)};
    by_path_.erase(wanted.dev_id); // there is no node yet
    if (auto done = call("ADD_DEV", uapi::CtrlNr::add_dev, command); !done)
        return std::unexpected(std::move(done.error()));
    if (uapi::Features::from_raw(info.flags).has(uapi::Feature::unprivileged_dev))
        by_path_.insert(info.dev_id);
    return info;
}

Result<uapi::DevInfo> Control::info(std::uint32_t device)
{
    uapi::DevInfo info;
    const uapi::CtrlCmd command{.dev_id = device, .len = sizeof(info), .addr = address(&info)};
    auto done = call("GET_DEV_INFO", uapi::CtrlNr::get_dev_info, command);
    // EINVAL: an unprivileged device. EPERM: we are not root, and it may be one.
    if (!done && (done.error().code == EINVAL || done.error().code == EPERM) && !by_path_.contains(device)) {
        by_path_.insert(device);
        done = call("GET_DEV_INFO", uapi::CtrlNr::get_dev_info, command);
        if (!done)
            by_path_.erase(device);
    }
    if (!done)
        return std::unexpected(std::move(done.error()));
    return info;
}

Result<uapi::Params> Control::params(std::uint32_t device)
{
    uapi::Params params;
    params.len = sizeof(params);
    const uapi::CtrlCmd command{.dev_id = device, .len = sizeof(params), .addr = address(&params)};
    if (auto done = call("GET_PARAMS", uapi::CtrlNr::get_params, command); !done)
        return std::unexpected(std::move(done.error()));
    return params;
}

Result<void> Control::set_params(std::uint32_t device, const uapi::Params& params)
{
    return call("SET_PARAMS", uapi::CtrlNr::set_params,
                {.dev_id = device, .len = sizeof(params), .addr = address(&params)});
}

Result<CpuMask> Control::affinity(std::uint32_t device, std::uint16_t queue)
{
    constexpr std::size_t bytes = 1024; // 8192 CPUs, the most that x86 kernels are built for
    CpuMask mask(bytes);
    const uapi::CtrlCmd command{.dev_id = device, .len = bytes, .addr = address(mask.data()), .data = queue};
    if (auto done = call("GET_QUEUE_AFFINITY", uapi::CtrlNr::get_queue_affinity, command); !done)
        return std::unexpected(std::move(done.error()));
    return mask;
}

Result<void> Control::start(std::uint32_t device, pid_t server, int interrupt_fd)
{
    const auto data = static_cast<std::uint64_t>(server);
    return call("START_DEV", uapi::CtrlNr::start_dev, {.dev_id = device, .data = data}, interrupt_fd);
}

Result<void> Control::stop(std::uint32_t device)
{
    return call("STOP_DEV", uapi::CtrlNr::stop_dev, {.dev_id = device});
}

Result<void> Control::try_stop(std::uint32_t device)
{
    return call("TRY_STOP_DEV", uapi::CtrlNr::try_stop_dev, {.dev_id = device});
}

Result<void> Control::quiesce(std::uint32_t device, std::chrono::milliseconds timeout)
{
    return call("QUIESCE_DEV", uapi::CtrlNr::quiesce_dev,
                {.dev_id = device, .data = static_cast<std::uint64_t>(timeout.count())});
}

Result<void> Control::resize(std::uint32_t device, std::uint64_t bytes)
{
    return call("UPDATE_SIZE", uapi::CtrlNr::update_size,
                {.dev_id = device, .data = bytes >> uapi::sector_shift});
}

Result<std::uint32_t> Control::register_memory(std::uint32_t device, std::span<std::byte> pages)
{
    const uapi::ShmemBufReg buffer{.addr = address(pages.data()), .len = pages.size()};
    const auto index = ask("REG_BUF", uapi::CtrlNr::reg_buf,
                           {.dev_id = device, .len = sizeof(buffer), .addr = address(&buffer)});
    if (!index)
        return std::unexpected(index.error());
    return static_cast<std::uint32_t>(*index);
}

Result<void> Control::start_recovery(std::uint32_t device)
{
    return call("START_USER_RECOVERY", uapi::CtrlNr::start_user_recovery, {.dev_id = device});
}

Result<void> Control::end_recovery(std::uint32_t device, pid_t server, int interrupt_fd)
{
    const auto data = static_cast<std::uint64_t>(server);
    return call("END_USER_RECOVERY", uapi::CtrlNr::end_user_recovery, {.dev_id = device, .data = data},
                interrupt_fd);
}

Result<void> Control::remove(std::uint32_t device)
{
    return call("DEL_DEV", uapi::CtrlNr::del_dev, {.dev_id = device});
}

} // namespace ublk::engine
