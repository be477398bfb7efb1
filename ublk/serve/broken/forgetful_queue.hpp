// A queue that does not commit what met an error, so that its tag stays with the server for ever.
#pragma once

#include "ublk/engine/kernel_queue.hpp"

namespace ublk::serve::broken {

class ForgetfulQueue {
  public:
    explicit ForgetfulQueue(engine::KernelQueue& queue) : queue_(queue) {}

    std::uint16_t depth() const noexcept { return queue_.depth(); }
    engine::TagRange tags() const noexcept { return queue_.tags(); }
    void fetch(std::uint16_t tag) noexcept { queue_.fetch(tag); }
    void commit(std::uint16_t tag, std::int32_t result) noexcept
    {
        if (result >= 0)
            queue_.commit(tag, result);
    }
    void commit_append(std::uint16_t tag, std::int32_t result, std::uint64_t sector) noexcept
    {
        if (result >= 0)
            queue_.commit_append(tag, result, sector);
    }
    void get_data(std::uint16_t tag) noexcept { queue_.get_data(tag); }
    bool mapped() const noexcept { return queue_.mapped(); }
    std::int32_t bring(std::uint16_t tag, std::span<std::byte> data) noexcept
    {
        return queue_.bring(tag, data);
    }
    std::int32_t deliver(std::uint16_t tag, std::span<const std::byte> data) noexcept
    {
        return queue_.deliver(tag, data);
    }
    bool short_reads() const noexcept { return queue_.short_reads(); }
    void start(std::uint16_t tag, const engine::RingOp& op, uapi::IoFlags flags) noexcept
    {
        queue_.start(tag, op, flags);
    }
    int submit() noexcept { return queue_.submit(); }
    int wait() noexcept { return queue_.wait(); }
    int look() noexcept { return queue_.look(); }
    void aborted() noexcept { queue_.aborted(); }
    bool leaves_armed() const noexcept { return queue_.leaves_armed(); }
    template <typename F>
    unsigned drain(F&& on_completion) noexcept
    {
        return queue_.drain(std::forward<F>(on_completion));
    }
    uapi::IoDesc descriptor(std::uint16_t tag) noexcept { return queue_.descriptor(tag); }
    std::span<std::byte> buffer(std::uint16_t tag) noexcept { return queue_.buffer(tag); }

  private:
    engine::KernelQueue& queue_;
};

} // namespace ublk::serve::broken
