#include "ublk/serve/observing.hpp"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace ublk::serve {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

observe::Snapshot device(std::uint32_t id)
{
    return {{.device = id, .pid = 10, .backend = "memory"}, std::vector<observe::QueueMetrics>(2)};
}

TEST(Top, ShowsWhatHappenedBetweenTwoLooks)
{
    auto before = device(4);
    before.queues[0].requests[0] = 1000;
    auto now = before;
    now.queues[0].requests[0] += 200; // reads
    now.queues[1].requests[0] += 100;
    now.queues[1].bytes[0] += 6 << 20;
    now.queues[1].requests[2] += 4; // flushes
    now.queues[1].errors[2] += 2;
    now.queues[0].enters += 41;
    now.queues[0].empty += 3;
    for (int i = 0; i < 100; ++i)
        now.queues[0].latency[0].add(100'000);
    const auto table = top_table({before}, {now}, 2.0);
    EXPECT_THAT(table, ContainsRegex("READ/s +WRITE/s +OTHER/s"));
    EXPECT_THAT(table, ContainsRegex("\n +4  memory +150 +0 +2 +3.0 +0.0 +1 +8.0 +106 +106\n"));
}

TEST(Top, HasNothingToSayOfADeviceThatIsNewOrOfNone)
{
    auto now = device(4);
    now.queues[0].requests[0] = 1000;
    EXPECT_THAT(top_table({}, {now}, 1.0), ContainsRegex("\n +4  memory +0 +0 +0 +0.0 +0.0 +0 +- +- +-\n"));
    auto other = now;
    other.device.pid = 11;
    EXPECT_THAT(top_table({other}, {now}, 1.0), ContainsRegex("\n +4  memory +0 "));
    EXPECT_THAT(top_table({}, {}, 1.0), HasSubstr("no ublk-serve runs"));
}

TEST(Top, FindsTheFilesOfServersThatLive)
{
    std::string directory = (std::filesystem::temp_directory_path() / "top.XXXXXX").string();
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    {
        const auto second =
            observe::Metrics::create_file(directory + "/12.stats", {.device = 12, .backend = "null"}, 1);
        const auto first =
            observe::Metrics::create_file(directory + "/3.stats", {.device = 3, .backend = "null"}, 1);
        ASSERT_TRUE(first.has_value() && second.has_value());
        std::filesystem::copy_file(directory + "/3.stats", directory + "/5.stats"); // of a dead one
        const auto devices = served_devices({directory, "/no such directory"});
        ASSERT_EQ(devices.size(), 2U);
        EXPECT_EQ(devices[0].device.device, 3U);
        EXPECT_EQ(devices[1].device.device, 12U);
    }
    std::filesystem::remove_all(directory);
}

} // namespace
} // namespace ublk::serve
