// A log that never holds its writers up: messages wait in a bounded ring for a thread of the log's own, which
// hands them to the sink. What finds the ring full is dropped, and counted.
#pragma once

#include "ublk/observe/ring.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fmt/core.h>
#include <functional>
#include <future>
#include <memory>
#include <string_view>
#include <thread>

namespace ublk::observe {

enum class Level : std::uint8_t { error, warning, info, debug };
std::string_view to_string(Level level); // "error", …

struct LogMessage {
    Level level = Level::info;
    std::chrono::system_clock::time_point time;
    std::string_view text; // one line; gone when the sink returns
};

struct LogOptions {
    Level level = Level::warning; // the least important that is taken
    std::size_t capacity = 1024;  // messages that may wait
    // How long the end of the log waits for the sink, before it leaves sink and thread to themselves.
    std::chrono::milliseconds grace{1000};
};

class Log {
  public:
    // Called on the log's thread, one message at a time. It may block for ever; what it throws is lost.
    using Sink = std::function<void(const LogMessage&)>;

    explicit Log(Sink sink, const LogOptions& options = {});
    ~Log(); // hands over what waits, within the grace
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    bool takes(Level level) const noexcept { return level <= level_; }

    // From any thread: no lock, no allocation, no wait. A text of more than max_text bytes is cut. False: it
    // was dropped.
    template <typename... A>
    bool write(Level level, fmt::format_string<A...> format, A&&... values) noexcept
    {
        if (!takes(level))
            return true;
        Entry entry;
        entry.level = level;
        const auto end = fmt::format_to_n(entry.text.data(), max_text, format, std::forward<A>(values)...);
        entry.length = static_cast<std::uint8_t>(end.out - entry.text.data());
        return put(entry);
    }

    std::uint64_t dropped() const noexcept { return state_->dropped.load(std::memory_order_relaxed); }

    static constexpr std::size_t max_text = 230;

  private:
    struct Entry {
        std::chrono::system_clock::time_point time;
        Level level = Level::info;
        std::uint8_t length = 0;
        std::array<char, max_text> text{};
    };
    // Shared with the thread, which may outlive the log.
    struct State {
        State(Sink s, std::size_t capacity) : sink(std::move(s)), waiting(capacity) {}
        Sink sink;
        BoundedRing<Entry> waiting;
        std::atomic<std::uint32_t> news = 0; // changes when there is something to do
        std::atomic<std::uint64_t> dropped = 0;
        std::atomic<bool> closing = false;
        std::promise<void> over;
    };
    bool put(Entry& entry) noexcept;
    static void hand_over(State& state, const LogMessage& message) noexcept;
    static void run(State& state) noexcept;

    Level level_;
    std::chrono::milliseconds grace_;
    std::shared_ptr<State> state_;
    std::thread thread_;
};

// A sink that writes "PREFIX: LEVEL: TEXT" and a line's end to a file descriptor, which stays open.
Log::Sink to_descriptor(int fd, std::string prefix);

} // namespace ublk::observe
