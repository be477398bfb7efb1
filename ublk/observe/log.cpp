#include "ublk/observe/log.hpp"

#include <cerrno>
#include <string>
#include <unistd.h>

namespace ublk::observe {

std::string_view to_string(Level level)
{
    constexpr std::array<std::string_view, 4> names{"error", "warning", "info", "debug"};
    return names[static_cast<std::size_t>(level)];
}

Log::Log(Sink sink, const LogOptions& options)
    : level_(options.level), grace_(options.grace),
      state_(std::make_shared<State>(std::move(sink), options.capacity)), thread_([state = state_] {
          run(*state);
          state->over.set_value();
      })
{
}

Log::~Log()
{
    state_->closing.store(true, std::memory_order_release);
    state_->news.fetch_add(1, std::memory_order_release);
    state_->news.notify_one();
    if (state_->over.get_future().wait_for(grace_) == std::future_status::ready)
        thread_.join();
    else
        thread_.detach();
}

bool Log::put(Entry& entry) noexcept
{
    entry.time = std::chrono::system_clock::now();
    if (!state_->waiting.push(entry)) {
        state_->dropped.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    state_->news.fetch_add(1, std::memory_order_release);
    state_->news.notify_one();
    return true;
}

void Log::hand_over(State& state, const LogMessage& message) noexcept
{
    try {
        state.sink(message);
    } catch (...) { // NOLINT(bugprone-empty-catch): there is nowhere left to say it
    }
}

void Log::run(State& state) noexcept
{
    std::uint64_t reported = 0;
    for (;;) {
        const auto seen = state.news.load(std::memory_order_acquire);
        const bool last = state.closing.load(std::memory_order_acquire);
        Entry entry;
        while (state.waiting.pop(entry))
            hand_over(state, {entry.level, entry.time, {entry.text.data(), entry.length}});
        if (const auto dropped = state.dropped.load(std::memory_order_relaxed); dropped != reported) {
            const std::string text = fmt::format(
                "{} messages were dropped: they came faster than they could be written", dropped - reported);
            hand_over(state, {Level::warning, std::chrono::system_clock::now(), text});
            reported = dropped;
        }
        if (last)
            return;
        state.news.wait(seen, std::memory_order_acquire);
    }
}

Log::Sink to_descriptor(int fd, std::string prefix)
{
    return [fd, prefix = std::move(prefix)](const LogMessage& message) {
        const std::string line = fmt::format("{}: {}: {}\n", prefix, to_string(message.level), message.text);
        std::string_view rest = line;
        while (!rest.empty()) {
            const auto written = ::write(fd, rest.data(), rest.size());
            if (written < 0 && errno != EINTR)
                return;
            rest.remove_prefix(written > 0 ? static_cast<std::size_t>(written) : 0);
        }
    };
}

} // namespace ublk::observe
