// One queue of a ublk device in the kernel, with commands for many tags at once (UBLK_F_BATCH_IO, 7.0): one
// multishot FETCH_IO_CMDS brings the numbers of tags that have requests, COMMIT_IO_CMDS takes the results of
// all that were answered since the last enter.
#pragma once

#include "ublk/engine/queue_base.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace ublk::engine {

// A QueueDriver. A queue has one server thread here: the driver would allow more.
class BatchQueue : public QueueBase {
  public:
    static Result<BatchQueue> open(const KernelQueueOptions& options);

    void fetch(std::uint16_t tag) noexcept { append(preparing_, tag, 0); }
    void commit(std::uint16_t tag, std::int32_t result) noexcept { append(committing_, tag, result); }
    // Of a device with zones: the sector is the last field of an element.
    void commit_append(std::uint16_t tag, std::int32_t result, std::uint64_t sector) noexcept
    {
        append(committing_, tag, result);
        std::memcpy(committing_.end - sizeof(sector), &sector, sizeof(sector));
    }
    void get_data(std::uint16_t) noexcept {} // no such command on a batch device: never asked for
    // The driver takes no address where we copy, and otherwise that of the tag's buffer.
    void place(std::uint16_t, std::byte*) noexcept {}
    std::byte* told(std::uint16_t tag) noexcept { return buffer(tag).data(); }
    // Hands over the tags that are to be fetched, and waits for the answer; 0 or -errno.
    int submit() noexcept;
    // A commit completes in the enter that sends it. Waiting for one completion more saves the enter that
    // would come back with nothing else; should the driver keep a commit for itself, the limit ends the wait.
    int wait() noexcept
    {
        flush();
        if (in_flight_ == 0 || ended_) [[unlikely]]
            return ring_.submit_and_wait(1);
        static constexpr __kernel_timespec limit{.tv_sec = 1, .tv_nsec = 0};
        const int res = ring_.submit_and_wait(in_flight_ + 1, limit);
        return res == -ETIME ? 0 : res;
    }
    int look() noexcept;

    template <typename F>
    unsigned drain(F&& on_completion) noexcept
    {
        unsigned told = 0;
        ring_.for_each([&](const io_uring_cqe& cqe) {
            const auto kind = static_cast<std::uint32_t>(cqe.user_data >> kind_shift) & 0xffffU;
            if (kind == kind_fetch) [[likely]]
                told += fetched(cqe, on_completion);
            else if (kind == kind_commit) {
                if (const auto refusal = committed(static_cast<std::uint16_t>(cqe.user_data), cqe.res))
                    [[unlikely]] {
                    on_completion(refusal->tag, refusal->res, Done::command);
                    ++told;
                }
            } else if (kind == static_cast<std::uint32_t>(Done::op)) {
                on_completion(static_cast<std::uint16_t>(cqe.user_data), cqe.res, Done::op);
                ++told;
            } else
                leaves_armed_ |= kind == kind_leave;
        });
        return told;
    }
    // After the end of fetching, and once it has taken all commits, every tag that the driver holds is over.
    bool all_aborted() const noexcept { return ended_ && in_flight_ == 0 && committing_.empty(); }

  private:
    static constexpr std::uint32_t kind_fetch = kind_first_own, kind_commit = kind_first_own + 1;
    static constexpr std::uint16_t most_commits = 8; // COMMIT_IO_CMDS that can be in flight
    static constexpr unsigned fetch_slot = 0, prepare_slot = 1, first_commit_slot = 2; // of the ring's extra

    // Elements as the driver reads them, in a part of element_bytes_ that stays where it is.
    struct Elements {
        bool empty() const noexcept { return end == begin; }
        void clear() noexcept { end = begin; }

        std::byte *begin = nullptr, *end = nullptr;
    };
    // What an element says of a tag, all but the result.
    struct alignas(16) TagElement {
        uapi::BatchElem element;
        std::uint64_t address; // of the tag's buffer
    };
    struct Commit {
        Elements elements;
        const std::byte* first = nullptr; // element that the command in flight begins with
    };
    static constexpr std::size_t largest_element = 24;
    explicit BatchQueue(QueueBase base);
    Result<void> provide_buffers();
    // The address is written in any case: where elements have none, the next one is written over it.
    void append(Elements& to, std::uint16_t tag, std::int32_t result) noexcept
    {
        std::byte* element = to.end;
        std::memcpy(element, &elements_[tag], sizeof(elements_[tag]));
        std::memcpy(element + offsetof(uapi::BatchElem, result), &result, sizeof(result));
        to.end = element + element_bytes_;
    }
    void prepare(unsigned slot, uapi::IoNr nr, std::span<const std::byte> elements,
                 std::uint64_t data) noexcept;
    void send_fetch() noexcept;
    void send_commit(std::uint16_t number) noexcept
    {
        Commit& commit = commits_[number];
        free_commits_ &= ~(1U << number);
        ++in_flight_;
        const auto elements = static_cast<unsigned>(commit.elements.end - commit.first) / element_bytes_;
        const unsigned slot = extra_slot(first_commit_slot + number);
        wire::change_batch(ring_.slot(slot), std::bit_cast<std::uintptr_t>(commit.first),
                           static_cast<std::uint16_t>(elements));
        ring_.send_slot(slot);
    }
    // With all commands in flight the results stay here until one is back: their completions end the wait.
    void flush() noexcept
    {
        if (!committing_.empty() && free_commits_ != 0) [[likely]] {
            const auto number = static_cast<std::uint16_t>(std::countr_zero(free_commits_));
            Commit& commit = commits_[number];
            std::swap(commit.elements, committing_);
            commit.first = commit.elements.begin;
            committing_.clear();
            send_commit(number);
        }
        if (!fetching_ && !ended_) [[unlikely]]
            send_fetch();
    }

    // The numbers that a FETCH brought, in the buffer that it chose; the buffer then is the driver's again.
    template <typename F>
    unsigned fetched(const io_uring_cqe& cqe, F& on_completion) noexcept
    {
        if ((cqe.flags & IORING_CQE_F_MORE) == 0)
            fetching_ = false;
        if (cqe.res == uapi::io_res_abort) {
            ended_ = true;
            leaves_armed_ |= options_.leaves_when_quiesced;
        }
        if ((cqe.flags & IORING_CQE_F_BUFFER) == 0)
            return 0;
        const auto id = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
        const std::byte* numbers = tag_buffers_.data() + std::size_t{id} * tag_buffer_bytes_;
        const unsigned count =
            cqe.res > 0 ? static_cast<unsigned>(cqe.res) / unsigned{sizeof(std::uint16_t)} : 0U;
        for (const std::byte* const end = numbers + count * sizeof(std::uint16_t); numbers != end;
             numbers += sizeof(std::uint16_t)) {
            std::uint16_t tag = 0;
            std::memcpy(&tag, numbers, sizeof(tag));
            on_completion(tag, uapi::io_res_ok, Done::command);
        }
        provide(id);
        return count;
    }

    // The driver stops at the first element that it refuses: what comes after it is sent again, and what it
    // refuses at once is its answer to that tag.
    struct Refusal {
        std::uint16_t tag;
        std::int32_t res;
    };
    std::optional<Refusal> committed(std::uint16_t number, std::int32_t res) noexcept
    {
        Commit& commit = commits_[number];
        free_commits_ |= 1U << number;
        --in_flight_;
        if (res != commit.elements.end - commit.first) [[unlikely]]
            return partly_committed(number, res);
        commit.elements.clear();
        return std::nullopt;
    }
    std::optional<Refusal> partly_committed(std::uint16_t number, std::int32_t res) noexcept;
    void provide(std::uint16_t id) noexcept
    {
        auto* ring = static_cast<io_uring_buf_ring*>(static_cast<void*>(buffer_ring_.data()));
        io_uring_buf_ring_add(ring, tag_buffers_.data() + std::size_t{id} * tag_buffer_bytes_,
                              tag_buffer_bytes_, id, buffers_ - 1, 0);
        io_uring_buf_ring_advance(ring, 1);
    }

    unsigned element_bytes_ = sizeof(uapi::BatchElem);
    uapi::BatchFlags flags_;
    std::vector<TagElement> elements_; // by tag
    std::unique_ptr<std::byte[]> element_store_;
    Elements preparing_, committing_;
    std::vector<Commit> commits_;
    unsigned in_flight_ = 0;                           // commits
    unsigned free_commits_ = (1U << most_commits) - 1; // a bit each
    bool fetching_ = false;                            // a FETCH_IO_CMDS is with the driver
    bool ended_ = false;                               // the driver fetches no more
    Pages buffer_ring_, tag_buffers_;
    unsigned tag_buffer_bytes_ = 0;
    std::uint16_t buffers_ = 0; // a power of two
};

} // namespace ublk::engine
