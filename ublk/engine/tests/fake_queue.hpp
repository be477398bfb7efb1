// A QueueDriver in memory: hands out planned requests in random order and keeps book of what it is told.
#pragma once

#include "ublk/uapi/io.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace ublk::engine::testing {

struct PlannedRequest {
    uapi::IoDesc desc;
    std::vector<std::int32_t> results; // every commit that was accepted for it
};

// What the driver does out of the ordinary.
struct FakeFaults {
    std::optional<std::uint16_t> refused_fetch;        // -EINVAL for this tag's FETCH
    std::function<std::int32_t(std::uint16_t)> refuse; // 0, or why this tag's COMMIT is refused
    std::function<int()> wait_error;                   // 0, or what wait() returns instead of waiting
};

class FakeQueue {
  public:
    static constexpr std::size_t buffer_bytes = 8192;

    FakeQueue(std::uint16_t depth, std::vector<uapi::IoDesc> requests, std::uint32_t seed,
              FakeFaults faults = {})
        : tags_(depth), buffers_(depth * buffer_bytes), random_(seed), faults_(std::move(faults))
    {
        for (const auto& desc : requests)
            plan_.push_back({desc, {}});
        for (auto& request : plan_)
            request.results.reserve(4);
        prepared_.reserve(depth * 2U);
        completions_.reserve(depth * 2U);
        violations_.reserve(16);
    }

    // QueueDriver
    std::uint16_t depth() const noexcept { return static_cast<std::uint16_t>(tags_.size()); }
    void fetch(std::uint16_t tag) noexcept { prepared_.push_back({tag, true, 0}); }
    void commit(std::uint16_t tag, std::int32_t result) noexcept
    {
        prepared_.push_back({tag, false, result});
    }
    int submit() noexcept
    {
        for (const auto& command : prepared_)
            accept(command);
        prepared_.clear();
        return 0;
    }
    int wait() noexcept
    {
        submit();
        if (const int error = faults_.wait_error ? faults_.wait_error() : 0; error != 0)
            return error;
        if (completions_.empty() && count(State::armed) == 0) {
            violation("waits with nothing armed");
            return -EDEADLK;
        }
        while (completions_.empty())
            deliver();
        return 0;
    }
    template <typename F>
    void drain(F&& on_completion) noexcept
    {
        std::shuffle(completions_.begin(), completions_.end(), random_);
        while (!completions_.empty()) {
            const auto completion = completions_.back();
            completions_.pop_back();
            on_completion(completion.tag, completion.res);
        }
    }
    uapi::IoDesc descriptor(std::uint16_t tag) noexcept { return plan_[tags_[tag].request].desc; }
    std::span<std::byte> buffer(std::uint16_t tag) noexcept
    {
        return std::span(buffers_).subspan(tag * buffer_bytes, buffer_bytes);
    }

    // The book.
    const std::vector<PlannedRequest>& plan() const { return plan_; }
    const std::vector<std::string>& violations() const { return violations_; }
    std::size_t armed() const { return count(State::armed); }
    std::size_t owned() const { return count(State::owned); }

    // A completion out of nothing, as no kernel should send it.
    void inject(std::uint16_t tag, std::int32_t res) { completions_.push_back({tag, res}); }
    // From now on no request comes, only aborts, though some are left: the device is being stopped.
    void stop_after(std::size_t requests) { limit_ = requests; }

  private:
    enum class State : std::uint8_t { idle, armed, owned };
    struct Tag {
        State state = State::idle;
        std::size_t request = 0;
    };
    struct Command {
        std::uint16_t tag;
        bool is_fetch;
        std::int32_t result;
    };
    struct Completion {
        std::uint16_t tag;
        std::int32_t res;
    };

    std::size_t count(State state) const
    {
        return static_cast<std::size_t>(
            std::count_if(tags_.begin(), tags_.end(), [=](const Tag& tag) { return tag.state == state; }));
    }
    void violation(std::string what) { violations_.push_back(std::move(what)); }

    void accept(const Command& command)
    {
        Tag& tag = tags_[command.tag];
        const State needed = command.is_fetch ? State::idle : State::owned;
        if (tag.state != needed) {
            violation(command.is_fetch ? "fetches a tag that is not idle"
                                       : "commits a tag that it does not own");
            return;
        }
        if (command.is_fetch && faults_.refused_fetch == command.tag) {
            completions_.push_back({command.tag, -EINVAL});
            return;
        }
        if (!command.is_fetch) {
            if (const std::int32_t why = faults_.refuse ? faults_.refuse(command.tag) : 0; why != 0) {
                completions_.push_back({command.tag, why});
                return;
            }
            plan_[tag.request].results.push_back(command.result);
        }
        tag.state = State::armed;
    }

    // Each armed tag gets a request, an abort once requests are used up, or nothing yet.
    void deliver()
    {
        for (std::uint16_t number = 0; number < tags_.size(); ++number) {
            Tag& tag = tags_[number];
            if (tag.state != State::armed || random_() % 2 == 0)
                continue;
            if (next_ < std::min(limit_, plan_.size())) {
                tag = {State::owned, next_++};
                completions_.push_back({number, uapi::io_res_ok});
            } else {
                tag.state = State::idle;
                completions_.push_back({number, uapi::io_res_abort});
            }
        }
    }

    std::vector<Tag> tags_;
    std::vector<std::byte> buffers_;
    std::vector<PlannedRequest> plan_;
    std::vector<Command> prepared_;
    std::vector<Completion> completions_;
    std::vector<std::string> violations_;
    std::mt19937 random_;
    FakeFaults faults_;
    std::size_t next_ = 0;
    std::size_t limit_ = SIZE_MAX;
};

} // namespace ublk::engine::testing
