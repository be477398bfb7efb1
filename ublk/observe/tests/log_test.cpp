#include "ublk/observe/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <latch>
#include <mutex>
#include <string>
#include <unistd.h>
#include <vector>

namespace ublk::observe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Book {
    std::mutex mutex;
    std::vector<std::string> lines;

    Log::Sink sink()
    {
        return [this](const LogMessage& message) {
            const std::lock_guard lock(mutex);
            lines.push_back(fmt::format("{}: {}", to_string(message.level), message.text));
        };
    }
};

TEST(Log, HandsOverWhatItsLevelTakesInOrderBeforeItEnds)
{
    Book book;
    {
        Log log(book.sink(), {.level = Level::info});
        log.write(Level::error, "{} of {}", 1, 2);
        log.write(Level::debug, "too small");
        log.write(Level::info, "a {}", "text");
        EXPECT_FALSE(log.takes(Level::debug));
    }
    EXPECT_THAT(book.lines, ElementsAre("error: 1 of 2", "info: a text"));
}

TEST(Log, CutsATextThatIsTooLong)
{
    Book book;
    {
        Log log(book.sink());
        log.write(Level::error, "{}", std::string(1000, 'x'));
        log.write(Level::error, "{}", std::string(Log::max_text, 'y'));
    }
    EXPECT_THAT(book.lines, ElementsAre("error: " + std::string(Log::max_text, 'x'),
                                        "error: " + std::string(Log::max_text, 'y')));
}

TEST(Log, DropsAndCountsWhatASinkThatDoesNotReturnLeavesNoRoomForAndSaysSo)
{
    Book book;
    std::latch entered(1), release(1);
    {
        Log log(
            [&, sink = book.sink(), first = true](const LogMessage& message) mutable {
                if (std::exchange(first, false)) {
                    entered.count_down();
                    release.wait();
                }
                sink(message);
            },
            {.capacity = 8, .grace = std::chrono::minutes(1)});
        EXPECT_TRUE(log.write(Level::error, "held"));
        entered.wait();
        for (int i = 0; i < 8; ++i)
            EXPECT_TRUE(log.write(Level::error, "{}", i));
        for (int i = 0; i < 5; ++i)
            EXPECT_FALSE(log.write(Level::error, "too many"));
        EXPECT_EQ(log.dropped(), 5U);
        release.count_down();
    }
    ASSERT_EQ(book.lines.size(), 10U);
    EXPECT_EQ(book.lines[8], "error: 7");
    EXPECT_THAT(book.lines[9], HasSubstr("warning: 5 messages were dropped"));
}

TEST(Log, EndsThoughItsSinkNeverReturns)
{
    // Nothing of the test may go while the thread that was left to itself may still use it.
    struct Shared {
        std::promise<void> entered, left;
        std::latch release{1};
        ~Shared() { left.set_value(); }
    };
    auto shared = std::make_shared<Shared>();
    auto* const raw = shared.get();
    auto left = shared->left.get_future();
    auto entered = shared->entered.get_future();
    {
        Log log(
            [shared = std::move(shared)](const LogMessage&) {
                shared->entered.set_value();
                shared->release.wait();
            },
            {.grace = std::chrono::milliseconds(0)});
        log.write(Level::error, "for ever");
        entered.wait();
    } // returns
    raw->release.count_down();
    left.wait();
}

TEST(Log, GoesOnAfterASinkThatThrows)
{
    Book book;
    {
        Log log([&, sink = book.sink()](const LogMessage& message) {
            if (message.text == "bad")
                throw std::runtime_error("no");
            sink(message);
        });
        log.write(Level::error, "bad");
        log.write(Level::error, "good");
    }
    EXPECT_THAT(book.lines, ElementsAre("error: good"));
}

TEST(Log, WritesLinesToADescriptor)
{
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    {
        Log log(to_descriptor(ends[1], "ublk-serve"));
        log.write(Level::warning, "{} went wrong", "it");
    }
    ::close(ends[1]);
    std::array<char, 100> text{};
    const auto got = ::read(ends[0], text.data(), text.size());
    ::close(ends[0]);
    EXPECT_EQ(std::string_view(text.data(), static_cast<std::size_t>(got)),
              "ublk-serve: warning: it went wrong\n");
}

} // namespace
} // namespace ublk::observe
