#include "ublk/observe/metrics.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

namespace ublk::observe {

namespace {

static_assert(std::is_trivially_copyable_v<QueueMetrics>);
using Words = std::array<std::uint64_t, sizeof(QueueMetrics) / sizeof(std::uint64_t)>;

QueueMetrics by_word(const QueueMetrics& a, const QueueMetrics& b, auto operation)
{
    auto result = std::bit_cast<Words>(a);
    const auto other = std::bit_cast<Words>(b);
    std::ranges::transform(result, other, result.begin(), operation);
    return std::bit_cast<QueueMetrics>(result);
}

} // namespace

std::uint64_t Histogram::count() const
{
    std::uint64_t all = 0;
    for (const auto one : counts)
        all += one;
    return all;
}

std::uint64_t Histogram::quantile(double part) const
{
    const std::uint64_t all = count();
    if (all == 0)
        return 0;
    const auto rank =
        static_cast<std::uint64_t>(std::ceil(std::clamp(part, 0.0, 1.0) * static_cast<double>(all)));
    std::uint64_t below = 0;
    std::size_t bucket = 0;
    while ((below += counts[bucket]) < std::max<std::uint64_t>(rank, 1))
        ++bucket;
    return begin_of(bucket + 1) - 1;
}

QueueMetrics operator-(const QueueMetrics& now, const QueueMetrics& before)
{
    return by_word(now, before, [](auto a, auto b) { return a - b; });
}

QueueMetrics& operator+=(QueueMetrics& sum, const QueueMetrics& more)
{
    return sum = by_word(sum, more, [](auto a, auto b) { return a + b; });
}

QueueMetrics Snapshot::total() const
{
    QueueMetrics sum;
    for (const auto& queue : queues)
        sum += queue;
    return sum;
}

} // namespace ublk::observe
