// The queue loop with a backend that uses ring operations, and where it may leave armed tags.
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

namespace ublk::engine {
namespace {

using ::testing::ElementsAre;
using testing::FakeQueue;
using ::testing::IsEmpty;
using uapi::IoOp;

// Moves a request's payload in pieces of at most `piece` bytes, and asks nothing of the ring for the rest.
struct PiecewiseBackend {
    std::uint64_t piece = 4096;
    std::map<std::uint64_t, int> begun{};

    std::int32_t begin(Io& io, RingOp& op) noexcept
    {
        ++begun[io.start_sector];
        return io.length() == 0 ? 0 : next(io, op);
    }
    std::int32_t resume(Io& io, std::int32_t result, RingOp& op) noexcept
    {
        if (result < 0)
            return result;
        io.progress += static_cast<std::uint32_t>(result);
        return io.progress == io.length() ? static_cast<std::int32_t>(io.length()) : next(io, op);
    }
    std::int32_t next(const Io& io, RingOp& op) const noexcept
    {
        op.kind = io.op == IoOp::read ? RingOp::Kind::read : RingOp::Kind::write;
        op.at = io.progress;
        op.length = std::min<std::uint64_t>(io.length() - io.progress, piece);
        return op_pending;
    }
};
static_assert(AsyncBackend<PiecewiseBackend> && !SyncBackend<PiecewiseBackend>);

std::vector<uapi::IoDesc> requests(std::size_t count)
{
    constexpr std::array ops{IoOp::read, IoOp::write, IoOp::flush};
    std::vector<uapi::IoDesc> all;
    for (std::size_t i = 0; i < count; ++i)
        all.push_back({.op_flags = static_cast<std::uint32_t>(ops[i % ops.size()]),
                       .nr_sectors = i % ops.size() == 2 ? 0U : 8U,
                       .start_sector = i});
    return all;
}

TEST(AsyncBackend, FinishesEachRequestOnceHoweverManyOperationsItTakes)
{
    for (std::uint32_t seed = 0; seed < 100; ++seed) {
        FakeQueue queue(static_cast<std::uint16_t>(1 + seed % 9), requests(60), seed);
        PiecewiseBackend backend{.piece = 512U << (seed % 4)};
        QueueRunner runner(queue, backend, 0);
        ASSERT_EQ(runner.arm(), 0);
        const QueueEnd end = runner.run();
        ASSERT_THAT(queue.violations(), IsEmpty()) << "seed " << seed;
        ASSERT_EQ(end.code, 0);
        ASSERT_EQ(end.requests, 60U);
        ASSERT_EQ(end.errors, 0U);
        ASSERT_EQ(queue.armed() + queue.owned(), 0U);
        for (const auto& planned : queue.plan()) {
            ASSERT_THAT(planned.results, ElementsAre(planned.desc.nr_sectors * 512)) << "seed " << seed;
            ASSERT_EQ(backend.begun[planned.desc.start_sector], 1);
        }
    }
}

TEST(AsyncBackend, GetsTheResultOfItsOwnOperation)
{
    int calls = 0;
    FakeQueue queue(1, {requests(1)[0]}, 1, {.operate = [&](std::uint16_t, const RingOp& op) {
                        EXPECT_EQ(op.at, calls == 0 ? 0U : 1024U);
                        return ++calls == 1 ? 1024 : -EIO;
                    }});
    PiecewiseBackend backend;
    QueueRunner runner(queue, backend, 0);
    runner.arm();
    const QueueEnd end = runner.run();
    EXPECT_THAT(queue.plan()[0].results, ElementsAre(-EIO));
    EXPECT_EQ(end.errors, 1U);
}

TEST(AsyncBackend, WorksWherePayloadIsNotMapped)
{
    FakeQueue queue(3, requests(30), 7);
    queue.unmap();
    queue.refuse_short_reads();
    PiecewiseBackend backend;
    QueueRunner runner(queue, backend, 0);
    runner.arm();
    EXPECT_EQ(runner.run().errors, 0U);
    EXPECT_EQ(queue.brought(), 0U) << "there is no buffer to bring it to";
    EXPECT_EQ(queue.delivered(), 0U);
}

TEST(AsyncBackend, TakesAnOperationThatNobodyStartedForAnError)
{
    FakeQueue queue(2, requests(4), 1);
    PiecewiseBackend backend;
    QueueRunner runner(queue, backend, 0);
    runner.arm();
    queue.inject(1, 512, Done::op);
    EXPECT_EQ(runner.run().code, EPROTO);
}

TEST(QueueRunner, LeavesArmedTagsOnlyWhenNothingIsWithTheBackend)
{
    for (std::uint32_t seed = 0; seed < 100; ++seed) {
        FakeQueue queue(8, requests(200), seed);
        PiecewiseBackend backend{.piece = 512};
        QueueRunner runner(queue, backend, 0);
        runner.arm();
        queue.leave_armed();
        const QueueEnd end = runner.run();
        ASSERT_THAT(queue.violations(), IsEmpty()) << "seed " << seed;
        ASSERT_EQ(end.code, 0);
        ASSERT_EQ(queue.owned(), 0U) << "a request that is with us must be answered before we go";
        ASSERT_EQ(queue.completions(), 0U);
        std::size_t answered = 0;
        for (const auto& planned : queue.plan())
            answered += planned.results.size();
        ASSERT_EQ(answered, end.requests) << "and its commit must have been sent";
        ASSERT_LT(end.requests, 200U) << "it leaves before the requests are used up";
    }
}

} // namespace
} // namespace ublk::engine
