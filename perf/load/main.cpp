// ublkcheck-load: one job of the generator, as a program of its own, so that what it executes can be told
// from what the server executes. Started by the guest's cases only.
#include "perf/load/generator.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <span>

namespace {

constexpr const char* usage =
    "ublkcheck-load DISK RANDOM WRITE-PERCENT BLOCK DEPTH SPAN WARM-UP IOS SEED MARKED\n";

bool read_numbers(std::span<char*> words, std::span<std::uint64_t> numbers)
{
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const char* end = words[i] + std::strlen(words[i]);
        if (const auto [stop, ec] = std::from_chars(words[i], end, numbers[i]);
            ec != std::errc() || stop != end)
            return false;
    }
    return true;
}

} // namespace

int main(int argc, char** argv)
{
    std::array<std::uint64_t, 9> n{};
    if (argc != 11 || !read_numbers(std::span(argv, 11).subspan(2), n)) {
        std::fputs(usage, stderr);
        return 2;
    }
    const auto counted = perf::generate(argv[1], {.random = n[0] != 0,
                                                  .write_percent = static_cast<unsigned>(n[1]),
                                                  .block = static_cast<unsigned>(n[2]),
                                                  .depth = static_cast<unsigned>(n[3]),
                                                  .span = n[4],
                                                  .warm_up = n[5],
                                                  .ios = n[6],
                                                  .seed = n[7],
                                                  .marked = n[8] != 0});
    if (!counted) {
        std::fprintf(stderr, "%s\n", counted.error().c_str());
        return 1;
    }
    std::printf("%llu %llu %llu\n", static_cast<unsigned long long>(counted->ticks),
                static_cast<unsigned long long>(counted->idle_nanoseconds),
                static_cast<unsigned long long>(counted->switches));
    return 0;
}
