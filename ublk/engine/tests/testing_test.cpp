#include "ublk/engine/testing/fake_disk.hpp"
#include "ublk/engine/testing/mock_backend.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

namespace ublk::engine {
namespace {

using testing::FakeDisk;
using testing::FakeQueue;
using ::testing::HasSubstr;
using testing::MockBackend;
using uapi::IoOp;

std::vector<std::byte> counting_bytes(std::size_t size)
{
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>(i * 7 + i / 512);
    return bytes;
}

template <typename Call>
std::string complaint(Call call)
{
    try {
        call();
    } catch (const std::logic_error& error) {
        return error.what();
    }
    return "none";
}

TEST(FakeDisk, SplitsAWriteAndGivesTheBackendEachByteOnceAtItsPlace)
{
    MockBackend backend;
    const auto data = counting_bytes(5 * FakeQueue::buffer_bytes + 512);
    ASSERT_EQ(FakeDisk(backend).write(4096, data), 0);
    std::map<std::uint64_t, std::vector<std::byte>> written;
    for (const auto& [io, bytes] : backend.seen()) {
        EXPECT_EQ(io.op, IoOp::write);
        EXPECT_TRUE(written.emplace(io.start_sector, bytes).second);
    }
    EXPECT_EQ(written.size(), 6U);
    std::vector<std::byte> all;
    for (const auto& [sector, bytes] : written) {
        EXPECT_EQ(sector * 512, 4096 + all.size());
        all.insert(all.end(), bytes.begin(), bytes.end());
    }
    EXPECT_EQ(all, data);
}

TEST(FakeDisk, ReadsWhatTheBackendAnswersAndAsksForTheRestOfAShortRead)
{
    const auto data = counting_bytes(1 << 20);
    MockBackend backend;
    const auto give = [&](std::size_t most) {
        return [&, most](Io& io) {
            const auto bytes = std::min(most, io.data.size());
            std::ranges::copy(std::span(data).subspan(io.start_sector * 512, bytes), io.data.begin());
            return static_cast<std::int32_t>(bytes);
        };
    };
    backend.answer(give(512)).answer(give(1024)).answer(give(1 << 20)).answer(give(1 << 20));
    std::vector<std::byte> back(FakeQueue::buffer_bytes);
    ASSERT_EQ(FakeDisk(backend).read(8192, back), 0);
    EXPECT_TRUE(std::ranges::equal(back, std::span(data).subspan(8192, back.size())));
    const auto seen = backend.seen();
    ASSERT_EQ(seen.size(), 3U);
    EXPECT_EQ(seen[1].io.start_sector, 17U);
    EXPECT_EQ(seen[2].io.nr_sectors, 13U);
    EXPECT_EQ(backend.answers_left(), 1U);
}

TEST(FakeDisk, HandsSeveralRequestsOutInAnOrderThatFollowsFromTheSeed)
{
    const auto order = [](std::uint32_t seed) {
        MockBackend backend;
        std::vector<std::byte> data(32 * FakeQueue::buffer_bytes);
        EXPECT_EQ(FakeDisk(backend, seed).read(0, data), 0);
        std::vector<std::uint64_t> sectors;
        for (const auto& one : backend.seen())
            sectors.push_back(one.io.start_sector);
        return sectors;
    };
    EXPECT_EQ(order(1), order(1));
    EXPECT_NE(order(1), order(2));
    EXPECT_FALSE(std::ranges::is_sorted(order(1)));
}

TEST(FakeDisk, TellsOfTheBackendsErrors)
{
    MockBackend backend;
    FakeDisk disk(backend);
    std::vector<std::byte> data(512);
    backend.answer(-ENOSPC).answer(-EIO);
    EXPECT_EQ(disk.write(0, data), -ENOSPC);
    EXPECT_EQ(disk.read(0, data), -EIO);
    EXPECT_EQ(disk.read(0, data), 0);
}

TEST(FakeDisk, SendsFlushDiscardAndWriteZeroesWhereTheyAreOffered)
{
    MockBackend backend({.size = 1 << 20,
                         .block_size = 512,
                         .attrs = uapi::Attr::volatile_cache,
                         .discard = true,
                         .write_zeroes = true,
                         .discard_granularity = 512});
    FakeDisk disk(backend);
    EXPECT_EQ(disk.flush(), 0);
    EXPECT_EQ(disk.discard(512, 1024), 0);
    EXPECT_EQ(disk.write_zeroes(0, 512), 0);
    const auto seen = backend.seen();
    ASSERT_EQ(seen.size(), 3U);
    EXPECT_EQ(seen[0].io.op, IoOp::flush);
    EXPECT_EQ(seen[1].io.op, IoOp::discard);
    EXPECT_EQ(seen[1].io.nr_sectors, 2U);
    EXPECT_EQ(seen[2].io.op, IoOp::write_zeroes);
}

TEST(FakeDisk, RefusesWhatNoDriverWouldSend)
{
    MockBackend backend;
    FakeDisk disk(backend);
    std::vector<std::byte> data(1024);
    EXPECT_THAT(complaint([&] { disk.read((1 << 20) - 512, data); }), HasSubstr("beyond the end"));
    EXPECT_THAT(complaint([&] { disk.flush(); }), HasSubstr("not announced: FLUSH"));
    EXPECT_THAT(complaint([&] { disk.discard(0, 512); }), HasSubstr("not announced: DISCARD"));
    EXPECT_THAT(complaint([&] { disk.read(100, data); }), HasSubstr("multiples of 512"));
    EXPECT_TRUE(backend.seen().empty());
}

TEST(FakeQueue, BringsAWritesPagesOnlyWhenAskedWhereTheDeviceAsks)
{
    auto pages = counting_bytes(1024);
    FakeQueue queue(1, {}, 1);
    queue.need_get_data();
    queue.offer({.op_flags = static_cast<std::uint32_t>(IoOp::write), .nr_sectors = 2}, pages);
    MockBackend backend;
    QueueRunner runner(queue, backend, 0);
    runner.arm();
    ASSERT_EQ(queue.wait(), 0);
    EXPECT_TRUE(std::ranges::all_of(queue.buffer(0), [](auto byte) { return byte == std::byte{}; }));
    runner.run();
    EXPECT_EQ(queue.asked(), 1U);
    EXPECT_EQ(backend.seen().at(0).data, pages);
}

} // namespace
} // namespace ublk::engine
