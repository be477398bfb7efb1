#include "ublk/engine/observer.hpp"

#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Heard = std::vector<std::string>;

// Writes down what it hears; unsound from its `last`th request on.
template <int number>
struct ScribeOf : Unobserved {
    explicit ScribeOf(Heard& heard, int last = 1000) : book(&heard), requests_left(last) {}
    void entered() noexcept { book->push_back("entered"); }
    void sent(std::uint16_t tag, TagEvent event, std::int32_t result) noexcept
    {
        book->push_back(fmt::format("{} {} {}", tag, to_string(event), result));
    }
    void completed(std::uint16_t tag, std::int32_t result) noexcept
    {
        book->push_back(fmt::format("{} completed {}", tag, result));
    }
    void drained(unsigned) noexcept { book->push_back("drained"); }
    void request(const Io& io, const uapi::IoDesc& desc, std::span<std::byte>) noexcept
    {
        --requests_left;
        book->push_back(fmt::format("{} request {} {}", io.tag, desc.op(), io.start_sector));
    }
    void answered(const Io& io, std::int32_t result) noexcept
    {
        book->push_back(fmt::format("{} answered {}", io.tag, result));
    }
    bool sound() const noexcept { return requests_left > 0; }
    std::string report() const { return sound() ? "" : "one too many"; }

    Heard* book;
    int requests_left;
};
using Scribe = ScribeOf<1>;

struct Backend {
    std::int32_t handle(Io& io) noexcept
    {
        ++seen;
        return static_cast<std::int32_t>(io.data.size());
    }
    int seen = 0;
};

std::vector<uapi::IoDesc> reads(std::size_t count)
{
    return std::vector(count, uapi::IoDesc{.op_flags = 0, .nr_sectors = 8, .start_sector = 16});
}

TEST(Observer, HearsOfEveryCommandCompletionRequestAndAnswerInTheirOrder)
{
    testing::FakeQueue queue(1, reads(1), 1);
    Backend backend;
    Heard heard;
    QueueRunner runner(queue, backend, 0, Scribe(heard));
    runner.arm();
    runner.run();
    EXPECT_THAT(heard, ElementsAre("0 fetch 0", "entered", "drained", "entered", "0 completed 0",
                                   "0 request 0 16", "0 answered 4096", "0 commit 4096", "drained", "entered",
                                   "0 completed -19", "drained"));
}

TEST(Observer, HearsThatAPayloadIsAskedFor)
{
    testing::FakeQueue queue(1, {{.op_flags = 1, .nr_sectors = 8, .start_sector = 0}}, 1);
    queue.need_get_data();
    Backend backend;
    Heard heard;
    QueueRunner runner(queue, backend, 0, Scribe(heard));
    runner.arm();
    runner.run();
    EXPECT_THAT(heard, ::testing::IsSupersetOf({"0 completed 1", "0 get-data 0"}));
}

TEST(Observer, ThatIsUnsoundEndsTheQueueBeforeTheBackendSeesTheRequest)
{
    testing::FakeQueue queue(4, reads(100), 1);
    Backend backend;
    Heard heard;
    QueueRunner runner(queue, backend, 0, Scribe(heard, 7));
    ASSERT_EQ(runner.arm(), 0);
    const QueueEnd end = runner.run();
    EXPECT_EQ(backend.seen, 6);
    EXPECT_EQ(end.code, EPROTO);
    EXPECT_EQ(end.report, "one too many");
    EXPECT_TRUE(end.stuck);
}

TEST(Observer, ThatIsUnsoundEndsTheQueueBeforeACompletionIsActedOn)
{
    struct Suspicious : ScribeOf<3> {
        explicit Suspicious(Heard& heard) : ScribeOf(heard) {}
        void completed(std::uint16_t, std::int32_t) noexcept { requests_left = 0; }
    };
    testing::FakeQueue queue(1, {{.op_flags = 1, .nr_sectors = 8, .start_sector = 0}}, 1);
    queue.need_get_data();
    Backend backend;
    Heard heard;
    QueueRunner runner(queue, backend, 0, Suspicious(heard));
    runner.arm();
    EXPECT_EQ(runner.run().code, EPROTO);
    EXPECT_THAT(heard, ElementsAre("0 fetch 0", "entered", "drained", "entered", "drained"));
}

TEST(Observers, AreToldOneAfterTheOtherAndAreAsSoundAsTheWorst)
{
    Heard heard;
    Observers both(Scribe(heard), ScribeOf<2>(heard, 1));
    static_assert(QueueObserver<decltype(both)>);
    both.entered();
    both.sent(3, TagEvent::commit, 512);
    both.completed(3, 0);
    both.drained(1);
    EXPECT_THAT(heard, ElementsAre("entered", "entered", "3 commit 512", "3 commit 512", "3 completed 0",
                                   "3 completed 0", "drained", "drained"));
    heard.clear();
    EXPECT_TRUE(both.sound());
    EXPECT_THAT(both.report(), IsEmpty());
    const Io io{.op = uapi::IoOp::write, .start_sector = 1, .tag = 2};
    both.request(io, {.op_flags = 1, .start_sector = 1}, {});
    both.answered(io, -EIO);
    EXPECT_THAT(heard, ElementsAre("2 request 1 1", "2 request 1 1", "2 answered -5", "2 answered -5"));
    EXPECT_FALSE(both.sound());
    EXPECT_EQ(both.report(), "one too many");
}

TEST(Observer, ThatHearsNothingTakesNoRoom)
{
    using Queue = testing::FakeQueue;
    struct Word : Unobserved {
        std::uint64_t word = 0;
    };
    EXPECT_LT(sizeof(QueueRunner<Queue, Backend>), sizeof(QueueRunner<Queue, Backend, Word>));
}

} // namespace
} // namespace ublk::engine
