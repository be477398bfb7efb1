#include "perf/fio.hpp"

#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace perf {

namespace {

std::string_view pattern(const Load& load)
{
    if (load.write_percent > 0 && load.write_percent < 100)
        return load.random ? "randrw" : "rw";
    if (load.random)
        return load.write_percent == 0 ? "randread" : "randwrite";
    return load.write_percent == 0 ? "read" : "write";
}

} // namespace

std::vector<std::string> fio_command(const Load& load, const std::string& disk, double runtime,
                                     const std::string& output)
{
    return {"fio",
            fmt::format("--name={}", load.name),
            "--filename=" + disk,
            fmt::format("--rw={}", pattern(load)),
            fmt::format("--rwmixread={}", 100 - load.write_percent),
            fmt::format("--bs={}", load.block),
            fmt::format("--iodepth={}", load.depth),
            fmt::format("--size={}", working_set),
            "--ioengine=libaio",
            "--direct=1",
            "--norandommap=1",
            "--randrepeat=1",
            "--time_based=1",
            fmt::format("--runtime={}ms", static_cast<long>(std::lround(runtime * 1000))),
            "--disk_util=0", // a look at sysfs before and after, which takes longer than the job
            "--output-format=json",
            "--output=" + output};
}

std::expected<FioResult, std::string> read_fio_report(std::string_view text)
{
    const auto begin = text.find('{'); // notes of fio stand before its report
    const auto report = nlohmann::json::parse(begin == text.npos ? "" : text.substr(begin), nullptr, false);
    if (report.is_discarded())
        return std::unexpected(
            fmt::format("fio's report is no JSON: {}", text.empty() ? "it is empty" : text.substr(0, 200)));
    try {
        const auto& jobs = report.at("jobs");
        if (jobs.size() != 1)
            return std::unexpected(fmt::format("fio reported {} jobs, there was one", jobs.size()));
        const auto& job = jobs.at(0);
        if (const int error = job.at("error").get<int>(); error != 0)
            return std::unexpected(fmt::format("fio's job ended with error {}", error));
        FioResult result;
        for (const char* direction : {"read", "write"}) {
            const auto& part = job.at(direction);
            result.iops += part.at("iops").get<double>();
            result.mib_per_s += part.at("bw_bytes").get<double>() / (1 << 20);
            result.ios += part.at("total_ios").get<std::uint64_t>();
        }
        return result;
    } catch (const nlohmann::json::exception& e) {
        return std::unexpected(fmt::format("fio's report lacks what every version of it has: {}", e.what()));
    }
}

} // namespace perf
