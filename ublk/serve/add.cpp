#include "ublk/serve/serving.hpp"
#include "ublk/serve/size.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <fmt/core.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace ublk::serve {

namespace {

std::string ready_line(const AddCommand& command, const uapi::DevInfo& info, std::uint64_t size)
{
    std::string line = fmt::format("ublkb{} ready: {}, {}, {} {} of {}", info.dev_id, to_string(command.type),
                                   format_size(size), info.nr_hw_queues,
                                   info.nr_hw_queues == 1 ? "queue" : "queues", info.queue_depth);
    if (info.nr_hw_queues != command.device.queues)
        line += fmt::format(" (asked for {}: the kernel gives one per CPU)", command.device.queues);
    return line;
}

nlohmann::json describe(const AddCommand& command, const uapi::DevInfo& info, std::uint64_t size)
{
    return {{"schema", 1},
            {"id", info.dev_id},
            {"path", wire::block_path(info.dev_id)},
            {"type", to_string(command.type)},
            {"size", size},
            {"block_size", command.block_size},
            {"queues", info.nr_hw_queues},
            {"depth", info.queue_depth},
            {"max_io_bytes", info.max_io_buf_bytes},
            {"data_path", engine::to_string(command.device.data_path)},
            {"read_only", command.read_only},
            {"pid", ::getpid()}};
}

// The disk is usable when its node is there.
Result<void> wait_for_disk(std::uint32_t device)
{
    auto disk = engine::open_when_there(wire::block_path(device), O_PATH);
    if (!disk)
        return std::unexpected(std::move(disk.error()));
    return {};
}

enum class Ending { asked, stopped_by_other, failed };

// Waits for a signal to end, or for the queues to end by themselves.
Ending wait_for_end(const engine::Running& running, int signal_fd)
{
    for (;;) {
        std::array<pollfd, 2> fds{pollfd{signal_fd, POLLIN, 0}, pollfd{running.ended_fd(), POLLIN, 0}};
        if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR)
            return Ending::asked;
        if (running.failure())
            return Ending::failed;
        if ((fds[1].revents & POLLIN) != 0)
            return Ending::stopped_by_other;
        if ((fds[0].revents & POLLIN) != 0)
            return Ending::asked;
    }
}

int finish(engine::Running running, Ending ending)
{
    const std::uint32_t id = running.info().dev_id;
    if (ending == Ending::failed) {
        complain(fmt::format("{}; the device is left without a server: ublk-serve delete {}",
                             running.failure()->message(), id));
        std::move(running).abandon();
        std::fflush(nullptr);
        std::quick_exit(exit_failed); // only our end frees the requests that the queue holds
    }
    auto stopped = std::move(running).stop();
    if (!stopped) {
        if (ending == Ending::stopped_by_other && stopped.error() == std::errc::no_such_device)
            return exit_ok;
        complain(stopped.error().message());
        return exit_failed;
    }
    if (ending == Ending::stopped_by_other) {
        std::move(*stopped).leave(); // to whoever stopped it
        return exit_ok;
    }
    if (const auto removed = std::move(*stopped).remove();
        !removed && !(removed.error() == std::errc::no_such_device)) {
        complain(removed.error().message());
        return exit_failed;
    }
    return exit_ok;
}

} // namespace

Result<wire::Fd> ending_signals()
{
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        ::sigaddset(&set, signal);
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0)
        return std::unexpected(make_error("sigprocmask", errno));
    wire::Fd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd)
        return std::unexpected(make_error("signalfd", errno));
    return fd;
}

Result<void> announce(const AddCommand& command, const uapi::DevInfo& info, std::uint64_t size,
                      Starter& starter)
{
    if (auto there = wait_for_disk(info.dev_id); !there)
        return there;
    if (auto written = write_json(command.json, describe(command, info, size)); !written)
        return written;
    starter.ready(ready_line(command, info, size));
    return {};
}

int serve_until_end(engine::Running running, int signal_fd)
{
    const Ending ending = wait_for_end(running, signal_fd);
    return finish(std::move(running), ending);
}

int run(const AddCommand& command)
{
    Starter starter;
    if (command.daemon) {
        if (const auto exit_code = starter.daemonize())
            return *exit_code;
    }
    if (!command.decorators.empty())
        return with_backend(command, starter,
                            [&](auto& backend) { return serve_decorated(command, backend, starter); });
    return with_backend(command, starter, [&](auto& backend) { return serve(command, backend, starter); });
}

} // namespace ublk::serve
