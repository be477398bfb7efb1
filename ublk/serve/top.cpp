// top: what the devices of this machine's ublk-serve do, over and over.
#include "ublk/serve/observing.hpp"
#include "ublk/serve/size.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/core.h>
#include <fstream>
#include <iostream>
#include <numeric>
#include <set>
#include <thread>
#include <unistd.h>

namespace ublk::serve {

namespace {

using observe::QueueMetrics;
using observe::Snapshot;

constexpr std::size_t read_slot = 0, write_slot = 1;

double sum(const QueueMetrics::PerOp<std::uint64_t>& counts)
{
    return static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
}

std::string microseconds(const observe::Histogram& latency, double part)
{
    return latency.count() == 0 ? "-"
                                : fmt::format("{:.0f}", static_cast<double>(latency.quantile(part)) / 1e3);
}

// All requests together.
observe::Histogram all_latencies(const QueueMetrics& metrics)
{
    observe::Histogram all;
    for (const auto& one : metrics.latency)
        for (std::size_t i = 0; i < observe::Histogram::buckets; ++i)
            all.counts[i] += one.counts[i];
    return all;
}

QueueMetrics since(const std::vector<Snapshot>& before, const Snapshot& now)
{
    const auto same = std::ranges::find_if(before, [&](const Snapshot& one) {
        return one.device.device == now.device.device && one.device.pid == now.device.pid &&
               one.queues.size() == now.queues.size();
    });
    return same == before.end() ? QueueMetrics() : now.total() - same->total();
}

std::string row(const Snapshot& now, const QueueMetrics& done, double seconds)
{
    constexpr double mib = 1 << 20;
    const auto rate = [&](double count) { return count / seconds; };
    const double reads = static_cast<double>(done.requests[read_slot]),
                 writes = static_cast<double>(done.requests[write_slot]);
    const auto latency = all_latencies(done);
    const std::uint64_t batches = done.enters - done.empty;
    const std::string batch =
        batches == 0 ? "-" : fmt::format("{:.1f}", sum(done.requests) / static_cast<double>(batches));
    return fmt::format("{:>4}  {:<8} {:>9} {:>9} {:>9} {:>10.1f} {:>10.1f} {:>7.0f} {:>6} {:>8} {:>8}\n",
                       now.device.device, now.device.backend, fmt::format("{:.0f}", rate(reads)),
                       fmt::format("{:.0f}", rate(writes)),
                       fmt::format("{:.0f}", rate(sum(done.requests) - reads - writes)),
                       rate(static_cast<double>(done.bytes[read_slot])) / mib,
                       rate(static_cast<double>(done.bytes[write_slot])) / mib, rate(sum(done.errors)), batch,
                       microseconds(latency, 0.5), microseconds(latency, 0.99));
}

int write_once(const TopCommand& command)
{
    const std::string text = observe::to_json(served_devices()) + '\n';
    if (command.json == "-") {
        std::cout << text << std::flush;
        return exit_ok;
    }
    std::ofstream file(command.json);
    file << text;
    file.close();
    if (file)
        return exit_ok;
    complain(make_error("write " + command.json, errno != 0 ? errno : EIO).message());
    return exit_failed;
}

} // namespace

std::string top_table(const std::vector<Snapshot>& before, const std::vector<Snapshot>& now, double seconds)
{
    if (now.empty())
        return "no ublk-serve runs here\n";
    std::string table = fmt::format("{:>4}  {:<8} {:>9} {:>9} {:>9} {:>10} {:>10} {:>7} {:>6} {:>8} {:>8}\n",
                                    "ID", "BACKEND", "READ/s", "WRITE/s", "OTHER/s", "READ MiB/s",
                                    "WRIT MiB/s", "ERR/s", "BATCH", "P50 us", "P99 us");
    for (const auto& device : now)
        table += row(device, since(before, device), seconds);
    return table;
}

int run(const TopCommand& command)
{
    using Clock = std::chrono::steady_clock;
    if (!command.json.empty())
        return write_once(command);
    const bool terminal = ::isatty(STDOUT_FILENO) == 1;
    auto before = served_devices();
    auto then = Clock::now();
    for (std::uint64_t shown = 0; command.count == 0 || shown < command.count; ++shown) {
        std::this_thread::sleep_until(then + std::chrono::seconds(command.interval));
        auto now = served_devices();
        const auto at = Clock::now();
        const std::chrono::duration<double> passed = at - then;
        std::cout << (terminal ? "\033[H\033[J" : "") << top_table(before, now, passed.count()) << std::flush;
        if (!std::cout)
            return exit_failed; // nobody reads any more
        before = std::move(now);
        then = at;
    }
    return exit_ok;
}

} // namespace ublk::serve
