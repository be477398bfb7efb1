#include "ublk/serve/serving.hpp"
#include "ublk/serve/shared_file.hpp"
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
    if (!command.recovers && info.nr_hw_queues != command.device.queues)
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
            {"data_path", engine::to_string(engine::data_path_of(uapi::Features::from_raw(info.flags)))},
            {"recovery", engine::to_string(engine::recovery_of(uapi::Features::from_raw(info.flags)))},
            {"read_only", command.read_only},
            {"integrity", to_string(command.integrity)},
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

enum class Ending { asked, ended_by_other, failed };

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
            return Ending::ended_by_other;
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
    if (ending == Ending::ended_by_other) {
        std::move(running).wait_ended().leave(); // to whoever stopped or quiesced it
        return exit_ok;
    }
    auto stopped = std::move(running).stop();
    if (!stopped) {
        complain(stopped.error().message());
        return exit_failed;
    }
    if (const auto removed = std::move(*stopped).remove();
        !removed && !(removed.error() == std::errc::no_such_device)) {
        complain(removed.error().message());
        return exit_failed;
    }
    return exit_ok;
}

} // namespace

Result<wire::Fd> ending_signals(const std::vector<int>& signals)
{
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : signals)
        ::sigaddset(&set, signal);
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0)
        return std::unexpected(make_error("sigprocmask", errno));
    wire::Fd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd)
        return std::unexpected(make_error("signalfd", errno));
    return fd;
}

engine::DataPath best_data_path(const AddCommand& command, PayloadWays ways, uapi::Features offered)
{
    // What null answers takes fewer instructions even at 4k where nobody copies (ublkcheck perf run --exact).
    // Of files only direct I/O gains: the page cache copies anyway, and an operation on it goes by a worker
    // thread. Registered pages are root's on older kernels. What has its blocks in memory spares one of two
    // copies where it can say where they are.
    const bool spares_copies =
        command.type == BackendType::null || (command.type == BackendType::file && command.direct);
    if (spares_copies && ways.unmapped && !command.device.unprivileged &&
        needed_features(engine::DataPath::auto_buf).without(offered).empty())
        return engine::DataPath::auto_buf;
    if (ways.places && needed_features(engine::DataPath::get_data).without(offered).empty())
        return engine::DataPath::get_data;
    return engine::DataPath::copy;
}

int tell_plan(const AddCommand& command, const engine::Geometry& geometry, PayloadWays ways)
{
    if (auto valid = validate(command.device, geometry, ways.unmapped); !valid) {
        complain(valid.error().message());
        return exit_failed;
    }
    fmt::print("would make: {}, {}, {} {} of {}, data path {}, recovery {}, integrity {}\n",
               to_string(command.type), format_size(geometry.size), command.device.queues,
               command.device.queues == 1 ? "queue" : "queues", command.device.depth,
               command.auto_path ? "auto" : engine::to_string(command.device.serving.data_path),
               engine::to_string(command.device.recovery), to_string(command.integrity));
    return exit_ok;
}

Result<engine::Configured> make_device(engine::Control& control, const AddCommand& command,
                                       const engine::Geometry& geometry, PayloadWays ways)
{
    engine::DeviceOptions options = command.device;
    auto offered = control.features();
    if (!offered)
        return std::unexpected(std::move(offered.error()));
    if (command.auto_path)
        options.serving.data_path = best_data_path(command, ways, *offered);
    if (auto valid = validate(options, geometry, ways.unmapped, *offered); !valid)
        return std::unexpected(std::move(valid.error()));
    auto created = engine::Created::add(control, options);
    if (!created)
        return std::unexpected(std::move(created.error()));
    const auto params = engine::make_params(geometry, created->info().max_io_buf_bytes);
    return std::move(*created).set_parameters(params);
}

Result<engine::Recovering> take_over(engine::Control& control, const AddCommand& command,
                                     const engine::Geometry& geometry)
{
    auto recovering = engine::Recovering::begin(control, *command.recovers, command.device.serving);
    if (!recovering)
        return recovering;
    const auto& basic = recovering->params().basic;
    const std::uint64_t size = basic.dev_sectors << uapi::sector_shift;
    const std::uint32_t block_size = 1U << basic.logical_bs_shift;
    if (geometry.size < size || geometry.block_size != block_size) {
        Error error = make_error("recovery", EINVAL, command.recovers);
        error.hint =
            fmt::format("the disk has {} bytes in blocks of {}, the backend {} in blocks of {}: give the "
                        "one that it was made with",
                        size, block_size, geometry.size, geometry.block_size);
        return std::unexpected(std::move(error));
    }
    return recovering;
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

int run(const AddCommand& given)
{
    AddCommand command = given;
    Starter starter;
    if (command.daemon) {
        if (const auto exit_code = starter.daemonize())
            return *exit_code;
    }
    engine::Pages shared;
    if (!command.shmem.empty()) {
        auto opened = map_shared_file(command.shmem);
        if (!opened)
            return starter.failed(exit_failed, opened.error().message());
        shared = std::move(*opened);
        command.device.serving.shared = {{shared.data(), shared.size()}};
    }
    if (!command.decorators.empty())
        return with_backend<backends::File>(
            command, starter, [&](auto& backend) { return serve_decorated(command, backend, starter); });
    return with_backend(command, starter, [&](auto& backend) { return serve(command, backend, starter); });
}

} // namespace ublk::serve
