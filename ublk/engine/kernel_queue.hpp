// One queue of a ublk device in the kernel, with a command per tag: FETCH_REQ, COMMIT_AND_FETCH_REQ.
#pragma once

#include "ublk/engine/queue_base.hpp"

namespace ublk::engine {

// A QueueDriver.
class KernelQueue : public QueueBase {
  public:
    static Result<KernelQueue> open(const KernelQueueOptions& options);

    void fetch(std::uint16_t tag) noexcept { send(uapi::IoNr::fetch_req, tag, 0); }
    void commit(std::uint16_t tag, std::int32_t result) noexcept
    {
        send(uapi::IoNr::commit_and_fetch_req, tag, result);
    }
    // Of a device with zones, which commits all of its requests so: where the driver takes no address, its
    // place is for the sector.
    void commit_append(std::uint16_t tag, std::int32_t result, std::uint64_t sector) noexcept
    {
        wire::set_io_address(ring_.slot(tag), sector);
        commit(tag, result);
    }
    void get_data(std::uint16_t tag) noexcept { send(uapi::IoNr::need_get_data, tag, 0); }
    void place(std::uint16_t tag, std::byte* payload) noexcept
    {
        if (!copies_)
            wire::set_io_address(ring_.slot(tag), std::bit_cast<std::uintptr_t>(payload));
    }
    std::byte* told(std::uint16_t tag) noexcept
    {
        return copies_ ? buffer(tag).data() : std::bit_cast<std::byte*>(wire::io_address(ring_.slot(tag)));
    }
    int submit() noexcept { return ring_.submit(); }
    int wait() noexcept { return ring_.submit_and_wait(1); }
    int look() noexcept;
    void aborted() noexcept { leaves_armed_ |= options_.leaves_when_quiesced; }

    // Takes what was there when it began; completions that arrive meanwhile are for the next call.
    template <typename F>
    unsigned drain(F&& on_completion) noexcept
    {
        return ring_.for_each([&](const io_uring_cqe& cqe) {
            Done what = Done::command;
            if (cqe.user_data >= options_.depth) [[unlikely]] { // no command of a tag
                const auto kind = static_cast<std::uint32_t>(cqe.user_data >> kind_shift);
                leaves_armed_ |= kind == kind_leave;
                what = kind < kind_others ? static_cast<Done>(kind) : Done::nothing;
            }
            on_completion(static_cast<std::uint16_t>(cqe.user_data), cqe.res, what);
        });
    }

  protected:
    explicit KernelQueue(QueueBase base);

  private:
    void send(uapi::IoNr nr, std::uint16_t tag, std::int32_t result) noexcept
    {
        UBLK_ASSERT(!ring_.full(), "queue {}: no free entry for tag {}", options_.queue, tag);
        wire::change_io(ring_.slot(tag), uapi::opcode(nr), result);
        ring_.send_slot(tag);
    }
};

} // namespace ublk::engine
