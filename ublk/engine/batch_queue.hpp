// One queue of a ublk device in the kernel, with commands for many tags at once (UBLK_F_BATCH_IO, 7.0): one
// multishot FETCH_IO_CMDS brings the numbers of tags that have requests, COMMIT_IO_CMDS takes the results of
// all that were answered since the last enter.
#pragma once

#include "ublk/engine/queue_base.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
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
    int wait() noexcept;
    int look() noexcept;

    template <typename F>
    unsigned drain(F&& on_completion) noexcept
    {
        unsigned commands = 0;
        ring_.for_each([&](const io_uring_cqe& cqe) {
            const auto kind = static_cast<std::uint32_t>(cqe.user_data >> kind_shift) & 0xffffU;
            if (kind == kind_fetch) [[likely]]
                commands += fetched(cqe, on_completion);
            else if (kind == kind_commit)
                committed(static_cast<std::uint16_t>(cqe.user_data), cqe.res, on_completion);
            else if (kind == static_cast<std::uint32_t>(Done::op))
                on_completion(static_cast<std::uint16_t>(cqe.user_data), cqe.res, Done::op);
            else
                leaves_armed_ |= kind == kind_leave;
        });
        return commands;
    }
    // After the end of fetching, and once it has taken all commits, every tag that the driver holds is over.
    bool all_aborted() const noexcept { return ended_ && in_flight_ == 0 && committing_.empty(); }

  private:
    static constexpr std::uint32_t kind_fetch = kind_first_own, kind_commit = kind_first_own + 1;
    static constexpr std::uint16_t most_commits = 8; // COMMIT_IO_CMDS that can be in flight

    // Elements as the driver reads them, in a buffer that stays where it is.
    struct Elements {
        explicit Elements(std::uint16_t depth);
        bool empty() const noexcept { return end == bytes.get(); }
        void clear() noexcept { end = bytes.get(); }

        std::unique_ptr<std::byte[]> bytes;
        std::byte* end = nullptr;
    };
    struct Commit {
        Elements elements;
        const std::byte* first = nullptr; // element that the command in flight begins with
        bool in_flight = false;
    };
    static constexpr std::size_t largest_element = 24;
    explicit BatchQueue(QueueBase base);
    Result<void> provide_buffers();
    // The address is written in any case: where elements have none, the next one is written over it.
    void append(Elements& to, std::uint16_t tag, std::int32_t result) noexcept
    {
        const uapi::BatchElem element{.tag = tag, .buf_index = tag, .result = result};
        std::memcpy(to.end, &element, sizeof(element));
        std::memcpy(to.end + sizeof(element), &addresses_[tag], sizeof(addresses_[tag]));
        to.end += element_bytes_;
    }
    void send(unsigned slot, uapi::IoNr nr, std::span<const std::byte> elements, std::uint64_t data) noexcept;
    void send_fetch() noexcept;
    void send_commit(std::uint16_t number) noexcept;
    void flush() noexcept;

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
        for (std::int32_t at = 0; at + 1 < cqe.res; at += 2) {
            std::uint16_t tag = 0;
            std::memcpy(&tag, numbers + at, sizeof(tag));
            on_completion(tag, uapi::io_res_ok, Done::command);
        }
        provide(id);
        return cqe.res > 0 ? static_cast<unsigned>(cqe.res) / sizeof(std::uint16_t) : 0U;
    }

    // The driver stops at the first element that it refuses: what comes after it is sent again, and what it
    // refuses at once is its answer to that tag.
    template <typename F>
    void committed(std::uint16_t number, std::int32_t res, F& on_completion) noexcept
    {
        Commit& commit = commits_[number];
        commit.in_flight = false;
        --in_flight_;
        const unsigned taken = res > 0 ? static_cast<unsigned>(res) / element_bytes_ : 0U;
        commit.first += std::min<std::ptrdiff_t>(std::ptrdiff_t{taken} * element_bytes_,
                                                 commit.elements.end - commit.first);
        if (res <= 0 && commit.first < commit.elements.end) {
            std::uint16_t tag = 0;
            std::memcpy(&tag, commit.first, sizeof(tag));
            commit.first += element_bytes_;
            on_completion(tag, res < 0 ? res : -EPROTO, Done::command);
        }
        if (commit.first < commit.elements.end)
            send_commit(number);
        else
            commit.elements.clear();
    }
    void provide(std::uint16_t id) noexcept;

    unsigned element_bytes_ = sizeof(uapi::BatchElem);
    uapi::BatchFlags flags_;
    Elements preparing_, committing_;
    std::vector<Commit> commits_;
    std::vector<std::uint64_t> addresses_; // of the tags' buffers, as commands give them
    unsigned in_flight_ = 0;               // commits
    bool fetching_ = false;                // a FETCH_IO_CMDS is with the driver
    bool ended_ = false;                   // the driver fetches no more
    Pages buffer_ring_, tag_buffers_;
    unsigned tag_buffer_bytes_ = 0;
    std::uint16_t buffers_ = 0; // a power of two
};

} // namespace ublk::engine
