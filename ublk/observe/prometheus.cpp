#include "ublk/observe/prometheus.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <exception>
#include <fmt/core.h>
#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sstream>

namespace ublk::observe {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr double nanoseconds = 1e9; // in a second

// From 2 µs to 17 s: a bucket for each power of four.
constexpr unsigned first_bound_bits = 11, last_bound_bits = 34;

ClientMetric counter(Labels labels, std::uint64_t value)
{
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = static_cast<double>(value);
    return metric;
}

ClientMetric histogram(Labels labels, const Histogram& latency)
{
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.histogram.sample_count = latency.count();
    metric.histogram.sample_sum = static_cast<double>(latency.sum) / nanoseconds;
    std::uint64_t below = 0;
    std::size_t bucket = 0;
    for (unsigned bits = first_bound_bits; bits <= last_bound_bits; bits += 2) {
        const std::uint64_t bound = std::uint64_t{1} << bits;
        for (; Histogram::begin_of(bucket + 1) <= bound; ++bucket)
            below += latency.counts[bucket];
        metric.histogram.bucket.push_back({below, static_cast<double>(bound) / nanoseconds});
    }
    return metric;
}

struct Families {
    MetricFamily requests{"ublk_requests_total", "Requests answered", MetricType::Counter, {}};
    MetricFamily errors{
        "ublk_request_errors_total", "Requests answered with an errno", MetricType::Counter, {}};
    MetricFamily bytes{
        "ublk_request_bytes_total", "Bytes moved, discarded or zeroed", MetricType::Counter, {}};
    MetricFamily enters{"ublk_ring_enters_total", "Enters of the queue's ring", MetricType::Counter, {}};
    MetricFamily empty{
        "ublk_ring_empty_enters_total", "Enters that found no completion", MetricType::Counter, {}};
    MetricFamily dropped{"ublk_log_dropped_total", "Log messages that were dropped", MetricType::Counter, {}};
    MetricFamily shared{"ublk_shared_requests_total",
                        "Requests whose payload was in memory shared with the application",
                        MetricType::Counter,
                        {}};
    MetricFamily latency{"ublk_request_duration_seconds",
                         "From when the server sees a request until its answer is ready",
                         MetricType::Histogram,
                         {}};

    void add(const Labels& of_queue, const QueueMetrics& queue, bool timed)
    {
        const auto with = [&](std::string_view op) {
            Labels labels = of_queue;
            labels.push_back({"op", std::string(op)});
            return labels;
        };
        for (std::size_t i = 0; i < op_names.size(); ++i) {
            requests.metric.push_back(counter(with(op_names[i]), queue.requests[i]));
            errors.metric.push_back(counter(with(op_names[i]), queue.errors[i]));
            bytes.metric.push_back(counter(with(op_names[i]), queue.bytes[i]));
        }
        enters.metric.push_back(counter(of_queue, queue.enters));
        empty.metric.push_back(counter(of_queue, queue.empty));
        dropped.metric.push_back(counter(of_queue, queue.dropped));
        shared.metric.push_back(counter(of_queue, queue.shared));
        for (std::size_t i = 0; timed && i < latency_names.size(); ++i)
            latency.metric.push_back(histogram(with(latency_names[i]), queue.latency[i]));
    }
};

std::vector<MetricFamily> families_of(const std::vector<Snapshot>& devices)
{
    Families all;
    for (const auto& [device, queues] : devices) {
        for (std::size_t queue = 0; queue < queues.size(); ++queue)
            all.add({{"device", std::to_string(device.device)}, {"queue", std::to_string(queue)}},
                    queues[queue], device.timed);
    }
    return {all.requests, all.errors, all.bytes, all.enters, all.empty, all.dropped, all.shared, all.latency};
}

class Source : public prometheus::Collectable {
  public:
    explicit Source(SnapshotSource source) : source_(std::move(source)) {}
    std::vector<MetricFamily> Collect() const override { return families_of(source_()); }

  private:
    SnapshotSource source_;
};

} // namespace

std::string to_prometheus(const std::vector<Snapshot>& devices)
{
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, families_of(devices));
    return text.str();
}

std::expected<std::string, std::string> loopback_address(const std::string& text)
{
    constexpr const char* mend = "give an address of this machine and a port: 127.0.0.1:PORT or [::1]:PORT";
    const auto colon = text.rfind(':');
    if (colon == std::string::npos)
        return std::unexpected(std::string(mend));
    const std::string host = text.substr(0, colon), port = text.substr(colon + 1);
    std::uint16_t number = 0;
    const auto [end, code] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (code != std::errc() || end != port.data() + port.size())
        return std::unexpected(std::string(mend));
    if (host == "[::1]")
        return text;
    in_addr address{};
    if (::inet_pton(AF_INET, host.c_str(), &address) != 1)
        return std::unexpected(std::string(mend));
    if (ntohl(address.s_addr) >> 24 != 127)
        return std::unexpected(std::string("other machines could reach it; ") + mend);
    return text;
}

struct Endpoint::Parts {
    Parts(const std::string& address, SnapshotSource from)
        : source(std::make_shared<Source>(std::move(from))), exposer(address, 1)
    {
        exposer.RegisterCollectable(source);
    }
    std::shared_ptr<Source> source;
    prometheus::Exposer exposer; // goes first, and with it the threads that use the source
};

Endpoint::Endpoint(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Endpoint::Endpoint(Endpoint&&) noexcept = default;
Endpoint& Endpoint::operator=(Endpoint&&) noexcept = default;
Endpoint::~Endpoint() = default;

std::expected<Endpoint, std::string> Endpoint::open(const std::string& address, SnapshotSource source)
try {
    return Endpoint(std::make_unique<Parts>(address, std::move(source)));
} catch (const std::exception& error) { // the library's only way to say that it cannot listen
    return std::unexpected(std::string(error.what()));
}

std::uint16_t Endpoint::port() const
{
    const auto ports = parts_->exposer.GetListeningPorts();
    return ports.empty() ? std::uint16_t{0} : static_cast<std::uint16_t>(ports.front());
}

} // namespace ublk::observe
