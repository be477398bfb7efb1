// Payload that is at a place of the backend's own instead of in the tag's buffer.
#include "ublk/engine/parameters.hpp"
#include "ublk/engine/paranoid.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <algorithm>
#include <array>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

namespace ublk::engine {
namespace {

using testing::FakeQueue;
using ::testing::IsEmpty;
using uapi::IoOp;

constexpr std::uint32_t block = 4096, sectors = block / uapi::sector_size, blocks = 16;

// Blocks in memory, every third of which has no place.
struct Blocks {
    std::array<std::byte, std::size_t{block} * blocks> bytes{};
    unsigned placed = 0, copied = 0; // requests

    std::byte* at(const Io& io) { return bytes.data() + io.start_sector * uapi::sector_size; }
    static bool has_places() noexcept { return true; }
    std::span<std::byte> place(const Io& io) noexcept
    {
        if (io.start_sector / sectors % 3 == 0)
            return {};
        return {at(io), std::size_t{io.nr_sectors} * uapi::sector_size};
    }
    std::int32_t handle(Io& io) noexcept
    {
        const bool in_place = io.data.data() == at(io);
        ++(in_place ? placed : copied);
        if (!in_place && io.op == IoOp::write)
            std::ranges::copy(io.data, at(io));
        if (!in_place && io.op == IoOp::read)
            std::copy_n(at(io), io.data.size(), io.data.data());
        return static_cast<std::int32_t>(io.data.size());
    }
};
static_assert(PlacesPayload<Blocks> && TakesPlaces<FakeQueue>);

const uapi::Params params =
    make_params({.size = sizeof(Blocks::bytes), .block_size = 512}, FakeQueue::buffer_bytes);

// Each block is written, and then read: what came back.
std::vector<std::byte> pass_through(Blocks& backend, std::span<std::byte> written, bool asks,
                                    std::uint32_t seed)
{
    std::vector<std::byte> seen(written.size());
    for (const auto op : {IoOp::write, IoOp::read}) {
        FakeQueue queue(4, {}, seed);
        if (asks)
            queue.need_get_data();
        for (std::uint32_t i = 0; i < blocks; ++i)
            queue.offer(
                {.op_flags = static_cast<std::uint32_t>(op),
                 .nr_sectors = sectors,
                 .start_sector = std::uint64_t{i} * sectors},
                (op == IoOp::write ? written : std::span(seen)).subspan(std::size_t{i} * block, block));
        QueueRunner runner(queue, backend, 0, Paranoid(queue.depth(), params, uapi::Feature::need_get_data));
        runner.arm();
        const QueueEnd end = runner.run();
        EXPECT_EQ(end.code, 0) << end.report;
        EXPECT_EQ(end.errors, 0U);
        EXPECT_THAT(queue.violations(), IsEmpty());
    }
    return seen;
}

std::vector<std::byte> noise(std::uint32_t seed)
{
    std::mt19937 random(seed);
    std::vector<std::byte> bytes(sizeof(Blocks::bytes));
    std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
    return bytes;
}

TEST(Placing, MovesPayloadToAndFromThePlacesOfTheBackend)
{
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        Blocks backend;
        auto written = noise(seed);
        EXPECT_TRUE(pass_through(backend, written, true, seed) == written) << "seed " << seed;
        EXPECT_TRUE(std::ranges::equal(backend.bytes, written)) << "seed " << seed;
        EXPECT_EQ(backend.copied, 2 * ((blocks + 2) / 3));
        EXPECT_EQ(backend.placed, 2 * blocks - backend.copied);
    }
}

TEST(Placing, StaysInTheBuffersWhereTheDriverTakesNoPlaces)
{
    Blocks backend;
    auto written = noise(1);
    EXPECT_TRUE(pass_through(backend, written, false, 1) == written);
    EXPECT_EQ(backend.placed, 0U);
}

// As when memory for a page is short.
TEST(Placing, TakesTheBufferWhereTheDriverCouldNotCopyToThePlace)
{
    Blocks backend;
    const auto is_place = [&](const std::byte* at) {
        return at >= backend.bytes.data() && at < backend.bytes.data() + backend.bytes.size();
    };
    FakeQueue queue(1, {}, 1, {.no_copy = is_place});
    queue.need_get_data();
    auto written = noise(1);
    queue.offer(
        {.op_flags = static_cast<std::uint32_t>(IoOp::write), .nr_sectors = sectors, .start_sector = sectors},
        std::span(written).first(block));
    QueueRunner runner(queue, backend, 0, Paranoid(queue.depth(), params, uapi::Feature::need_get_data));
    runner.arm();
    EXPECT_EQ(runner.run().code, 0);
    EXPECT_EQ(queue.asked(), 2U);
    EXPECT_EQ(backend.copied, 1U);
    EXPECT_TRUE(
        std::ranges::equal(std::span(backend.bytes).subspan(block, block), std::span(written).first(block)));
}

// It may have been requeued, and be with another tag: what its own tag brings next is another request.
TEST(Placing, ForgetsAWriteThatDidNotComeBack)
{
    Blocks backend;
    backend.bytes[2 * block] = std::byte{9};
    std::array<std::byte, block> seen{}, unused{};
    const auto at = [](IoOp op, std::uint64_t number) {
        return uapi::IoDesc{.op_flags = static_cast<std::uint32_t>(op),
                            .nr_sectors = sectors,
                            .start_sector = number * sectors};
    };
    FakeQueue queue(1, {}, 1);
    queue.need_get_data();
    queue.offer(at(IoOp::write, 1), unused);
    const auto read = queue.offer(at(IoOp::read, 2), seen);
    queue.requeue_asked(read);
    queue.stop_after(1);
    QueueRunner runner(queue, backend, 0, Paranoid(queue.depth(), params, uapi::Feature::need_get_data));
    runner.arm();
    EXPECT_EQ(runner.run().code, 0);
    EXPECT_EQ(seen[0], std::byte{9});
    EXPECT_EQ(backend.bytes[block], std::byte{0}) << "the place of the write is not the read's";
}

TEST(QueueRunner, EndsLoudlyWhereAWriteCanNeverBeCopied)
{
    Blocks backend;
    FakeQueue queue(1, {}, 1, {.no_copy = [](const std::byte*) { return true; }});
    queue.need_get_data();
    queue.offer(
        {.op_flags = static_cast<std::uint32_t>(IoOp::write), .nr_sectors = sectors, .start_sector = 0});
    QueueRunner runner(queue, backend, 0);
    runner.arm();
    const QueueEnd end = runner.run();
    EXPECT_EQ(end.code, EFAULT);
    EXPECT_TRUE(end.stuck);
}

// Commits wait for the end of a turn: the next request of another tag must not change where they point.
TEST(Placing, KeepsThePlaceOfATagUntilItsCommitIsThrough)
{
    Blocks backend;
    FakeQueue queue(2, {}, 1);
    queue.need_get_data();
    for (std::size_t at = 0; at < backend.bytes.size(); ++at)
        backend.bytes[at] = static_cast<std::byte>(at / block);
    std::array<std::array<std::byte, block>, 2> seen{};
    QueueRunner runner(queue, backend, 0);
    runner.arm();
    for (std::uint16_t tag = 0; tag < 2; ++tag)
        queue.dispatch(tag, queue.offer({.op_flags = static_cast<std::uint32_t>(IoOp::read),
                                         .nr_sectors = sectors,
                                         .start_sector = (tag + 1U) * std::uint64_t{sectors}},
                                        seen[tag]));
    queue.stop_after(0);
    EXPECT_EQ(runner.run().code, 0);
    EXPECT_THAT(seen[0], ::testing::Each(std::byte{1}));
    EXPECT_THAT(seen[1], ::testing::Each(std::byte{2}));
}

} // namespace
} // namespace ublk::engine
