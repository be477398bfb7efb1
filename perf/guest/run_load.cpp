#include "perf/guest/run_load.hpp"

#include "conformance/driver/expect.hpp"
#include "conformance/server/process.hpp"

#include <fmt/format.h>
#include <sstream>

namespace perf {

Counted run_load(const std::string& disk, const GeneratorJob& job)
{
    const auto run = conformance::run_program(
        {load_program, disk, std::to_string(static_cast<int>(job.random)), std::to_string(job.write_percent),
         std::to_string(job.block), std::to_string(job.depth), std::to_string(job.span),
         std::to_string(job.warm_up), std::to_string(job.ios), std::to_string(job.seed),
         std::to_string(static_cast<int>(job.marked))});
    Counted counted;
    std::istringstream words(run.output);
    if (run.status != 0 || !(words >> counted.ticks >> counted.idle_nanoseconds >> counted.switches))
        conformance::fail(fmt::format("every I/O on {} is done", disk),
                          fmt::format("{} ended with {}: {}", load_program, run.status, run.output));
    return counted;
}

} // namespace perf
