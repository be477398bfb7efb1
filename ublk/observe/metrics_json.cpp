#include "ublk/observe/metrics.hpp"

#include <nlohmann/json.hpp>

namespace ublk::observe {

namespace {

using Json = nlohmann::json;

Json by_op(const QueueMetrics::PerOp<std::uint64_t>& counts)
{
    Json object = Json::object();
    for (std::size_t i = 0; i < op_names.size(); ++i)
        object[std::string(op_names[i])] = counts[i];
    return object;
}

Json latency(const Histogram& histogram)
{
    Json buckets = Json::array();
    for (std::size_t i = 0; i < Histogram::buckets; ++i) {
        if (histogram.counts[i] != 0)
            buckets.push_back({Histogram::begin_of(i), histogram.counts[i]});
    }
    return {{"count", histogram.count()},      {"sum", histogram.sum},
            {"p50", histogram.quantile(0.5)},  {"p90", histogram.quantile(0.9)},
            {"p99", histogram.quantile(0.99)}, {"p999", histogram.quantile(0.999)},
            {"max", histogram.quantile(1.0)},  {"buckets", std::move(buckets)}};
}

Json queue(const QueueMetrics& metrics, bool timed)
{
    Json object{{"requests", by_op(metrics.requests)},
                {"errors", by_op(metrics.errors)},
                {"bytes", by_op(metrics.bytes)},
                {"enters", metrics.enters},
                {"empty_enters", metrics.empty},
                {"log_dropped", metrics.dropped},
                {"shared", metrics.shared}};
    if (!timed)
        return object;
    object["latency_ns"] = Json::object();
    for (std::size_t i = 0; i < latency_names.size(); ++i)
        object["latency_ns"][std::string(latency_names[i])] = latency(metrics.latency[i]);
    return object;
}

} // namespace

std::string to_json(std::span<const Snapshot> devices)
{
    Json list = Json::array();
    for (const auto& [device, queues] : devices) {
        Json object{{"id", device.device},   {"backend", device.backend}, {"size", device.size},
                    {"depth", device.depth}, {"pid", device.pid},         {"timed", device.timed}};
        object["queues"] = Json::array();
        for (const auto& metrics : queues)
            object["queues"].push_back(queue(metrics, device.timed));
        list.push_back(std::move(object));
    }
    return Json{{"schema", 1}, {"devices", std::move(list)}}.dump(2, ' ', false,
                                                                  Json::error_handler_t::replace);
}

} // namespace ublk::observe
