#include "ublk/serve/recording.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace ublk::serve {
namespace {

using ::testing::HasSubstr;

struct Flat {
    std::int32_t handle(engine::Io& io) noexcept { return static_cast<std::int32_t>(io.data.size()); }
};

class RecordingsTest : public ::testing::Test {
  protected:
    void TearDown() override { std::filesystem::remove(path_); }

    std::string content() const
    {
        std::ifstream file(path_);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    static long lines(const std::string& text) { return std::ranges::count(text, '\n'); }

    std::string path_ = ::testing::TempDir() + "ublk-recording-" + std::to_string(::getpid());
};

TEST_F(RecordingsTest, SaveWhatCameThroughTheDecorators)
{
    std::ofstream(path_) << "something longer that was there before, and must not shine through\n";
    const std::vector<DecoratorRequest> requests{RecordRequest{path_, 8},
                                                 backends::FaultOptions{.which = {.after = 1}}};
    auto recordings = Recordings::open(requests, 1);
    ASSERT_TRUE(recordings.has_value()) << recordings.error().message();
    Flat flat;
    backends::Decorated decorated(flat, (*recordings)->decorators());
    engine::Io io{.op = uapi::IoOp::flush};
    EXPECT_EQ(decorated.handle(io), 0);
    EXPECT_EQ(decorated.handle(io), -EIO);
    ASSERT_TRUE((*recordings)->save().has_value());
    EXPECT_EQ(lines(content()), 2) << content();
    EXPECT_THAT(content(), HasSubstr("\"result\":-5"));
    EXPECT_EQ(content().find("longer"), std::string::npos);
}

TEST_F(RecordingsTest, SaveAtSigusr1)
{
    const std::vector<DecoratorRequest> requests{RecordRequest{path_, 8}};
    auto recordings = Recordings::open(requests, 1);
    ASSERT_TRUE(recordings.has_value());
    Flat flat;
    backends::Decorated decorated(flat, (*recordings)->decorators());
    engine::Io io{.op = uapi::IoOp::flush};
    decorated.handle(io);
    EXPECT_EQ(content(), "");
    ::kill(::getpid(), SIGUSR1);
    for (int i = 0; i < 2000 && lines(content()) == 0; ++i)
        ::usleep(10'000);
    EXPECT_EQ(lines(content()), 1);
}

// A thread that does not block SIGTERM takes it from a server that waits for it with the signal blocked.
[[noreturn]] void be_told_to_end(const std::string& path)
{
    const std::vector<DecoratorRequest> requests{RecordRequest{path, 8}};
    const auto recordings = Recordings::open(requests, 1);
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::kill(::getpid(), SIGTERM);
    int signal = 0;
    ::sigwait(&set, &signal);
    constexpr int status = 6;
    ::_exit(status);
}

TEST_F(RecordingsTest, LeaveTheSignalsOfTheServerAlone)
{
    EXPECT_EXIT(be_told_to_end(path_), ::testing::ExitedWithCode(6), "");
}

TEST_F(RecordingsTest, SayWhichFileCannotBeWritten)
{
    const std::vector<DecoratorRequest> requests{RecordRequest{"/no/such/directory/file", 8}};
    const auto recordings = Recordings::open(requests, 1);
    ASSERT_FALSE(recordings.has_value());
    EXPECT_THAT(recordings.error().message(), HasSubstr("/no/such/directory/file"));
}

[[noreturn]] void serve_and_give_up(const std::string& path)
{
    const std::vector<DecoratorRequest> requests{RecordRequest{path, 8}};
    const auto recordings = Recordings::open(requests, 1);
    Flat flat;
    backends::Decorated decorated(flat, (*recordings)->decorators());
    engine::Io io{.op = uapi::IoOp::flush};
    decorated.handle(io);
    constexpr int status = 5;
    std::quick_exit(status);
}

TEST_F(RecordingsTest, LeaveAServerThatGivesUpItsLastWords)
{
    EXPECT_EXIT(serve_and_give_up(path_), ::testing::ExitedWithCode(5), "");
    EXPECT_EQ(lines(content()), 1);
}

} // namespace
} // namespace ublk::serve
