#include "ublk/observe/metrics.hpp"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <thread>
#include <unistd.h>

namespace ublk::observe {
namespace {

namespace fs = std::filesystem;
using uapi::IoOp;

DeviceDescription a_device()
{
    return {.device = 7, .depth = 64, .size = 1 << 20, .pid = 42, .timed = true, .backend = "memory"};
}

class MetricsFile : public ::testing::Test {
  public:
    ~MetricsFile() override { fs::remove_all(directory_); }

  protected:
    MetricsFile()
    {
        std::string name = (fs::temp_directory_path() / "metrics.XXXXXX").string();
        directory_ = ::mkdtemp(name.data());
    }

    fs::path directory_;
    std::string path_ = (directory_ / "0.stats").string();
};

TEST(Metrics, CountEachOperationInItsSlot)
{
    EXPECT_EQ(op_names[op_slot(IoOp::read)], "read");
    EXPECT_EQ(op_names[op_slot(IoOp::write)], "write");
    EXPECT_EQ(op_names[op_slot(IoOp::flush)], "flush");
    EXPECT_EQ(op_names[op_slot(IoOp::discard)], "discard");
    EXPECT_EQ(op_names[op_slot(IoOp::write_zeroes)], "write_zeroes");
    EXPECT_EQ(op_names[op_slot(IoOp::zone_append)], "other");
    EXPECT_EQ(op_names[op_slot(static_cast<IoOp>(255))], "other");
    EXPECT_EQ(latency_names[latency_slot(IoOp::write)], "write");
    EXPECT_EQ(latency_names[latency_slot(IoOp::flush)], "other");
}

TEST(Metrics, GiveEachThreadCacheLinesOfItsOwn)
{
    const auto metrics = Metrics::create(a_device(), 3, 2);
    ASSERT_TRUE(metrics.has_value());
    constexpr std::uintptr_t pair_of_lines = 128; // what a CPU fetches at once
    std::uintptr_t end = 0;
    for (std::uint16_t part = 0; part < 6; ++part) {
        auto& counters = metrics->of(part / 2, part % 2);
        const auto begin = reinterpret_cast<std::uintptr_t>(&counters);
        EXPECT_EQ(begin % pair_of_lines, 0U);
        EXPECT_GE(begin, end);
        end = begin + sizeof(counters);
        EXPECT_EQ(end % pair_of_lines, 0U);
    }
}

TEST(Metrics, OfTheThreadsOfAQueueAreAddedUp)
{
    const auto metrics = Metrics::create(a_device(), 2, 3);
    ASSERT_TRUE(metrics.has_value());
    bump(metrics->of(0, 2).requests[0], 1);
    bump(metrics->of(1, 0).requests[0], 10);
    bump(metrics->of(1, 2).requests[0], 100);
    const auto snapshot = metrics->snapshot();
    ASSERT_EQ(snapshot.queues.size(), 2U);
    EXPECT_EQ(snapshot.queues[0].requests[0], 1U);
    EXPECT_EQ(snapshot.queues[1].requests[0], 110U);
}

TEST(Metrics, AreReadWhileTheyAreCounted)
{
    const auto metrics = Metrics::create(a_device(), 1);
    ASSERT_TRUE(metrics.has_value());
    constexpr std::uint64_t rounds = 100000;
    std::jthread writer([&] {
        QueueMetrics& queue = metrics->of(0);
        for (std::uint64_t i = 0; i < rounds; ++i)
            bump(queue.requests[0], 1);
    });
    std::uint64_t last = 0;
    while (last < rounds) {
        const auto now = metrics->snapshot().queues[0].requests[0];
        ASSERT_GE(now, last);
        last = now;
    }
    EXPECT_EQ(last, rounds);
}

TEST(Metrics, AddUpAndSubtract)
{
    const auto metrics = Metrics::create(a_device(), 2);
    ASSERT_TRUE(metrics.has_value());
    metrics->of(0).requests[1] = 5;
    metrics->of(1).requests[1] = 7;
    metrics->of(1).latency[0].add(100);
    const auto before = metrics->snapshot().total();
    EXPECT_EQ(before.requests[1], 12U);
    EXPECT_EQ(before.latency[0].sum, 100U);
    metrics->of(0).requests[1] = 25;
    const auto between = metrics->snapshot().total() - before;
    EXPECT_EQ(between.requests[1], 20U);
    EXPECT_EQ(between.latency[0].count(), 0U);
}

TEST(Metrics, AreWrittenAsJson)
{
    const auto metrics = Metrics::create(a_device(), 2);
    ASSERT_TRUE(metrics.has_value());
    QueueMetrics& queue = metrics->of(1);
    queue.requests[0] = 3;
    queue.bytes[0] = 4096;
    queue.errors[1] = 1;
    queue.enters = 9;
    queue.latency[0].add(1000);
    const auto json = nlohmann::json::parse(to_json(std::vector{metrics->snapshot()}));
    EXPECT_EQ(json["schema"], 1);
    const auto& device = json["devices"].at(0);
    EXPECT_EQ(device["id"], 7);
    EXPECT_EQ(device["backend"], "memory");
    EXPECT_EQ(device["pid"], 42);
    const auto& second = device["queues"].at(1);
    EXPECT_EQ(second["requests"]["read"], 3);
    EXPECT_EQ(second["bytes"]["read"], 4096);
    EXPECT_EQ(second["errors"]["write"], 1);
    EXPECT_EQ(second["enters"], 9);
    EXPECT_EQ(second["latency_ns"]["read"]["count"], 1);
    EXPECT_EQ(second["latency_ns"]["read"]["p50"], 1023);
    EXPECT_EQ(second["latency_ns"]["read"]["buckets"], nlohmann::json::parse("[[960, 1]]"));
    EXPECT_EQ(device["queues"].at(0)["requests"]["read"], 0);
}

TEST(Metrics, LeaveLatenciesOutThatWereNotMeasured)
{
    auto device = a_device();
    device.timed = false;
    const auto metrics = Metrics::create(device, 1);
    ASSERT_TRUE(metrics.has_value());
    EXPECT_EQ(to_json(std::vector{metrics->snapshot()}).find("latency"), std::string::npos);
}

TEST_F(MetricsFile, ShowsAnotherProcessWhatIsCounted)
{
    const auto metrics = Metrics::create_file(path_, a_device(), 2);
    ASSERT_TRUE(metrics.has_value());
    bump(metrics->of(1).bytes[2], 11);
    const auto seen = Metrics::read_file(path_);
    ASSERT_TRUE(seen.has_value()) << seen.error();
    EXPECT_EQ(seen->device.device, 7U);
    EXPECT_EQ(seen->device.depth, 64U);
    EXPECT_EQ(seen->device.size, 1U << 20);
    EXPECT_EQ(seen->device.pid, 42);
    EXPECT_TRUE(seen->device.timed);
    EXPECT_EQ(seen->device.backend, "memory");
    ASSERT_EQ(seen->queues.size(), 2U);
    EXPECT_EQ(seen->queues[1].bytes[2], 11U);
}

TEST_F(MetricsFile, IsGoneWithItsMetrics)
{
    ASSERT_TRUE(Metrics::create_file(path_, a_device(), 1).has_value());
    EXPECT_TRUE(fs::is_empty(directory_));
    EXPECT_EQ(Metrics::read_file(path_).error(), ENOENT);
}

TEST_F(MetricsFile, OfAServerThatDiedIsKnownAsSuchAndReplaced)
{
    auto metrics = Metrics::create_file(path_, a_device(), 1);
    ASSERT_TRUE(metrics.has_value());
    const auto kept = directory_ / "kept";
    fs::copy_file(path_, kept); // the same file, that no process holds
    EXPECT_EQ(Metrics::read_file(kept).error(), ESRCH);
    const auto next = Metrics::create_file(kept, a_device(), 1);
    ASSERT_TRUE(next.has_value());
    EXPECT_TRUE(Metrics::read_file(kept).has_value());
}

TEST_F(MetricsFile, IsLeftToTheServerThatTookItsName)
{
    std::optional first(Metrics::create_file(path_, a_device(), 1));
    const auto second = Metrics::create_file(path_, a_device(), 2);
    ASSERT_TRUE(first->has_value() && second.has_value());
    first.reset();
    EXPECT_EQ(Metrics::read_file(path_).value().queues.size(), 2U);
}

TEST_F(MetricsFile, ThatIsNoneIsRefused)
{
    auto metrics = Metrics::create_file(path_, a_device(), 2);
    ASSERT_TRUE(metrics.has_value());
    const auto size = fs::file_size(path_);
    const auto corrupt = [&](auto change) {
        std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
        change(file);
        file.close();
        const auto read = Metrics::read_file(path_);
        return read ? 0 : read.error();
    };
    EXPECT_EQ(corrupt([](auto&) {}), 0);
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(16).write("\3\0\0\0", 4); }), EBADMSG) << "three queues";
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(16).write("\xff\xff\xff\xff", 4); }), EBADMSG);
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(16).write("\2\0\0\0", 4); }), 0);
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(20).write("\0", 1); }), EBADMSG) << "no threads";
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(20).write("\1", 1); }), 0);
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(8).write("\1", 1); }), EBADMSG) << "version";
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(8).write("\3", 1); }), 0);
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(0).write("U", 1); }), EBADMSG) << "magic";
    EXPECT_EQ(corrupt([](auto& file) { file.seekp(0).write("u", 1); }), 0);
    fs::resize_file(path_, size - 1);
    EXPECT_EQ(Metrics::read_file(path_).error(), EBADMSG);
    fs::resize_file(path_, 10);
    EXPECT_EQ(Metrics::read_file(path_).error(), EBADMSG);
}

TEST(MetricsFileThatCannotBeMade, SaysWhy)
{
    EXPECT_EQ(Metrics::create_file("/no such directory/0.stats", a_device(), 1).error(), ENOENT);
}

} // namespace
} // namespace ublk::observe
