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
    void commit_append(std::uint16_t tag, std::int32_t result, std::uint64_t sector) noexcept
    {
        send(uapi::IoNr::commit_and_fetch_req, tag, result, sector);
    }
    void get_data(std::uint16_t tag) noexcept { send(uapi::IoNr::need_get_data, tag, 0); }
    int submit() noexcept { return ring_.submit(); }
    int wait() noexcept { return ring_.submit_and_wait(1); }
    int look() noexcept;

    // Takes what was there when it began; completions that arrive meanwhile are for the next call.
    template <typename F>
    unsigned drain(F&& on_completion) noexcept
    {
        return ring_.for_each([&](const io_uring_cqe& cqe) {
            const auto kind = static_cast<std::uint32_t>(cqe.user_data >> kind_shift);
            if (kind < kind_others) [[likely]] {
                if (cqe.res != uapi::io_res_ok && cqe.res == uapi::io_res_abort) [[unlikely]]
                    leaves_armed_ |= options_.leaves_when_quiesced;
                on_completion(static_cast<std::uint16_t>(cqe.user_data), cqe.res, static_cast<Done>(kind));
            } else {
                leaves_armed_ |= kind == kind_leave;
            }
        });
    }

  protected:
    explicit KernelQueue(QueueBase base);

  private:
    // Where the driver takes no address, its place is for the sector of a ZONE_APPEND.
    void send(uapi::IoNr nr, std::uint16_t tag, std::int32_t result, std::uint64_t sector = 0) noexcept
    {
        UBLK_ASSERT(!ring_.full(), "queue {}: no free entry for tag {}", options_.queue, tag);
        const uapi::IoCmd command{
            .q_id = options_.queue, .tag = tag, .result = result, .addr = command_address(tag) + sector};
        wire::write_io(ring_.entry_to_write(), uapi::opcode(nr), command, tag,
                       (auto_buf_ | tag) & auto_buf_mask_);
    }

    std::uint64_t auto_buf_ = 0, auto_buf_mask_ = 0; // of sqe->addr
};

} // namespace ublk::engine
