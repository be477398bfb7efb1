// A tag's life, and the queue's loop over the queue in memory.
#include "ublk/backends/null.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <benchmark/benchmark.h>
#include <cstdlib>
#include <optional>
#include <vector>

namespace ublk::engine {
namespace {

void tag_serves_a_request(benchmark::State& state)
{
    TagState tag = TagState::armed;
    for ([[maybe_unused]] auto _ : state) {
        for (const auto event : {TagEvent::request, TagEvent::commit}) {
            benchmark::DoNotOptimize(tag);
            tag = next_state(tag, event).value_or(TagState::idle);
        }
        benchmark::DoNotOptimize(tag);
    }
}
BENCHMARK(tag_serves_a_request);

// What the queue in memory itself costs is in it: look at differences.
void queue_serves_requests(benchmark::State& state)
{
    constexpr std::size_t requests = 4096;
    const uapi::IoDesc read{.op_flags = 0, .nr_sectors = 8, .start_sector = 0, .addr = 0};
    const auto depth = static_cast<std::uint16_t>(state.range(0));
    backends::Null backend(1 << 20, 512);
    for ([[maybe_unused]] auto _ : state) {
        state.PauseTiming();
        std::optional<testing::FakeQueue> queue(std::in_place, depth, std::vector(requests, read), 1U);
        QueueRunner runner(*queue, backend, 0);
        runner.arm();
        state.ResumeTiming();
        if (runner.run().requests != requests)
            state.SkipWithError("the queue lost a request");
        state.PauseTiming();
        queue.reset();
        state.ResumeTiming();
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(requests));
}
BENCHMARK(queue_serves_requests)->Arg(1)->Arg(32)->Arg(128);

} // namespace
} // namespace ublk::engine
