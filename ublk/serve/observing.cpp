#include "ublk/serve/observing.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fmt/core.h>
#include <set>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

namespace ublk::serve {

namespace {

constexpr const char* root_directory = "/run/ublk-serve";

// A daemon has no terminal.
observe::Log::Sink to_syslog()
{
    return [](const observe::LogMessage& message) {
        constexpr std::array priorities{LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
        ::syslog(LOG_DAEMON | priorities[static_cast<std::size_t>(message.level)], "%.*s",
                 static_cast<int>(message.text.size()), message.text.data());
    };
}

std::expected<observe::Metrics, int> in_file(const observe::DeviceDescription& device, std::uint16_t queues,
                                             std::uint16_t threads)
{
    const std::string directory = stats_directory();
    if (directory.empty())
        return std::unexpected(ENOENT);
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
        return std::unexpected(errno);
    return observe::Metrics::create_file(fmt::format("{}/{}.stats", directory, device.device), device, queues,
                                         threads);
}

engine::Watching watching(const AddCommand& command)
{
    if (command.paranoid)
        return engine::Watching::paranoid;
    return command.metrics.empty() ? engine::Watching::counting : engine::Watching::timing;
}

} // namespace

std::string stats_directory()
{
    if (::geteuid() == 0)
        return root_directory;
    const char* runtime = std::getenv("XDG_RUNTIME_DIR"); // NOLINT(concurrency-mt-unsafe)
    return runtime != nullptr && *runtime != '\0' ? std::string(runtime) + "/ublk-serve" : std::string();
}

Observation::Observation(const AddCommand& command, observe::Metrics metrics)
    : watching_(watching(command)), metrics_(std::move(metrics)),
      log_(command.daemon ? to_syslog() : observe::to_descriptor(STDERR_FILENO, "ublk-serve"),
           {.level = command.log_level})
{
}

Result<std::unique_ptr<Observation>> Observation::open(const AddCommand& command, const uapi::DevInfo& info,
                                                       std::uint64_t size)
{
    const observe::DeviceDescription device{.device = info.dev_id,
                                            .depth = info.queue_depth,
                                            .size = size,
                                            .pid = ::getpid(),
                                            .timed = watching(command) != engine::Watching::counting ||
                                                     UBLK_ASSERTIONS != 0,
                                            .backend = to_string(command.type)};
    const std::uint16_t threads = command.device.serving.threads_per_queue;
    auto metrics = in_file(device, info.nr_hw_queues, threads);
    const int why = metrics ? 0 : metrics.error();
    if (!metrics)
        metrics = observe::Metrics::create(device, info.nr_hw_queues, threads);
    if (!metrics)
        return std::unexpected(make_error("mmap", metrics.error(), info.dev_id));
    std::unique_ptr<Observation> all(new Observation(command, std::move(*metrics)));
    if (why != 0)
        all->log_.write(observe::Level::info, "ublk-serve top will not show device {}: {}", info.dev_id,
                        errno_name(why));
    if (!command.metrics.empty()) {
        auto endpoint = observe::Endpoint::open(
            command.metrics, [&metrics = all->metrics_] { return std::vector{metrics.snapshot()}; });
        if (!endpoint) {
            Error error = make_error("--metrics " + command.metrics, EADDRNOTAVAIL, info.dev_id);
            error.hint = "choose another port (" + endpoint.error() + ")";
            return std::unexpected(std::move(error));
        }
        all->endpoint_ = std::move(*endpoint);
    }
    return all;
}

std::vector<observe::Snapshot> served_devices(const std::vector<std::string>& directories)
{
    std::vector<observe::Snapshot> devices;
    for (const auto& directory : directories) {
        std::error_code none;
        for (const auto& entry : std::filesystem::directory_iterator(directory, none)) {
            if (entry.path().extension() != ".stats")
                continue;
            if (auto snapshot = observe::Metrics::read_file(entry.path()))
                devices.push_back(std::move(*snapshot));
        }
    }
    std::ranges::sort(devices, {}, [](const observe::Snapshot& one) { return one.device.device; });
    return devices;
}

std::vector<observe::Snapshot> served_devices()
{
    std::set<std::string> all{"/run/ublk-serve", stats_directory()};
    all.erase("");
    return served_devices({all.begin(), all.end()});
}

} // namespace ublk::serve
