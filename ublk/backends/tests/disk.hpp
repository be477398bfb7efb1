// Requests to a backend as the queue loop makes them, and a model to hold the content against.
#pragma once

#include "ublk/engine/io.hpp"

#include <algorithm>
#include <cstdint>
#include <gtest/gtest.h>
#include <random>
#include <span>
#include <vector>

namespace ublk::backends::testing {

inline constexpr std::uint32_t sector = uapi::sector_size;

// `data` counts for read and write, and gives their length; `sectors` for the rest.
template <engine::Backend B>
std::int32_t ask(B& backend, uapi::IoOp op, std::uint64_t start_sector, std::span<std::byte> data,
                 std::uint32_t sectors = 0, uapi::IoFlags flags = {})
{
    engine::Io io{.op = op, .flags = flags, .start_sector = start_sector};
    io.nr_sectors = engine::carries_data(op) ? static_cast<std::uint32_t>(data.size() / sector) : sectors;
    io.data = data;
    return backend.handle(io);
}

inline std::vector<std::byte> random_bytes(std::size_t count, std::mt19937& random)
{
    std::vector<std::byte> bytes(count);
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::byte>(random()); });
    return bytes;
}

// Random requests on a backend that is all zeroes, and on a plain array; each read must agree, and in the end
// every byte.
template <engine::Backend B>
void agrees_with_an_array(B& backend, std::uint64_t size, std::uint32_t seed, int requests)
{
    using enum uapi::IoOp;
    constexpr std::array ops{read, write, write, discard, write_zeroes, flush};
    constexpr std::array<uapi::IoFlags, 4> write_flags{
        uapi::IoFlags{}, uapi::IoFlag::fua, uapi::IoFlag::nounmap, uapi::IoFlag::fua | uapi::IoFlag::nounmap};
    std::mt19937 random(seed);
    std::vector<std::byte> model(size);
    const std::uint64_t all = size / sector;
    for (int i = 0; i < requests; ++i) {
        const std::uint64_t start = random() % all;
        const auto count =
            static_cast<std::uint32_t>(1 + random() % std::min<std::uint64_t>(all - start, 64));
        const auto part = std::span(model).subspan(start * sector, std::size_t{count} * sector);
        const auto op = ops[random() % ops.size()];
        const auto flags = write_flags[random() % write_flags.size()];
        auto data = random_bytes(part.size(), random);
        switch (op) {
        case read:
            ASSERT_EQ(ask(backend, read, start, data), static_cast<std::int32_t>(data.size()));
            ASSERT_TRUE(std::ranges::equal(data, part)) << "request " << i << " of seed " << seed;
            break;
        case write:
            ASSERT_EQ(ask(backend, write, start, data, 0, flags), static_cast<std::int32_t>(data.size()));
            std::ranges::copy(data, part.begin());
            break;
        case flush:
            ASSERT_EQ(ask(backend, flush, UINT64_MAX, {}), 0);
            break;
        default:
            ASSERT_EQ(ask(backend, op, start, {}, count, flags), 0);
            std::ranges::fill(part, std::byte{0});
        }
    }
    std::vector<std::byte> content(size);
    ASSERT_EQ(ask(backend, read, 0, content), static_cast<std::int32_t>(size));
    ASSERT_TRUE(content == model) << "seed " << seed;
}

// Every operation with a range, outside of a disk of `size` bytes.
template <engine::Backend B>
void refuses_ranges_beyond_the_end(B& backend, std::uint64_t size)
{
    using enum uapi::IoOp;
    std::vector<std::byte> two(2 * sector);
    const std::uint64_t end = size / sector;
    for (const auto op : {read, write, discard, write_zeroes}) {
        EXPECT_EQ(ask(backend, op, end - 1, two, 2), -EIO) << "straddles the end";
        EXPECT_EQ(ask(backend, op, end, two, 2), -EIO) << "begins at the end";
        EXPECT_EQ(ask(backend, op, UINT64_MAX / sector, two, 2), -EINVAL) << "overflows";
        EXPECT_EQ(ask(backend, op, UINT64_MAX, two, 2), -EINVAL) << "overflows";
    }
}

template <engine::Backend B>
void knows_no_zones(B& backend)
{
    for (const auto op : {uapi::IoOp::zone_append, uapi::IoOp::zone_reset, uapi::IoOp::write_same})
        EXPECT_EQ(ask(backend, op, 0, {}, 0), -EOPNOTSUPP);
}

template <engine::Backend B>
void refuses_changes(B& backend)
{
    using enum uapi::IoOp;
    std::vector<std::byte> one(sector, std::byte{1});
    EXPECT_EQ(ask(backend, write, 0, one), -EPERM);
    EXPECT_EQ(ask(backend, discard, 0, {}, 1), -EPERM);
    EXPECT_EQ(ask(backend, write_zeroes, 0, {}, 1), -EPERM);
    EXPECT_EQ(ask(backend, read, 0, one), static_cast<std::int32_t>(sector));
}

} // namespace ublk::backends::testing
