// The monitor's client against a peer that says what the test tells it to.
#include "vm/qmp.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <sys/socket.h>

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;

namespace {

constexpr std::string_view greeting =
    R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}})"
    "\r\n";

// Everything the peer will say is written beforehand: the client reads it in order.
class QmpTest : public testing::Test {
  protected:
    QmpTest() : pair_(vm::make_socket_pair().value()) {}

    void peer_says(std::string_view text) const
    {
        ASSERT_EQ(send(pair_.theirs.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    }
    void connect()
    {
        peer_says(greeting);
        peer_says("{\"return\": {}, \"id\": 1}\n");
        auto qmp = vm::Qmp::connect(std::move(pair_.ours), 5s);
        ASSERT_TRUE(qmp) << qmp.error().message;
        qmp_.emplace(std::move(*qmp));
        heard(); // the negotiation
    }
    std::string heard() const
    {
        std::string text(4096, '\0');
        const auto n = recv(pair_.theirs.get(), text.data(), text.size(), MSG_DONTWAIT);
        text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return text;
    }

    vm::SocketPair pair_;
    std::optional<vm::Qmp> qmp_;
};

} // namespace

TEST_F(QmpTest, connect_reads_the_version_and_negotiates)
{
    peer_says(greeting);
    peer_says("{\"return\": {}, \"id\": 1}\n");
    auto qmp = vm::Qmp::connect(std::move(pair_.ours), 5s);
    ASSERT_TRUE(qmp) << qmp.error().message;
    EXPECT_EQ(qmp->version(), "7.2.22");
    EXPECT_EQ(json::parse(heard()).at("execute"), "qmp_capabilities");
}

TEST_F(QmpTest, execute_sends_arguments_and_returns_the_answer)
{
    connect();
    peer_says("{\"return\": {\"status\": \"paused\"}, \"id\": 2}\n");
    const auto answer = qmp_->execute("query-status", {{"a", 1}}, 5s);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->at("status"), "paused");
    const auto sent = json::parse(heard());
    EXPECT_EQ(sent.at("execute"), "query-status");
    EXPECT_EQ(sent.at("arguments"), json({{"a", 1}}));
}

TEST_F(QmpTest, events_before_the_answer_are_kept_in_order)
{
    connect();
    peer_says("{\"event\": \"STOP\", \"timestamp\": {}}\n"
              "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\n"
              "{\"return\": {}, \"id\": 2}\n");
    ASSERT_TRUE(qmp_->execute("stop", json::object(), 5s));
    peer_says("{\"event\": \"RESUME\"}\n");
    const auto events = qmp_->take_events();
    ASSERT_EQ(events.size(), 3U);
    EXPECT_EQ(events[0].name, "STOP");
    EXPECT_EQ(events[1].data.at("reason"), "guest-reset");
    EXPECT_EQ(events[2].name, "RESUME");
    EXPECT_TRUE(qmp_->take_events().empty());
}

TEST_F(QmpTest, an_error_answer_carries_qemus_words)
{
    connect();
    peer_says("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such thing\"}, \"id\": 2}\n");
    const auto answer = qmp_->execute("frobnicate", json::object(), 5s);
    ASSERT_FALSE(answer);
    EXPECT_THAT(answer.error().message, AllOf(HasSubstr("frobnicate"), HasSubstr("no such thing")));
}

TEST_F(QmpTest, the_human_monitors_words_are_an_error_and_silence_is_none)
{
    connect();
    peer_says("{\"return\": \"\", \"id\": 2}\n{\"return\": \"Error: no snapshot\\r\\n\", \"id\": 3}\n");
    EXPECT_TRUE(qmp_->execute_human("loadvm a", 5s));
    const auto refused = qmp_->execute_human("loadvm b", 5s);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, AllOf(HasSubstr("loadvm b"), HasSubstr("no snapshot")));
}

TEST_F(QmpTest, a_late_answer_is_not_taken_for_the_next_one)
{
    connect();
    EXPECT_FALSE(qmp_->execute("slow", json::object(), 0ms));
    peer_says("{\"return\": \"late\", \"id\": 2}\n{\"return\": \"mine\", \"id\": 3}\n");
    const auto answer = qmp_->execute("quick", json::object(), 5s);
    ASSERT_TRUE(answer);
    EXPECT_EQ(*answer, "mine");
}

TEST_F(QmpTest, a_peer_that_leaves_is_an_error_not_a_wait)
{
    connect();
    pair_.theirs.reset();
    EXPECT_FALSE(qmp_->execute("query-status", json::object(), 1h));
    EXPECT_TRUE(qmp_->closed() || !qmp_->execute("query-status", json::object(), 1h));
}

TEST_F(QmpTest, garbage_is_an_error_with_its_text)
{
    for (const auto* garbage : {"no json\n", "[1, 2]\n", "{\"return\": \n", "\n"}) {
        vm::SocketPair pair = vm::make_socket_pair().value();
        ASSERT_GT(send(pair.theirs.get(), garbage, std::string_view(garbage).size(), 0), 0);
        const auto qmp = vm::Qmp::connect(std::move(pair.ours), 5s);
        ASSERT_FALSE(qmp) << garbage;
        EXPECT_THAT(qmp.error().message, HasSubstr("no JSON object"));
    }
}

TEST_F(QmpTest, a_greeting_of_another_kind_is_refused)
{
    peer_says("{\"hello\": 1}\n");
    EXPECT_FALSE(vm::Qmp::connect(std::move(pair_.ours), 5s));
}
