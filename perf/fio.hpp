// fio: how a load reads as its command line, and what its report says.
#pragma once

#include "perf/plan.hpp"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace perf {

// Reports as JSON into `output`, because warnings go to the standard output as well.
std::vector<std::string> fio_command(const Load& load, const std::string& disk, double runtime,
                                     const std::string& output);

struct FioResult {
    double iops = 0;      // reads and writes together
    double mib_per_s = 0; // 2^20 bytes
    std::uint64_t ios = 0;
};
// Of the only job of a report. Error: no report, or a job that failed.
std::expected<FioResult, std::string> read_fio_report(std::string_view text);

} // namespace perf
