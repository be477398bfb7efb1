#include "ublk/engine/paranoid.hpp"

#include "ublk/engine/parameters.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

namespace ublk::engine {
namespace {

using testing::FakeQueue;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using uapi::IoOp;

constexpr std::uint64_t device_sectors = 1000;
constexpr std::uint32_t most_sectors = FakeQueue::buffer_bytes / 512;

// A device that offers everything but zones.
Geometry whole()
{
    return {.size = device_sectors * 512,
            .block_size = 512,
            .attrs = uapi::Attr::volatile_cache | uapi::Attr::fua,
            .discard = true,
            .write_zeroes = true,
            .discard_granularity = 512};
}

uapi::Params params(const Geometry& geometry = whole())
{
    return make_params(geometry, FakeQueue::buffer_bytes);
}

uapi::IoDesc request(IoOp op, std::uint64_t sector = 8, std::uint32_t sectors = 8)
{
    return {.op_flags = static_cast<std::uint32_t>(op), .nr_sectors = sectors, .start_sector = sector};
}

struct Backend {
    std::int32_t handle(Io& io) noexcept
    {
        ++seen;
        return static_cast<std::int32_t>(io.data.size());
    }
    int seen = 0;
};

struct Outcome {
    QueueEnd end;
    int seen = 0; // by the backend
};

Outcome serve(FakeQueue& queue, const uapi::Params& limits)
{
    Backend backend;
    QueueRunner runner(queue, backend, 0, Paranoid(queue.depth(), limits));
    runner.arm();
    const QueueEnd end = runner.run();
    return {end, backend.seen};
}

TEST(Paranoid, FindsNothingWrongWithAQueueThatIsServedAsItShould)
{
    for (std::uint32_t seed = 0; seed < 50; ++seed) {
        std::vector<uapi::IoDesc> requests;
        for (unsigned i = 0; i < 20; ++i)
            for (const auto op : {IoOp::read, IoOp::write, IoOp::flush, IoOp::discard, IoOp::write_zeroes})
                requests.push_back(request(op, i * 8, op == IoOp::flush ? 0 : 8));
        int refusals = 5;
        FakeQueue queue(8, requests, seed,
                        {.refuse = [&](std::uint16_t) { return --refusals > 0 ? -EAGAIN : 0; }});
        if (seed % 2 == 0)
            queue.need_get_data();
        const auto [end, seen] = serve(queue, params());
        ASSERT_EQ(end.report, "") << "seed " << seed;
        ASSERT_EQ(end.code, 0) << "seed " << seed;
        ASSERT_EQ(seen, 100) << "seed " << seed;
    }
}

struct BadRequest {
    Violation violation;
    uapi::IoDesc desc;
    Geometry geometry = whole();
};

const std::vector<BadRequest>& bad_requests()
{
    auto plain = whole(), read_only = whole(), large_blocks = whole();
    plain.attrs = {};
    plain.discard = plain.write_zeroes = false;
    read_only.attrs = uapi::Attr::read_only;
    large_blocks.block_size = 4096;
    auto fua = request(IoOp::write);
    fua.op_flags |= static_cast<std::uint32_t>(uapi::IoFlag::fua);
    static const std::vector<BadRequest> rows{
        {Violation::unknown_operation, request(static_cast<IoOp>(200))},
        {Violation::unknown_operation, request(IoOp::write_same)},
        {Violation::not_announced, request(IoOp::zone_reset)},
        {Violation::not_announced, request(IoOp::discard), plain},
        {Violation::not_announced, request(IoOp::write_zeroes), plain},
        {Violation::not_announced, request(IoOp::flush, 0, 0), plain},
        {Violation::not_announced, fua, plain},
        {Violation::read_only, request(IoOp::write), read_only},
        {Violation::no_sectors, request(IoOp::read, 8, 0)},
        {Violation::misaligned, request(IoOp::read, 4, 8), large_blocks},
        {Violation::misaligned, request(IoOp::write, 8, 4), large_blocks},
        {Violation::beyond_end, request(IoOp::read, device_sectors - 7, 8)},
        {Violation::beyond_end, request(IoOp::write, device_sectors, 1)},
        {Violation::beyond_end, request(IoOp::discard, UINT64_MAX - 3, 8)},
        {Violation::too_long, request(IoOp::read, 0, most_sectors + 1)},
    };
    return rows;
}

TEST(Paranoid, EndsTheQueueBeforeTheBackendSeesABadRequest)
{
    for (const auto& [violation, desc, geometry] : bad_requests()) {
        FakeQueue queue(1, {request(IoOp::read), desc}, 1);
        const auto [end, seen] = serve(queue, params(geometry));
        EXPECT_EQ(end.code, EPROTO) << to_string(violation);
        EXPECT_TRUE(end.stuck) << to_string(violation);
        EXPECT_EQ(seen, 1) << to_string(violation);
        EXPECT_THAT(end.report, StartsWith(std::string(to_string(violation)) + ": "));
        EXPECT_THAT(end.report, HasSubstr("before: fetch, completion 0, READ of 8 sectors at 8, commit 4096, "
                                          "completion 0"))
            << "the history of the tag";
    }
}

TEST(Paranoid, SeesARequestThatDoesNotFitTheBuffer)
{
    auto limits = params();
    limits.basic.max_sectors = 100;
    FakeQueue queue(1, {request(IoOp::read, 0, most_sectors + 1)}, 1);
    EXPECT_THAT(serve(queue, limits).end.report,
                StartsWith("no room in the buffer: READ of 17 sectors at 0"));
}

TEST(Paranoid, SeesThatTheDriverCopiesElsewhere)
{
    FakeQueue queue(1, {}, 1);
    const auto address = reinterpret_cast<std::uintptr_t>(queue.buffer(0).data());
    const auto found = [&](std::uint64_t addr, std::uint32_t flags = 0) {
        auto desc = request(IoOp::write);
        desc.addr = addr;
        desc.op_flags |= flags;
        Paranoid checker(1, params(), uapi::Feature::shmem_zc);
        checker.request({.op = IoOp::write, .start_sector = 8, .nr_sectors = 8}, desc, queue.buffer(0));
        return checker.violation();
    };
    EXPECT_EQ(found(0), std::nullopt);
    EXPECT_EQ(found(address), std::nullopt);
    EXPECT_EQ(found(address + 512), Violation::foreign_addr);
    EXPECT_EQ(found(1ULL << 32, static_cast<std::uint32_t>(uapi::IoFlag::shmem_zc)), std::nullopt);
}

TEST(Paranoid, KnowsTheSizeThatTheDeviceWasGivenMeanwhile)
{
    std::uint64_t now = device_sectors;
    Paranoid checker(1, params(), {}, [&] { return now; });
    const auto ask = [&](std::uint64_t sector) {
        checker.request({.op = IoOp::read, .start_sector = sector, .nr_sectors = 8},
                        request(IoOp::read, sector), {});
        return checker.violation();
    };
    now *= 2;
    EXPECT_EQ(ask(2 * device_sectors - 8), std::nullopt);
    EXPECT_EQ(ask(2 * device_sectors - 7), Violation::beyond_end);
}

TEST(Paranoid, SeesACompletionThatNoCommandWaitsFor)
{
    struct Row {
        std::uint16_t tag;
        std::int32_t result;
        Violation violation;
    };
    for (const auto& [tag, result, violation] :
         {Row{1, 0, Violation::stray_completion}, Row{1, uapi::io_res_abort, Violation::stray_completion},
          Row{2, 0, Violation::no_such_tag}, Row{0, 7, Violation::unknown_result}}) {
        FakeQueue queue(2, {}, 1, {.refuse_fetch = [](std::uint16_t t) { return t == 1 ? -EINVAL : 0; }});
        Backend backend;
        QueueRunner runner(queue, backend, 0, Paranoid(queue.depth(), params()));
        runner.arm(); // tag 1 is idle from here on
        queue.inject(tag, result);
        const QueueEnd end = runner.run();
        EXPECT_TRUE(end.stuck);
        EXPECT_THAT(end.report, StartsWith(std::string(to_string(violation))));
        EXPECT_EQ(backend.seen, 0);
    }
}

TEST(Paranoid, SeesWhatTheEngineItselfMustNotDo)
{
    const auto served = [] {
        Paranoid checker(1, params());
        checker.sent(0, TagEvent::fetch, 0);
        checker.completed(0, uapi::io_res_ok);
        checker.request({.op = IoOp::write, .nr_sectors = 8}, request(IoOp::write), {});
        EXPECT_TRUE(checker.sound());
        return checker;
    };
    auto checker = served();
    checker.sent(0, TagEvent::fetch, 0);
    EXPECT_EQ(checker.violation(), Violation::command_out_of_turn);

    checker = served();
    checker.sent(0, TagEvent::commit, 4096);
    EXPECT_EQ(checker.violation(), Violation::other_result) << "nothing was answered";

    checker = served();
    checker.answered({.op = IoOp::write, .nr_sectors = 8}, 4096);
    checker.sent(0, TagEvent::commit, 512);
    EXPECT_EQ(checker.violation(), Violation::other_result);

    checker = served();
    checker.sent(1, TagEvent::commit, 0);
    EXPECT_EQ(checker.violation(), Violation::no_such_tag);
    EXPECT_THAT(checker.report(), HasSubstr("tag 1 of 1"));
}

TEST(Paranoid, SeesAnAnswerThatTheDriverWouldMisunderstand)
{
    struct Row {
        IoOp op;
        std::int32_t result;
        bool good;
    };
    const std::vector<Row> rows{
        {IoOp::read, 4096, true},   {IoOp::read, 512, true},      {IoOp::read, 513, false},
        {IoOp::read, 0, false},     {IoOp::read, 4608, false},    {IoOp::read, -EIO, true},
        {IoOp::read, -4096, false}, {IoOp::write, 4096, true},    {IoOp::write, 512, false},
        {IoOp::write, 0, false},    {IoOp::write, -ENOSPC, true}, {IoOp::flush, 0, true},
        {IoOp::flush, 1, false},    {IoOp::discard, 4096, false}, {IoOp::discard, 0, true},
    };
    for (const auto& [op, result, good] : rows) {
        Paranoid checker(1, params());
        checker.answered({.op = op, .nr_sectors = 8}, result);
        EXPECT_EQ(checker.violation(), good ? std::nullopt : std::optional(Violation::bad_answer))
            << static_cast<int>(op) << ", " << result;
    }
}

TEST(Paranoid, KeepsTheFirstViolationAndTheLastOfTheHistory)
{
    Paranoid checker(1, params());
    checker.sent(0, TagEvent::fetch, 0);
    const Io io{.op = IoOp::read, .nr_sectors = 8};
    for (unsigned i = 0; i < 20; ++i) {
        checker.completed(0, 0);
        checker.request(io, request(IoOp::read, i), {});
        checker.answered(io, 4096);
        checker.sent(0, TagEvent::commit, 4096);
    }
    ASSERT_TRUE(checker.sound());
    EXPECT_EQ(checker.report(), "");
    checker.completed(0, 99);
    checker.completed(9, 0);
    EXPECT_EQ(
        checker.report(),
        "unknown result: completion 99, tag 0, which is armed; before: READ of 8 sectors at 17, commit "
        "4096, completion 0, READ of 8 sectors at 18, commit 4096, completion 0, READ of 8 sectors at 19, "
        "commit 4096");
}

TEST(Paranoid, HasANameForEachViolation)
{
    std::set<std::string_view> names;
    for (int i = 0; i <= static_cast<int>(Violation::other_result); ++i)
        names.insert(to_string(static_cast<Violation>(i)));
    EXPECT_EQ(names.size(), static_cast<std::size_t>(Violation::other_result) + 1);
}

} // namespace
} // namespace ublk::engine
