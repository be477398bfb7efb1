// A backend that does as it is told and remembers what it was asked: to test what calls a backend.
#pragma once

#include "ublk/engine/io.hpp"

#include <deque>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace ublk::engine::testing {

// Any thread may call any of it. Requests are answered from the script, in the order in which they come; what
// the script does not reach is done in full.
class MockBackend {
  public:
    using Answer = std::function<std::int32_t(Io&)>;
    struct Seen {
        Io io;                       // without its data, which is gone when handle() returns
        std::vector<std::byte> data; // of a write
    };

    // The least that a device can be: every attribute and operation beyond read and write is up to the test.
    explicit MockBackend(const Geometry& geometry = {.size = 1 << 20, .block_size = 512})
        : geometry_(geometry)
    {
    }

    Geometry geometry() const { return geometry_; }

    // What the next request without an answer gets: a result, or what a function makes of the request.
    MockBackend& answer(std::int32_t result)
    {
        return answer([result](Io&) { return result; });
    }
    MockBackend& answer(Answer answer)
    {
        const std::lock_guard lock(mutex_);
        script_.push_back(std::move(answer));
        return *this;
    }

    std::int32_t handle(Io& io) noexcept
    {
        const std::lock_guard lock(mutex_);
        seen_.push_back({io, {}});
        seen_.back().io.data = {};
        if (io.op == uapi::IoOp::write)
            seen_.back().data.assign(io.data.begin(), io.data.end());
        if (script_.empty())
            return static_cast<std::int32_t>(io.data.size());
        const Answer next = std::move(script_.front());
        script_.pop_front();
        return next(io);
    }

    std::vector<Seen> seen() const
    {
        const std::lock_guard lock(mutex_);
        return seen_;
    }
    std::size_t answers_left() const
    {
        const std::lock_guard lock(mutex_);
        return script_.size();
    }

  private:
    Geometry geometry_;
    mutable std::mutex mutex_;
    std::deque<Answer> script_;
    std::vector<Seen> seen_;
};

} // namespace ublk::engine::testing
