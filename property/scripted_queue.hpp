// The driver's side of a queue as a script has it, and the judge of the server on the other side. It leans on
// counts of its own, not on the tag table: what the server sent, what it was handed, how each request ended.
#pragma once

#include "property/script.hpp"
#include "ublk/engine/io.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace property {

// What was met while scripts were played.
struct Tally {
    std::uint64_t steps = 0;                 // that had an effect
    std::array<std::uint64_t, 8> kinds{};    // of them, by Kind
    std::array<std::uint64_t, 8> answers{};  // by Answer
    std::uint64_t rest_sent_again = 0;       // short reads whose rest came as a request of its own
    std::uint64_t aborts_among_requests = 0; // batches that held both
    std::uint64_t stuck_ends = 0;            // servers that had to give up a request
};

class ScriptedQueue {
  public:
    ScriptedQueue(const Script& script, Tally& tally, std::vector<std::string>* trace);

    // QueueDriver
    std::uint16_t depth() const noexcept { return driver_.depth(); }
    ublk::engine::TagRange tags() const noexcept { return driver_.tags(); }
    void fetch(std::uint16_t tag) noexcept;
    void commit(std::uint16_t tag, std::int32_t result) noexcept;
    void get_data(std::uint16_t tag) noexcept { driver_.get_data(tag); } // not asked for: payload comes along
    bool mapped() const noexcept { return true; }
    void start(std::uint16_t, const ublk::engine::RingOp&, ublk::uapi::IoFlags) noexcept {
    } // the backend has none
    std::int32_t bring(std::uint16_t, std::span<std::byte>) noexcept { return 0; }
    std::int32_t deliver(std::uint16_t, std::span<const std::byte>) noexcept { return 0; }
    bool short_reads() const noexcept { return true; }
    int submit() noexcept;
    int wait() noexcept;
    int look() noexcept { return submit(); }
    bool leaves_armed() const noexcept { return false; }
    template <typename F>
    unsigned drain(F&& on_completion) noexcept
    {
        batch_ = {};
        unsigned taken = 0;
        for (; reap_ > 0 && driver_.completions() > 0 && !gone(); --reap_) {
            const auto [tag, res, what] = hand_over();
            on_completion(tag, res, what);
            handled(tag, res);
            ++taken;
        }
        return taken;
    }
    ublk::uapi::IoDesc descriptor(std::uint16_t tag) noexcept;
    std::span<std::byte> buffer(std::uint16_t tag) noexcept { return driver_.buffer(tag); }

    // The backend's answer to a request, which is checked as it was handed over.
    std::int32_t answer(const ublk::engine::Io& io) noexcept;

    // A server starts, is stopped before it has served, is over. One after the other until more() is false.
    void begin_server();
    void stop() { stopping_ = true; }
    void end_server(const ublk::engine::QueueEnd& end);
    bool more() const { return !complaint_ && (next_ < script_.steps.size() || !waiting_.empty()); }
    // After the last server: judges what only the end shows.
    void finish();

    // The first property that was broken, in words.
    const std::optional<std::string>& complaint() const { return complaint_; }

  private:
    struct Request {
        std::size_t op = 0; // index into request_ops
        std::uint32_t sectors = 0;
        Answer answer = Answer::full;
        unsigned completed = 0;
    };
    // What the server holds of a tag, by our count.
    struct Side {
        unsigned commands = 0; // sent, and not come back
        unsigned requests = 0; // handed over, and not committed
        unsigned answers = 0;  // of the backend to the request
        std::int32_t said = 0; // the last of them
        bool committing = false;
        std::optional<std::int32_t> committed; // that may be refused: the same must come again
    };

    bool gone() const { return dead_ || complaint_.has_value(); }
    void live(); // one call nearer to a death
    void complain(std::string what);
    void say(std::string what);

    int play();
    bool take_effect(const Step& step);
    bool offer(const Step& step);
    bool dispatch(std::uint32_t pick);
    bool abort(std::uint32_t pick);
    int finish_off();
    std::vector<std::uint16_t> armed() const;

    ublk::engine::testing::FakeQueue::Completion hand_over();
    void handled(std::uint16_t tag, std::int32_t res);
    void one_side(std::uint16_t tag);
    bool fits(const Request& request) const;
    const Request& request_of(std::uint16_t tag) const
    {
        return requests_[planned_[driver_.request_of(tag)]];
    }
    void judge_result(std::uint16_t tag, std::int32_t result);
    void judge_end(const ublk::engine::QueueEnd& end);
    void accepted(std::size_t planned, std::int32_t result);

    const Script& script_;
    Tally& tally_;
    std::vector<std::string>* trace_;
    std::size_t next_ = 0; // step

    std::vector<Request> requests_;
    std::deque<std::size_t> waiting_;        // requests that no server has
    std::vector<std::size_t> planned_;       // request of each plan entry
    std::vector<std::int32_t> refuse_fetch_; // of each tag, the next one
    std::vector<Side> sides_;
    std::int32_t refuse_commit_ = 0;
    int submit_error_ = 0;
    std::size_t reap_ = 0; // completions that the next drain hands over
    std::uint32_t order_ = 0;
    bool stopping_ = false, dead_ = false, fails_requests_ = false;
    std::optional<std::uint32_t> calls_left_; // until the server dies
    struct Batch {
        bool request = false, abort = false;
    } batch_;
    std::uint64_t handed_ = 0, errors_ = 0; // to and by this server
    bool fatal_ = false;                    // a COMMIT was refused for good
    int code_ = 0;                          // that this server must end with
    std::optional<std::string> complaint_;
    ublk::engine::testing::FakeQueue driver_;
};

// Plays the script on the engine's queue: the property that was broken, if one was.
std::optional<std::string> play(const Script& script, Tally& tally,
                                std::vector<std::string>* trace = nullptr);

} // namespace property
