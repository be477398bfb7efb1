// Events as they are written and read, one for each case of a run.
#include "reports/event.hpp"

#include <benchmark/benchmark.h>
#include <string>

namespace reports {
namespace {

Event an_event(std::int64_t log_lines)
{
    CaseResult result{.id = "UBLK-CTRL-ADD-004", .suite = "driver", .title = "a rule as one sentence"};
    result.log.assign(static_cast<std::size_t>(log_lines), "a line of the kernel's log, of the usual length");
    return CaseEnded{result};
}

void write_event(benchmark::State& state)
{
    const auto event = an_event(state.range(0));
    for ([[maybe_unused]] auto _ : state)
        benchmark::DoNotOptimize(encode(event));
}
BENCHMARK(write_event)->Arg(0)->Arg(250);

void read_event(benchmark::State& state)
{
    const auto line = encode(an_event(state.range(0)));
    for ([[maybe_unused]] auto _ : state)
        benchmark::DoNotOptimize(decode(line));
}
BENCHMARK(read_event)->Arg(0)->Arg(250);

} // namespace
} // namespace reports
