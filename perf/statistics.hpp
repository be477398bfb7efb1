// Statistics of few and noisy values: medians and order statistics, which assume nothing about how the noise
// is distributed.
#pragma once

#include <span>
#include <vector>

namespace perf {

// Of at least one value; the mean of the two in the middle when there are an even number.
double median(std::span<const double> values);
// (largest - smallest) / median; 0 when the median is 0.
double spread(std::span<const double> values);
// values[i] / base[i], for as many rounds as both have; a base of 0 leaves its round out.
std::vector<double> ratios(std::span<const double> values, std::span<const double> base);

struct Interval {
    double low = 0, high = 0;
    double coverage = 0; // the chance that it holds the true median, if rounds are independent

    bool contains(double value) const { return low <= value && value <= high; }
};
// The narrowest pair of order statistics, symmetric in rank, that covers the true median with at least
// `confidence`. With too few values for that it is the smallest and the largest, with the coverage that they
// have: 75 % for 3 values, 96.9 % for 6, 99.2 % for 8.
Interval median_interval(std::span<const double> values, double confidence);

} // namespace perf
