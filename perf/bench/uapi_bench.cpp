// Encoding and decoding of the protocol's structures.
#include "ublk/uapi/codec.hpp"

#include <benchmark/benchmark.h>
#include <vector>

namespace ublk::uapi {
namespace {

void decode_descriptor(benchmark::State& state)
{
    const auto bytes = encode(IoDesc{.op_flags = 1, .nr_sectors = 8, .start_sector = 4096, .addr = 0x1000});
    for ([[maybe_unused]] auto _ : state)
        benchmark::DoNotOptimize(decode<IoDesc>(bytes));
}
BENCHMARK(decode_descriptor);

void encode_command(benchmark::State& state)
{
    IoCmd command{.q_id = 1, .tag = 7, .result = 4096, .addr = 0x1000};
    for ([[maybe_unused]] auto _ : state) {
        benchmark::DoNotOptimize(command);
        benchmark::DoNotOptimize(encode(command));
    }
}
BENCHMARK(encode_command);

void parameters_there_and_back(benchmark::State& state)
{
    Params params{};
    params.basic.dev_sectors = 1 << 20;
    for ([[maybe_unused]] auto _ : state) {
        const auto bytes = encode_params(params);
        benchmark::DoNotOptimize(decode_params(bytes));
    }
}
BENCHMARK(parameters_there_and_back);

void batch_there_and_back(benchmark::State& state)
{
    const std::vector<BatchEntry> entries(static_cast<std::size_t>(state.range(0)));
    for ([[maybe_unused]] auto _ : state) {
        const auto bytes = encode_batch(entries, {});
        benchmark::DoNotOptimize(decode_batch(bytes, {}));
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(batch_there_and_back)->Arg(1)->Arg(32)->Arg(128);

} // namespace
} // namespace ublk::uapi
