#include "ublk/backends/decorators/decorated.hpp"

#include "ublk/backends/memory.hpp"
#include "ublk/backends/tests/disk.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

namespace ublk::backends {
namespace {

using testing::ask;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::sector;
using uapi::IoOp;
using namespace std::chrono_literals;

constexpr std::uint64_t size = 256 * 1024;
constexpr auto one_page = static_cast<std::int32_t>(8 * sector);

// A memory disk, and what of the requests came through to it.
class Witness {
  public:
    Witness() : memory_(*Memory::create(size, 512)) {}
    engine::Geometry geometry() const { return memory_.geometry(); }
    std::int32_t handle(engine::Io& io) noexcept
    {
        seen.push_back(io.op);
        return memory_.handle(io);
    }
    std::vector<IoOp> seen;

  private:
    Memory memory_;
};

std::vector<std::byte> page(int value = 1)
{
    return std::vector<std::byte>(8 * sector, static_cast<std::byte>(value));
}

static_assert(engine::Backend<With<Memory, Fault, Delay, Short, Crash, Record>>);
static_assert(!engine::ServesZones<With<Memory, Fault>> && !engine::ServesZones<Decorated<Memory>>);

TEST(Fault, FailsWithItsErrorAndNothingReachesTheBackend)
{
    Witness disk;
    With faulty(disk, FaultOptions{.which = {.ops = IoOp::write, .every = 2}, .error = ENOSPC});
    auto data = page();
    EXPECT_EQ(ask(faulty, IoOp::write, 0, data), one_page);
    EXPECT_EQ(ask(faulty, IoOp::read, 0, data), one_page);
    EXPECT_EQ(ask(faulty, IoOp::write, 0, data), -ENOSPC);
    EXPECT_EQ(ask(faulty, IoOp::read, 0, data), one_page);
    EXPECT_THAT(disk.seen, ElementsAre(IoOp::write, IoOp::read, IoOp::read));
    EXPECT_EQ(faulty.geometry().size, size);
}

TEST(Fault, FailsExactlyTheSectorsOfItsRange)
{
    Witness disk;
    With faulty(disk, FaultOptions{.which = {.first_sector = 17, .last_sector = 20}});
    std::vector<std::byte> data(sector);
    for (std::uint64_t at = 0; at < size / sector; ++at)
        EXPECT_EQ(ask(faulty, IoOp::read, at, data), at >= 17 && at <= 20 ? -EIO : 512) << "sector " << at;
}

TEST(Fault, GoesByItsTriggerIfItHasOne)
{
    Witness disk;
    Trigger trigger;
    With faulty(disk, FaultOptions{.which = {.ops = IoOp::read}, .trigger = &trigger});
    auto data = page();
    const auto read = [&] { return ask(faulty, IoOp::read, 0, data); };
    EXPECT_EQ(read(), one_page);
    trigger.pull(2);
    EXPECT_EQ(ask(faulty, IoOp::write, 0, data), one_page) << "not of its operation, so not one of the two";
    EXPECT_EQ(read(), -EIO);
    EXPECT_EQ(read(), -EIO);
    EXPECT_EQ(read(), one_page);
    trigger.pull();
    for (int i = 0; i < 100; ++i)
        EXPECT_EQ(read(), -EIO);
    trigger.release();
    EXPECT_EQ(read(), one_page);
}

std::vector<std::chrono::nanoseconds> slept;

TEST(Delay, WaitsForItsTimeBeforeTheBackendSeesTheRequest)
{
    slept.clear();
    Witness disk;
    With slow(disk,
              DelayOptions{.which = {.ops = IoOp::read},
                           .least = 3ms,
                           .most = 3ms,
                           .sleep = [](std::chrono::nanoseconds time) noexcept { slept.push_back(time); }});
    auto data = page();
    EXPECT_EQ(ask(slow, IoOp::write, 0, data), one_page);
    EXPECT_THAT(slept, IsEmpty());
    EXPECT_EQ(ask(slow, IoOp::read, 0, data), one_page);
    EXPECT_THAT(slept, ElementsAre(3ms));
}

TEST(Delay, DrawsItsTimeFromTheWholeRange)
{
    slept.clear();
    Witness disk;
    With slow(disk,
              DelayOptions{.least = 10ns, .most = 13ns, .sleep = [](std::chrono::nanoseconds time) noexcept {
                               slept.push_back(time);
                           }});
    for (int i = 0; i < 200; ++i)
        ask(slow, IoOp::flush, 0, {});
    std::ranges::sort(slept);
    const auto ends = std::ranges::unique(slept);
    slept.erase(ends.begin(), ends.end());
    EXPECT_THAT(slept, ElementsAre(10ns, 11ns, 12ns, 13ns));
}

TEST(Delay, SleepsByItself)
{
    const auto before = std::chrono::steady_clock::now();
    sleep_for(2ms);
    EXPECT_GE(std::chrono::steady_clock::now() - before, 2ms) << "a sleep may be too long, never too short";
}

TEST(Short, AnswersWithPartOfAReadInWholeBlocks)
{
    for (const std::uint32_t unit : {512U, 1024U}) {
        Witness disk;
        With partial(disk, ShortOptions{.which = {.ops = IoOp::read, .seed = 5}, .unit = unit});
        auto data = page(7);
        ask(partial, IoOp::write, 0, data);
        std::vector<std::uint32_t> answers;
        for (int i = 0; i < 200; ++i) {
            auto got = page(0);
            const std::int32_t answer = ask(partial, IoOp::read, 0, got);
            ASSERT_GT(answer, 0);
            ASSERT_LT(answer, one_page);
            ASSERT_EQ(static_cast<std::uint32_t>(answer) % unit, 0U);
            const auto done = static_cast<std::size_t>(answer);
            EXPECT_THAT(std::span(got).first(done), Each(std::byte{7}));
            EXPECT_THAT(std::span(got).subspan(done), Each(::testing::Ne(std::byte{7}))) << "was not read";
            answers.push_back(static_cast<std::uint32_t>(answer));
        }
        std::ranges::sort(answers);
        const auto ends = std::ranges::unique(answers);
        answers.erase(ends.begin(), ends.end());
        EXPECT_EQ(answers.size(), one_page / unit - 1) << "every part of it, at some time";
    }
}

TEST(Short, LeavesAlone)
{
    Witness disk;
    With partial(disk, ShortOptions{});
    auto data = page();
    std::vector<std::byte> one(sector);
    EXPECT_EQ(ask(partial, IoOp::read, 0, one), 512) << "what has no part";
    EXPECT_EQ(ask(partial, IoOp::read, size / sector, data), -EIO) << "an error";
    EXPECT_EQ(ask(partial, IoOp::write, 0, data), one_page) << "another operation";
    EXPECT_EQ(ask(partial, IoOp::discard, 0, {}, 8), 0) << "what has no bytes";
}

TEST(Short, LosesNothingWhenTheRestIsAskedForAgain)
{
    Witness disk;
    With partial(disk, ShortOptions{.which = {.ops = IoOp::read, .seed = 9}});
    std::mt19937 random(4);
    auto written = testing::random_bytes(size, random);
    ASSERT_EQ(ask(disk, IoOp::write, 0, written), static_cast<std::int32_t>(size));
    std::vector<std::byte> got(size);
    int requests = 0;
    for (std::size_t done = 0; done < size; ++requests) {
        const auto answer = ask(partial, IoOp::read, done / sector, std::span(got).subspan(done));
        ASSERT_GT(answer, 0);
        done += static_cast<std::size_t>(answer);
    }
    EXPECT_GT(requests, 1);
    EXPECT_EQ(got, written);
}

// Which of ten writes, with a read before each, is the server's last.
template <typename Options>
void write_until_death(const Options& options)
{
    Witness disk;
    With doomed(disk, options);
    auto data = page();
    for (int i = 1; i <= 10; ++i) {
        ask(doomed, IoOp::read, 0, data);
        std::fprintf(stderr, "[write %d]", i);
        ask(doomed, IoOp::write, 0, data);
    }
}

TEST(Crash, EndsTheProcessAtTheChosenRequest)
{
    constexpr Selection third_write{.ops = IoOp::write, .after = 2, .first = 1};
    const auto* const at_the_third = R"(\[write 3\]$)";
    EXPECT_EXIT(write_until_death(CrashOptions{.which = third_write}), ::testing::KilledBySignal(SIGKILL),
                at_the_third);
    EXPECT_EXIT(write_until_death(CrashOptions{.which = third_write, .signal = 0, .status = 7}),
                ::testing::ExitedWithCode(7), at_the_third);
    EXPECT_EXIT(
        {
            ::signal(SIGUSR1, SIG_IGN);
            write_until_death(CrashOptions{.which = third_write, .signal = SIGUSR1});
        },
        ::testing::ExitedWithCode(128 + SIGUSR1), at_the_third)
        << "a signal that does not end the process is not the end of it";
}

TEST(Decorators, ComposeWithTheFirstOutermost)
{
    slept.clear();
    Recorder outside(1, 16), inside(1, 16);
    Witness disk;
    With all(disk, RecordOptions{&outside}, ShortOptions{}, FaultOptions{.which = {.ops = IoOp::write}},
             RecordOptions{&inside});
    auto data = page();
    EXPECT_EQ(ask(all, IoOp::write, 0, data), -EIO);
    const auto part = ask(all, IoOp::read, 0, data);
    EXPECT_LT(part, one_page);
    const auto seen_outside = outside.recorded(), seen_inside = inside.recorded();
    ASSERT_EQ(seen_outside.size(), 2U);
    EXPECT_EQ(seen_outside[0].result, -EIO);
    EXPECT_EQ(seen_outside[1].result, part);
    ASSERT_EQ(seen_inside.size(), 1U) << "the write never came through to it";
    EXPECT_EQ(seen_inside[0].result, one_page);
}

TEST(Decorators, DoTheSameChosenAtRunTimeAsByTheCompiler)
{
    constexpr FaultOptions fault{.which = {.ops = IoOp::write, .rate = 0.3, .seed = 1}, .error = ENOSPC};
    constexpr FaultOptions range{.which = {.first_sector = 100, .last_sector = 110}, .error = ENODATA};
    constexpr ShortOptions part{.which = {.ops = IoOp::read, .rate = 0.5, .seed = 2}};
    Witness one, other;
    With compiled(one, fault, part, range);
    const std::vector<DecoratorOptions> list{fault, part, range};
    Decorated chosen(other, list);
    std::mt19937 random(1);
    int errors = 0, parts = 0;
    for (int i = 0; i < 2000; ++i) {
        const auto op = std::array{IoOp::read, IoOp::write, IoOp::flush}[random() % 3];
        const std::uint64_t start = random() % (size / sector - 8);
        auto data = testing::random_bytes(8 * sector, random);
        auto same = data;
        const auto answer = ask(compiled, op, start, op == IoOp::flush ? std::span<std::byte>() : data);
        ASSERT_EQ(ask(chosen, op, start, op == IoOp::flush ? std::span<std::byte>() : same), answer) << i;
        ASSERT_EQ(data, same);
        errors += answer < 0 ? 1 : 0;
        parts += answer > 0 && answer < one_page ? 1 : 0;
    }
    EXPECT_EQ(one.seen, other.seen);
    EXPECT_TRUE(errors > 100 && parts > 100) << errors << " errors, " << parts << " parts";
    EXPECT_EQ(chosen.geometry().size, size);
}

} // namespace
} // namespace ublk::backends
