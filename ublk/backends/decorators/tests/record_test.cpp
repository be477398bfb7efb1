#include "ublk/backends/decorators/record.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace ublk::backends {
namespace {

using uapi::IoOp;

thread_local std::uint64_t now = 0;
std::uint64_t ticking() noexcept
{
    return now += 10;
}

engine::Io request(std::uint16_t queue, std::uint16_t tag, std::uint64_t sector, IoOp op = IoOp::read)
{
    return {.op = op, .start_sector = sector, .nr_sectors = 8, .tag = tag, .queue = queue};
}

void serve(Recorder& recorder, const engine::Io& io, std::int32_t answer)
{
    recorder.asked(io);
    recorder.answered(io, answer);
}

TEST(Recorder, KeepsWhatWasAskedAndAnswered)
{
    now = 0;
    Recorder recorder(2, 8, ticking);
    auto io = request(1, 3, 4096, IoOp::write);
    io.flags = uapi::IoFlag::fua;
    serve(recorder, io, -ENOSPC);
    const auto all = recorder.recorded();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].queue, 1);
    EXPECT_EQ(all[0].tag, 3);
    EXPECT_EQ(all[0].number, 0U);
    EXPECT_EQ(all[0].op, IoOp::write);
    EXPECT_TRUE(all[0].flags == uapi::IoFlags(uapi::IoFlag::fua));
    EXPECT_EQ(all[0].start_sector, 4096U);
    EXPECT_EQ(all[0].nr_sectors, 8U);
    EXPECT_EQ(all[0].began, 10U);
    EXPECT_EQ(all[0].took, 10U);
    EXPECT_EQ(all[0].result, -ENOSPC);
}

TEST(Recorder, KeepsTheLastOnesOfEachQueueInTheirOrder)
{
    Recorder recorder(2, 5, ticking); // 8 of them
    for (std::uint64_t i = 0; i < 20; ++i)
        serve(recorder, request(0, 0, i), 1);
    serve(recorder, request(1, 0, 100), 1);
    const auto all = recorder.recorded();
    ASSERT_EQ(all.size(), 9U);
    for (std::size_t i = 0; i < 8; ++i) {
        EXPECT_EQ(all[i].start_sector, 12 + i);
        EXPECT_EQ(all[i].number, 12 + i);
    }
    EXPECT_EQ(all[8].start_sector, 100U);
}

TEST(Recorder, TellsWhatHasNoAnswerYet)
{
    Recorder recorder(1, 4, ticking);
    recorder.asked(request(0, 5, 1));
    recorder.asked(request(0, 6, 2));
    recorder.answered(request(0, 6, 2), 0);
    const auto all = recorder.recorded();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].result, std::nullopt);
    EXPECT_EQ(all[1].result, 0) << "the answer belongs to its tag";
}

TEST(Recorder, DropsAnAnswerWhosePlaceIsTaken)
{
    Recorder recorder(1, 2, ticking);
    recorder.asked(request(0, 0, 1));
    serve(recorder, request(0, 1, 2), 7);
    serve(recorder, request(0, 2, 3), 8);
    recorder.answered(request(0, 0, 1), 9);
    const auto all = recorder.recorded();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].result, 7);
    EXPECT_EQ(all[1].result, 8);
}

TEST(Recorder, IgnoresQueuesAndTagsThatItHasNoRoomFor)
{
    Recorder recorder(1, 4, ticking);
    serve(recorder, request(1, 0, 1), 0);
    serve(recorder, request(0, uapi::max_queue_depth, 1), 0);
    EXPECT_TRUE(recorder.recorded().empty());
}

// Each record's parts follow from its number, so that a torn one shows. With one place in the ring each
// reading meets the writer.
TEST(Recorder, IsReadWholeWhileItIsWritten)
{
    Recorder recorder(2, 1, ticking);
    std::atomic<bool> stop = false;
    std::vector<std::thread> writers;
    for (std::uint16_t queue = 0; queue < 2; ++queue)
        writers.emplace_back([&, queue] {
            for (std::uint64_t i = 0; !stop; ++i)
                serve(recorder, request(queue, static_cast<std::uint16_t>(i % 64), i * 8),
                      static_cast<std::int32_t>(i % 1000));
        });
    int whole = 0, torn = 0;
    while (whole < 1'000'000) {
        for (const auto& record : recorder.recorded()) {
            const auto result = static_cast<std::int32_t>(record.number % 1000);
            const bool fits = record.start_sector == record.number * 8 && record.tag == record.number % 64 &&
                              record.result.value_or(result) == result;
            ++(fits ? whole : torn);
        }
    }
    stop = true;
    for (auto& writer : writers)
        writer.join();
    EXPECT_EQ(torn, 0);
}

TEST(Recorder, SpeaksJsonLines)
{
    now = 0;
    Recorder recorder(1, 8, ticking);
    auto io = request(0, 2, 16, IoOp::write_zeroes);
    io.flags = uapi::IoFlag::fua | uapi::IoFlag::nounmap;
    serve(recorder, io, 0);
    recorder.asked(request(0, 3, 24));
    std::istringstream lines(json_lines(recorder.recorded()));
    std::vector<nlohmann::json> parsed;
    for (std::string line; std::getline(lines, line);)
        parsed.push_back(nlohmann::json::parse(line));
    ASSERT_EQ(parsed.size(), 2U);
    EXPECT_EQ(parsed[0], (nlohmann::json{{"queue", 0},
                                         {"number", 0},
                                         {"tag", 2},
                                         {"op", "WRITE_ZEROES"},
                                         {"flags", "FUA|NOUNMAP"},
                                         {"sector", 16},
                                         {"sectors", 8},
                                         {"began_ns", 10},
                                         {"took_ns", 10},
                                         {"result", 0}}));
    EXPECT_FALSE(parsed[1].contains("result"));
    EXPECT_EQ(parsed[1]["op"], "READ");
}

} // namespace
} // namespace ublk::backends
