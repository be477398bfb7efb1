#include "ublk/engine/observers.hpp"

#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <latch>
#include <optional>

namespace ublk::engine {
namespace {

using observe::Level;
using observe::op_slot;
using testing::FakeQueue;
using uapi::IoOp;

struct Answering {
    std::int32_t handle(Io& io) noexcept
    {
        return failing ? -EIO : static_cast<std::int32_t>(io.data.size());
    }
    bool failing = false;
};

uapi::IoDesc request(IoOp op, std::uint32_t sectors)
{
    return {.op_flags = static_cast<std::uint32_t>(op), .nr_sectors = sectors, .start_sector = 8};
}

template <typename Observer>
QueueEnd run(FakeQueue& queue, Answering backend, Observer observer)
{
    QueueRunner runner(queue, backend, 0, std::move(observer));
    EXPECT_EQ(runner.arm(), 0);
    return runner.run();
}

TEST(Counting, CountsRequestsBytesErrorsEntersAndBatches)
{
    observe::QueueMetrics metrics;
    FakeQueue queue(2,
                    {request(IoOp::read, 8), request(IoOp::read, 1), request(IoOp::write, 4),
                     request(IoOp::flush, 0), request(IoOp::discard, 100), request(IoOp::zone_reset, 0)},
                    1);
    run(queue, {}, Counting(metrics));
    EXPECT_EQ(metrics.requests[op_slot(IoOp::read)], 2U);
    EXPECT_EQ(metrics.bytes[op_slot(IoOp::read)], 9U * 512);
    EXPECT_EQ(metrics.requests[op_slot(IoOp::write)], 1U);
    EXPECT_EQ(metrics.bytes[op_slot(IoOp::write)], 4U * 512);
    EXPECT_EQ(metrics.requests[op_slot(IoOp::flush)], 1U);
    EXPECT_EQ(metrics.bytes[op_slot(IoOp::flush)], 0U);
    EXPECT_EQ(metrics.bytes[op_slot(IoOp::discard)], 100U * 512);
    EXPECT_EQ(metrics.requests[op_slot(IoOp::zone_reset)], 1U);
    EXPECT_EQ(metrics.empty, 1U) << "arming found nothing";
    EXPECT_GE(metrics.enters - metrics.empty, 4U) << "two tags";
    EXPECT_EQ(std::ranges::count(metrics.errors, 0U), 6);
    EXPECT_EQ(metrics.latency[0].count(), 0U);
}

TEST(Counting, CountsAnErrorWithItsRequestAndWithoutBytes)
{
    observe::QueueMetrics metrics;
    FakeQueue queue(2, std::vector(5, request(IoOp::write, 8)), 1);
    run(queue, {.failing = true}, Counting(metrics));
    EXPECT_EQ(metrics.requests[op_slot(IoOp::write)], 5U);
    EXPECT_EQ(metrics.errors[op_slot(IoOp::write)], 5U);
    EXPECT_EQ(metrics.bytes[op_slot(IoOp::write)], 0U);
}

TEST(Timing, MeasuresEachRequestOnce)
{
    observe::QueueMetrics metrics;
    FakeQueue queue(4, std::vector(50, request(IoOp::read, 8)), 1);
    run(queue, {}, Timing(metrics, queue.depth()));
    EXPECT_EQ(metrics.latency[0].count(), 50U);
    EXPECT_EQ(metrics.requests[0], 50U);
    EXPECT_EQ(metrics.latency[1].count() + metrics.latency[2].count(), 0U);
}

// A clock cannot be held against a figure; but the wait inside the backend is within what is measured.
TEST(Timing, MeasuresAtLeastWhatTheBackendTook)
{
    struct Slow {
        std::int32_t handle(Io& io) noexcept
        {
            const auto begin = std::chrono::steady_clock::now();
            while (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(2)) {
            }
            return static_cast<std::int32_t>(io.data.size());
        }
    } backend;
    observe::QueueMetrics metrics;
    FakeQueue queue(1, {request(IoOp::read, 8), request(IoOp::write, 8)}, 1);
    QueueRunner runner(queue, backend, 0, Timing(metrics, 1));
    runner.arm();
    runner.run();
    EXPECT_GE(metrics.latency[0].sum, 2'000'000U);
    EXPECT_GE(metrics.latency[1].sum, 2'000'000U);
}

// The sink is entered and does not come back while the queue serves at full depth, every request an error.
TEST(ErrorLog, NeverHoldsTheQueueUpThoughTheSinkNeverReturns)
{
    constexpr std::size_t requests = 20000, capacity = 64;
    std::latch entered(1), release(1);
    std::string last;
    {
        observe::Log log(
            [&, first = true](const observe::LogMessage& message) mutable {
                if (std::exchange(first, false)) {
                    entered.count_down();
                    release.wait();
                }
                last = message.text;
            },
            {.capacity = capacity, .grace = std::chrono::minutes(1)});
        log.write(Level::error, "the sink takes this, and stays");
        entered.wait();

        observe::QueueMetrics metrics;
        FakeQueue queue(128, std::vector(requests, request(IoOp::write, 8)), 1);
        const QueueEnd end = run(queue, {.failing = true}, ErrorLog(log, metrics, 0));
        EXPECT_EQ(end.requests, requests);
        EXPECT_EQ(end.errors, requests);
        EXPECT_EQ(end.code, 0);
        EXPECT_EQ(log.dropped(), requests - capacity);
        EXPECT_EQ(metrics.dropped, requests - capacity);
        release.count_down();
    }
    EXPECT_THAT(last, ::testing::StartsWith(std::to_string(requests - capacity) + " messages were dropped"));
}

TEST(ErrorLog, NamesTheRequest)
{
    std::vector<std::string> lines;
    observe::QueueMetrics metrics;
    {
        observe::Log log([&](const observe::LogMessage& message) { lines.emplace_back(message.text); });
        FakeQueue queue(1, {request(IoOp::write_zeroes, 8)}, 1);
        run(queue, {.failing = true}, ErrorLog(log, metrics, 0));
        FakeQueue good(1, {request(IoOp::read, 8)}, 1);
        run(good, {}, ErrorLog(log, metrics, 0));
    }
    EXPECT_THAT(lines,
                ::testing::ElementsAre("queue 0, tag 0: write_zeroes of 8 sectors at 8 failed: EIO (5)"));
}

} // namespace
} // namespace ublk::engine
