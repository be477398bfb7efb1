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

static_assert(QueueDriver<FakeQueue>);

// Answers with what `answer` says; a full transfer by default. Counts how often each sector was asked for.
struct ScriptedBackend {
    std::function<std::int32_t(const Io&)> answer = [](const Io& io) {
        return static_cast<std::int32_t>(io.data.size());
    };
    std::map<std::uint64_t, int> seen{};

    std::int32_t handle(Io& io) noexcept
    {
        ++seen[io.start_sector];
        return answer(io);
    }
};

uapi::IoDesc request(IoOp op, std::uint64_t sector, std::uint32_t sectors = 8)
{
    return {.op_flags = static_cast<std::uint32_t>(op), .nr_sectors = sectors, .start_sector = sector};
}

// Requests at sectors 0, 1, 2, …, of every operation.
std::vector<uapi::IoDesc> mixed_requests(std::size_t count)
{
    constexpr std::array ops{IoOp::read, IoOp::write, IoOp::flush, IoOp::discard, IoOp::write_zeroes};
    std::vector<uapi::IoDesc> requests;
    for (std::size_t i = 0; i < count; ++i)
        requests.push_back(request(ops[i % ops.size()], i));
    return requests;
}

auto only(std::uint16_t refused)
{
    return [=](std::uint16_t tag) { return tag == refused ? -EINVAL : 0; };
}

QueueEnd run(FakeQueue& queue, ScriptedBackend& backend)
{
    QueueRunner runner(queue, backend, 0);
    EXPECT_EQ(runner.arm(), 0);
    return runner.run();
}

TEST(QueueRunner, FinishesEachRequestExactlyOnceAndGivesEveryTagBack)
{
    for (std::uint32_t seed = 0; seed < 200; ++seed) {
        const auto depth = static_cast<std::uint16_t>(1 + seed % 17);
        FakeQueue queue(depth, mixed_requests(100 + seed), seed);
        ScriptedBackend backend;
        const QueueEnd end = run(queue, backend);
        ASSERT_THAT(queue.violations(), IsEmpty()) << "seed " << seed;
        ASSERT_EQ(end.code, 0) << "seed " << seed;
        ASSERT_EQ(end.requests, queue.plan().size()) << "seed " << seed;
        ASSERT_EQ(queue.armed() + queue.owned(), 0U) << "seed " << seed;
        for (const auto& planned : queue.plan()) {
            ASSERT_EQ(planned.results.size(), 1U)
                << "seed " << seed << ", sector " << planned.desc.start_sector;
            ASSERT_EQ(backend.seen[planned.desc.start_sector], 1) << "seed " << seed;
        }
    }
}

TEST(QueueRunner, EndsWhenTheDeviceIsStoppedWithRequestsLeft)
{
    for (std::uint32_t seed = 0; seed < 100; ++seed) {
        FakeQueue queue(8, mixed_requests(50), seed);
        queue.stop_after(seed % 50);
        ScriptedBackend backend;
        const QueueEnd end = run(queue, backend);
        ASSERT_THAT(queue.violations(), IsEmpty()) << "seed " << seed;
        ASSERT_FALSE(end.stuck);
        ASSERT_EQ(end.requests, seed % 50);
        ASSERT_EQ(queue.armed() + queue.owned(), 0U) << "seed " << seed;
    }
}

struct ResultRow {
    IoOp op;
    std::int32_t answer, committed;
};

TEST(QueueRunner, CommitsWhatTheBackendAnswersWithinTheDriversRules)
{
    constexpr std::int32_t length = 8 * 512;
    const std::vector<ResultRow> rows{
        {IoOp::read, length, length},    {IoOp::read, 512, 512}, // a short read is sent again for the rest
        {IoOp::read, 513, -EIO},         {IoOp::read, 0, -EIO},
        {IoOp::read, length + 1, -EIO},  {IoOp::read, -ENOSPC, -ENOSPC},
        {IoOp::read, INT32_MIN, -EIO},   {IoOp::write, length, length},
        {IoOp::write, 512, -EIO}, // Linux 7.3 takes it for a complete one
        {IoOp::write, -ENOSPC, -ENOSPC}, {IoOp::flush, 1, 0},
        {IoOp::discard, length, 0},      {IoOp::write_zeroes, -EOPNOTSUPP, -EOPNOTSUPP},
    };
    for (const auto& row : rows) {
        FakeQueue queue(1, {request(row.op, 0)}, 1);
        ScriptedBackend backend{.answer = [&](const Io&) { return row.answer; }};
        const QueueEnd end = run(queue, backend);
        EXPECT_THAT(queue.plan()[0].results, ElementsAre(row.committed))
            << "op " << static_cast<int>(row.op) << ", answer " << row.answer;
        EXPECT_EQ(end.errors, row.committed < 0 ? 1U : 0U);
    }
}

TEST(QueueRunner, AsksForThePayloadOfAWriteBeforeTheBackendSeesIt)
{
    for (std::uint32_t seed = 0; seed < 50; ++seed) {
        FakeQueue queue(4, mixed_requests(40), seed);
        queue.need_get_data();
        ScriptedBackend backend;
        const QueueEnd end = run(queue, backend);
        ASSERT_THAT(queue.violations(), IsEmpty()) << "seed " << seed;
        ASSERT_EQ(end.code, 0);
        ASSERT_EQ(end.requests, 40U);
        ASSERT_EQ(queue.asked(), 8U) << "one for each write";
        for (const auto& planned : queue.plan())
            ASSERT_EQ(planned.results.size(), 1U) << "seed " << seed;
    }
}

TEST(QueueRunner, AsksForAPayloadAgainWhenThatWasRefusedAndEndsLoudlyWhenForGood)
{
    int refusals = 2;
    FakeQueue queue(1, {request(IoOp::write, 0)}, 1,
                    {.refuse = [&](std::uint16_t) { return refusals-- > 0 ? -EAGAIN : 0; }});
    queue.need_get_data();
    ScriptedBackend backend;
    EXPECT_EQ(run(queue, backend).code, 0);
    EXPECT_EQ(queue.asked(), 1U);
    EXPECT_THAT(queue.plan()[0].results, ElementsAre(8 * 512));

    FakeQueue refusing(1, {request(IoOp::write, 0)}, 1, {.refuse = [](std::uint16_t) { return -EINVAL; }});
    refusing.need_get_data();
    const QueueEnd end = run(refusing, backend);
    EXPECT_EQ(end.code, EINVAL);
    EXPECT_TRUE(end.stuck);
    EXPECT_EQ(end.requests, 0U) << "the backend never saw a payload that did not come";
}

TEST(QueueRunner, BringsWritesDeliversReadsAndNothingElse)
{
    FakeQueue queue(2, mixed_requests(5), 1);
    ScriptedBackend backend;
    run(queue, backend);
    EXPECT_EQ(queue.brought(), 1U);
    EXPECT_EQ(queue.delivered(), 8U * 512U);
}

TEST(QueueRunner, FailsARequestWhosePayloadCannotBeMoved)
{
    FakeQueue queue(1, {request(IoOp::write, 0), request(IoOp::read, 1)}, 1,
                    {.no_payload = [](std::uint16_t) { return -EFAULT; }});
    ScriptedBackend backend;
    run(queue, backend);
    EXPECT_THAT(queue.plan()[0].results, ElementsAre(-EFAULT));
    EXPECT_THAT(queue.plan()[1].results, ElementsAre(-EFAULT));
    EXPECT_FALSE(backend.seen.contains(0)) << "a backend must not write what it was not given";
}

TEST(QueueRunner, MakesAShortReadAnErrorWhereTheDriverWouldTakeItForWhole)
{
    FakeQueue queue(1, {request(IoOp::read, 0)}, 1);
    queue.refuse_short_reads();
    ScriptedBackend backend{.answer = [](const Io&) { return 512; }};
    run(queue, backend);
    EXPECT_THAT(queue.plan()[0].results, ElementsAre(-EIO));
    EXPECT_EQ(queue.delivered(), 0U);
}

TEST(QueueRunner, GivesTheBackendTheBufferCutToTheRequest)
{
    FakeQueue queue(1, {request(IoOp::write, 7, 3), request(IoOp::flush, UINT64_MAX, 0)}, 1);
    std::vector<std::size_t> lengths;
    ScriptedBackend backend{.answer = [&](const Io& io) {
        lengths.push_back(io.data.size());
        return static_cast<std::int32_t>(io.data.size());
    }};
    run(queue, backend);
    EXPECT_THAT(lengths, ElementsAre(3 * 512, 0));
}

TEST(QueueRunner, FailsARequestThatDoesNotFitTheBufferWithoutTheBackend)
{
    constexpr auto too_long = static_cast<std::uint32_t>(FakeQueue::buffer_bytes / 512 + 1);
    FakeQueue queue(1, {request(IoOp::read, 0, too_long), request(IoOp::read, 1, UINT32_MAX)}, 1);
    ScriptedBackend backend;
    run(queue, backend);
    EXPECT_THAT(queue.plan()[0].results, ElementsAre(-EIO));
    EXPECT_THAT(queue.plan()[1].results, ElementsAre(-EIO));
    EXPECT_TRUE(backend.seen.empty());
}

// Appends 100 sectors behind where it was asked to, and reports zones by filling their place.
struct ZonedBackend {
    static constexpr bool serves_zones = true;
    std::function<std::int32_t(const Io&)> answer = [](const Io& io) {
        return static_cast<std::int32_t>(io.data.size());
    };
    std::vector<std::size_t> lengths{};

    std::int32_t handle(Io& io) noexcept
    {
        lengths.push_back(io.data.size());
        if (io.op == IoOp::zone_append)
            io.start_sector += 100;
        return answer(io);
    }
};

QueueEnd run_zoned(FakeQueue& queue, ZonedBackend& backend)
{
    QueueRunner runner(queue, backend, 0);
    EXPECT_EQ(runner.arm(), 0);
    return runner.run();
}

TEST(QueueRunner, TellsTheDriverWhereAnAppendWentAndNothingElse)
{
    int refusals = 1;
    FakeQueue queue(
        1, {request(IoOp::zone_append, 4096), request(IoOp::read, 0), request(IoOp::zone_append, 0, 64)}, 1,
        {.refuse = [&](std::uint16_t) { return refusals-- > 0 ? -EAGAIN : 0; }});
    ZonedBackend backend;
    run_zoned(queue, backend);
    EXPECT_EQ(queue.plan()[0].appended, 4196U) << "also when its COMMIT has to be sent again";
    EXPECT_EQ(queue.plan()[1].appended, 0U);
    EXPECT_THAT(queue.plan()[2].results, ElementsAre(-EIO)) << "longer than the tag's buffer";
    EXPECT_EQ(queue.plan()[2].appended, 0U);
    EXPECT_EQ(queue.brought(), 1U);
}

TEST(QueueRunner, DeliversAReportOf64BytesAZone)
{
    FakeQueue queue(1, {request(IoOp::report_zones, 0, 5), request(IoOp::zone_reset, 0, 0)}, 1);
    ZonedBackend backend;
    run_zoned(queue, backend);
    EXPECT_THAT(backend.lengths, ElementsAre(5 * 64, 0));
    EXPECT_THAT(queue.plan()[0].results, ElementsAre(5 * 64));
    EXPECT_EQ(queue.delivered(), 5U * 64U);
}

TEST(QueueRunner, MakesHalfAnAppendOrReportAnError)
{
    FakeQueue queue(1, {request(IoOp::zone_append, 0), request(IoOp::report_zones, 0, 16)}, 1);
    ZonedBackend backend{.answer = [](const Io&) { return 512; }};
    run_zoned(queue, backend);
    EXPECT_THAT(queue.plan()[0].results, ElementsAre(-EIO));
    EXPECT_THAT(queue.plan()[1].results, ElementsAre(-EIO));
    EXPECT_EQ(queue.delivered(), 0U);
}

TEST(QueueRunner, ReportsARefusedFetchAndStillTakesTheOtherTagsBack)
{
    FakeQueue queue(4, {}, 1, {.refuse_fetch = only(2)});
    ScriptedBackend backend;
    QueueRunner runner(queue, backend, 0);
    EXPECT_EQ(runner.arm(), EINVAL);
    EXPECT_EQ(queue.armed(), 3U);
    const QueueEnd end = runner.run();
    EXPECT_EQ(end.code, EINVAL);
    EXPECT_EQ(end.tag, 2);
    EXPECT_EQ(queue.armed(), 0U);
    EXPECT_THAT(queue.violations(), IsEmpty());
}

TEST(QueueRunner, SendsARefusedCommitAgainWithTheSameResult)
{
    int refusals = 3;
    FakeQueue queue(2, {request(IoOp::read, 0), request(IoOp::flush, 1)}, 1,
                    {.refuse = [&](std::uint16_t) { return refusals-- > 0 ? -EAGAIN : 0; }});
    ScriptedBackend backend;
    const QueueEnd end = run(queue, backend);
    EXPECT_EQ(end.code, 0);
    EXPECT_THAT(queue.plan()[0].results, ElementsAre(8 * 512));
    EXPECT_THAT(queue.plan()[1].results, ElementsAre(0));
    EXPECT_EQ(backend.seen[0], 1) << "the backend must not see a request twice";
    EXPECT_THAT(queue.violations(), IsEmpty());
}

TEST(QueueRunner, EndsLoudlyWhenACommitIsRefusedForGood)
{
    for (const int why : {-EINVAL, -EAGAIN}) {
        FakeQueue queue(2, mixed_requests(4), 1, {.refuse = [=](std::uint16_t) { return why; }});
        ScriptedBackend backend;
        const QueueEnd end = run(queue, backend);
        EXPECT_EQ(end.code, -why);
        EXPECT_TRUE(end.stuck);
        EXPECT_TRUE(end.tag.has_value());
    }
}

TEST(QueueRunner, GoesOnAfterAnInterruptedWait)
{
    int interruptions = 5;
    FakeQueue queue(2, mixed_requests(10), 1,
                    {.wait_error = [&] { return interruptions-- > 0 ? -EINTR : 0; }});
    ScriptedBackend backend;
    EXPECT_EQ(run(queue, backend).code, 0);
    EXPECT_EQ(backend.seen.size(), 10U);
}

TEST(QueueRunner, EndsWhenTheRingCannotBeEntered)
{
    FakeQueue queue(2, mixed_requests(10), 1, {.wait_error = [] { return -EBADF; }});
    ScriptedBackend backend;
    const QueueEnd end = run(queue, backend);
    EXPECT_EQ(end.code, EBADF);
    EXPECT_TRUE(end.stuck);
}

TEST(QueueRunner, DoesNotAnswerACompletionForATagThatIsNotArmed)
{
    const auto scenario = [](std::uint16_t tag) {
        FakeQueue queue(2, {}, 1, {.refuse_fetch = only(1)});
        ScriptedBackend backend;
        QueueRunner runner(queue, backend, 0);
        runner.arm(); // tag 1 is idle from here on
        queue.inject(tag, 0);
        const QueueEnd end = runner.run();
        EXPECT_EQ(end.requests, 0U);
        EXPECT_THAT(queue.violations(), IsEmpty());
    };
    for (const std::uint16_t tag : {std::uint16_t{1}, std::uint16_t{2}}) {
        if constexpr (UBLK_ASSERTIONS != 0)
            EXPECT_DEATH(scenario(tag), "assertion failed.*tag");
        else
            scenario(tag);
    }
}

TEST(Tags, OnlyAnOwnedTagCanBeCommittedAndOnlyAnIdleOneFetched)
{
    for (const auto state : {TagState::idle, TagState::armed, TagState::owned}) {
        EXPECT_EQ(next_state(state, TagEvent::commit).has_value(), state == TagState::owned);
        EXPECT_EQ(next_state(state, TagEvent::get_data).has_value(), state == TagState::owned);
        EXPECT_EQ(next_state(state, TagEvent::fetch).has_value(), state == TagState::idle);
        for (const auto event : {TagEvent::request, TagEvent::abort, TagEvent::refuse})
            EXPECT_EQ(next_state(state, event).has_value(), state == TagState::armed);
    }
}

} // namespace
} // namespace ublk::engine
