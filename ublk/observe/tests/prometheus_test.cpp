#include "ublk/observe/prometheus.hpp"

#include <arpa/inet.h>
#include <array>
#include <atomic>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ublk::observe {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

Snapshot a_snapshot()
{
    Snapshot snapshot{{.device = 3, .timed = true, .backend = "null"}, std::vector<QueueMetrics>(2)};
    snapshot.queues[1].requests[0] = 5;
    snapshot.queues[1].bytes[1] = 8192;
    snapshot.queues[1].errors[5] = 2;
    snapshot.queues[0].enters = 77;
    for (const auto nanoseconds : {100U, 2000U, 2048U, 3000U, 1000000000U})
        snapshot.queues[1].latency[0].add(nanoseconds);
    return snapshot;
}

TEST(Prometheus, NamesEveryCounterByDeviceQueueAndOperation)
{
    const auto text = to_prometheus({a_snapshot()});
    EXPECT_THAT(text, HasSubstr("# TYPE ublk_requests_total counter\n"));
    EXPECT_THAT(text, HasSubstr("ublk_requests_total{device=\"3\",queue=\"1\",op=\"read\"} 5\n"));
    EXPECT_THAT(text, HasSubstr("ublk_requests_total{device=\"3\",queue=\"0\",op=\"read\"} 0\n"));
    EXPECT_THAT(text, HasSubstr("ublk_request_bytes_total{device=\"3\",queue=\"1\",op=\"write\"} 8192\n"));
    EXPECT_THAT(text,
                HasSubstr("ublk_request_errors_total{device=\"3\",queue=\"1\",op=\"write_zeroes\"} 2\n"));
    EXPECT_THAT(text, HasSubstr("ublk_ring_enters_total{device=\"3\",queue=\"0\"} 77\n"));
}

TEST(Prometheus, AddsLatenciesUpInBucketsOfSeconds)
{
    const auto text = to_prometheus({a_snapshot()});
    const std::string labels =
        "ublk_request_duration_seconds_bucket{device=\"3\",queue=\"1\",op=\"read\",le=";
    EXPECT_THAT(text, HasSubstr(labels + "\"2.048e-06\"} 2\n"));
    EXPECT_THAT(text, ContainsRegex("op=\"read\",le=\"8.192[0-9]*e-06\"} 4\n"));
    EXPECT_THAT(text, HasSubstr(labels + "\"+Inf\"} 5\n"));
    EXPECT_THAT(text, HasSubstr("duration_seconds_count{device=\"3\",queue=\"1\",op=\"read\"} 5\n"));
    auto untimed = a_snapshot();
    untimed.device.timed = false;
    EXPECT_THAT(to_prometheus({untimed}), Not(HasSubstr("duration_seconds_count")));
}

TEST(LoopbackAddress, IsOneThatOnlyThisMachineReaches)
{
    for (const char* text : {"127.0.0.1:9100", "127.1.2.3:1", "[::1]:65535", "127.0.0.1:0"})
        EXPECT_EQ(loopback_address(text), text);
    for (const char* text : {"0.0.0.0:9100", "10.0.0.1:9100", "128.0.0.1:9100", "126.255.255.255:1"})
        EXPECT_THAT(loopback_address(text).error(), HasSubstr("other machines"));
    for (const char* text : {"", ":", "9100", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                             "127.0.0.1:9100,8080", "127.0.0.1:9100s", "localhost:9100", "[::]:9100", "[::1]",
                             "127.1:9100", "127.0.0.1: 9100"})
        EXPECT_FALSE(loopback_address(text).has_value()) << text;
}

std::string get(std::uint16_t port, const std::string& path)
{
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const void* generic = &address;
    std::string answer;
    if (::connect(fd, static_cast<const sockaddr*>(generic), sizeof(address)) == 0) {
        const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
        EXPECT_EQ(::write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
        std::array<char, 4096> part{};
        for (ssize_t got = 0; (got = ::read(fd, part.data(), part.size())) > 0;)
            answer.append(part.data(), static_cast<std::size_t>(got));
    }
    ::close(fd);
    return answer;
}

TEST(Endpoint, ServesWhatIsCountedAtTheMoment)
{
    std::atomic<std::uint64_t> requests = 1;
    const auto endpoint = Endpoint::open("127.0.0.1:0", [&] {
        auto snapshot = a_snapshot();
        snapshot.queues[0].requests[0] = requests;
        return std::vector{snapshot};
    });
    ASSERT_TRUE(endpoint.has_value()) << endpoint.error();
    ASSERT_NE(endpoint->port(), 0);
    const std::string line = "ublk_requests_total{device=\"3\",queue=\"0\",op=\"read\"} ";
    EXPECT_THAT(get(endpoint->port(), "/metrics"), HasSubstr(line + "1\n"));
    requests = 2;
    EXPECT_THAT(get(endpoint->port(), "/metrics"), HasSubstr(line + "2\n"));
    EXPECT_THAT(get(endpoint->port(), "/other"), HasSubstr("404"));
}

TEST(Endpoint, SaysThatAPortIsTaken)
{
    const auto none = [] { return std::vector<Snapshot>(); };
    const auto first = Endpoint::open("127.0.0.1:0", none);
    ASSERT_TRUE(first.has_value());
    const auto second = Endpoint::open("127.0.0.1:" + std::to_string(first->port()), none);
    ASSERT_FALSE(second.has_value());
    EXPECT_FALSE(second.error().empty());
}

} // namespace
} // namespace ublk::observe
