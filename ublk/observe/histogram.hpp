// Counts of values in log-linear buckets: eight to each power of two, so that a bucket is at most an eighth
// of its values wide.
#pragma once

#include "ublk/observe/counter.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ublk::observe {

// One writer; any thread may read meanwhile.
struct Histogram {
    static constexpr unsigned fine_bits = 3;
    static constexpr unsigned top_bits = 40; // values from 2^40 on (18 minutes of nanoseconds) are as one
    static constexpr std::size_t buckets = (top_bits - fine_bits + 1) << fine_bits;

    std::array<std::uint64_t, buckets> counts{};
    std::uint64_t sum = 0;

    static constexpr std::size_t bucket_of(std::uint64_t value)
    {
        constexpr std::uint64_t fine = 1U << fine_bits;
        if (value < fine)
            return value;
        if (value >> top_bits != 0)
            return buckets - 1;
        const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - fine_bits;
        return (std::size_t{shift} << fine_bits) + static_cast<std::size_t>(value >> shift);
    }
    // The least value of a bucket; that of `buckets` is the end of the last.
    static constexpr std::uint64_t begin_of(std::size_t bucket)
    {
        constexpr std::size_t fine = 1U << fine_bits;
        if (bucket < 2 * fine)
            return bucket;
        const std::size_t shift = (bucket >> fine_bits) - 1;
        return std::uint64_t{(bucket & (fine - 1)) + fine} << shift;
    }

    void add(std::uint64_t value) noexcept
    {
        bump(counts[bucket_of(value)], 1);
        bump(sum, value);
    }

    // Of a copy that nobody writes to.
    std::uint64_t count() const;
    // A value that `part` (0 to 1) of the values do not exceed, rounded up to the end of its bucket; 0 if
    // there are no values.
    std::uint64_t quantile(double part) const;
};

} // namespace ublk::observe
