#include "perf/statistics.hpp"

#include <algorithm>
#include <cmath>

namespace perf {

namespace {

std::vector<double> sorted(std::span<const double> values)
{
    std::vector<double> copy(values.begin(), values.end());
    std::ranges::sort(copy);
    return copy;
}

} // namespace

double median(std::span<const double> values)
{
    if (values.empty())
        return 0;
    const auto v = sorted(values);
    const auto half = v.size() / 2;
    return v.size() % 2 == 1 ? v[half] : v[half - 1] + (v[half] - v[half - 1]) / 2;
}

double spread(std::span<const double> values)
{
    const double middle = median(values);
    if (values.empty() || middle == 0)
        return 0;
    const auto [low, high] = std::ranges::minmax(values);
    return (high - low) / middle;
}

std::vector<double> ratios(std::span<const double> values, std::span<const double> base)
{
    std::vector<double> result;
    for (std::size_t i = 0; i < std::min(values.size(), base.size()); ++i)
        if (base[i] != 0)
            result.push_back(values[i] / base[i]);
    return result;
}

Interval median_interval(std::span<const double> values, double confidence)
{
    if (values.empty())
        return {};
    const auto v = sorted(values);
    const auto n = v.size();
    // The true median is below the k-th smallest value with the chance that fewer than k of n tosses of a
    // coin fall on its side; the same above.
    const auto coverage_of = [n](std::size_t k) {
        double tail = 0;
        for (std::size_t i = 0; i < k; ++i) {
            const auto count = static_cast<double>(n), heads = static_cast<double>(i);
            tail += std::exp(std::lgamma(count + 1) - std::lgamma(heads + 1) -
                             std::lgamma(count - heads + 1) - count * std::log(2.0));
        }
        return 1 - 2 * tail;
    };
    std::size_t k = 1;
    while (2 * (k + 1) <= n && coverage_of(k + 1) >= confidence)
        ++k;
    return {v[k - 1], v[n - k], n == 1 ? 0 : coverage_of(k)};
}

} // namespace perf
