// An io_uring that checks and repairs nothing: what is prepared is what the kernel sees.
#pragma once

#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <expected>
#include <liburing.h>
#include <memory>
#include <optional>

namespace ublk::wire {

// Owns a file descriptor.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(other.release()) {}
    Fd& operator=(Fd&& other) noexcept;
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(); }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release()
    {
        const int fd = fd_;
        fd_ = -1;
        return fd;
    }
    void reset();

  private:
    int fd_ = -1;
};

struct RingOptions {
    unsigned entries = 64;
    unsigned cq_entries = 0; // 0: the kernel's choice, twice the entries
    bool sqe128 = true;      // control commands need it; I/O commands fit 64 bytes
    unsigned flags = 0;      // further IORING_SETUP_* bits
    bool slots = false;      // entries are used by number, see slot(); not with sqe128
};

struct Completion {
    std::uint64_t user_data = 0;
    std::int32_t res = 0;
    std::uint32_t flags = 0;
};

// One thread at a time. Moving keeps the ring; destroying closes it, which cancels what is in flight.
class Ring {
  public:
    // Error: positive errno of io_uring_setup.
    static std::expected<Ring, int> open(const RingOptions& options = {});

    // Next free submission entry, all zero (128 bytes of it with sqe128); nullptr when the queue is full.
    io_uring_sqe* sqe()
    {
        io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
        if (entry != nullptr)
            std::memset(static_cast<void*>(entry), 0,
                        sqe128() ? 2 * sizeof(io_uring_sqe) : sizeof(io_uring_sqe));
        return entry;
    }
    // Of a ring with slots, which is not asked for sqe(): an entry by its number, counted modulo their count.
    // It is all zero at first and then as it was left, so that what is sent again and again is prepared once.
    // send_slot() makes it the next that is sent, for a ring that cannot be full: hands off until it is.
    io_uring_sqe& slot(unsigned number) noexcept
    {
        io_uring_sq& sq = ring_->sq;
        return sq.sqes[number & sq.ring_mask];
    }
    void send_slot(unsigned number) noexcept
    {
        io_uring_sq& sq = ring_->sq;
        sq.array[sq.sqe_tail++ & sq.ring_mask] = number & sq.ring_mask;
    }
    bool full() const noexcept { return io_uring_sq_space_left(ring_.get()) == 0; }
    int submit(); // entries taken, or -errno
    // Sends what is prepared and waits for as many completions; as io_uring_enter, or -errno. Once in each
    // turn of a queue: without what liburing's does for rings with SQPOLL or IOPOLL, which none of ours is.
    int submit_and_wait(unsigned completions) noexcept
    {
        io_uring& ring = *ring_;
        const unsigned unsent = publish(ring);
        return io_uring_enter(static_cast<unsigned>(ring.enter_ring_fd), unsent, completions, enter_flags_,
                              nullptr);
    }
    // For no longer than `limit`: -ETIME if that was it, and nothing was there to be sent.
    int submit_and_wait(unsigned completions, const __kernel_timespec& limit) noexcept
    {
        io_uring_getevents_arg argument{};
        argument.ts = std::bit_cast<std::uintptr_t>(&limit);
        io_uring& ring = *ring_;
        const unsigned unsent = publish(ring);
        return io_uring_enter2(static_cast<unsigned>(ring.enter_ring_fd), unsent, completions,
                               enter_flags_ | IORING_ENTER_EXT_ARG,
                               static_cast<sigset_t*>(static_cast<void*>(&argument)), sizeof(argument));
    }
    // Takes one completion, entering the kernel with GETEVENTS if none is there. nullopt: none in time.
    std::optional<Completion> wait(std::chrono::milliseconds timeout);
    // Takes one completion that is there already; runs deferred task work first.
    std::optional<Completion> poll();

    // Calls f(cqe) for each completion that is there, and takes them; how many there were.
    template <typename F>
    unsigned for_each(F f)
    {
        io_uring& ring = *ring_;
        const unsigned ready = io_uring_cq_ready(&ring);
        const unsigned head = *ring.cq.khead, mask = *ring.cq.kring_mask;
        for (unsigned i = 0; i < ready; ++i)
            f(ring.cq.cqes[(head + i) & mask]);
        io_uring_cq_advance(&ring, ready);
        return ready;
    }
    // Runs deferred task work, which makes completions of what arrived; does not wait. 0 or -errno.
    int take_in() { return io_uring_get_events(ring_.get()); }

    // Fixed files; 0 or -errno.
    int register_files(const int* fds, unsigned count);
    // A table of `count` empty slots for fixed buffers; 0 or -errno.
    int register_empty_buffers(unsigned count);
    // Spares each enter of this thread the look-up of the ring's file. Best effort.
    void register_self();

    int fd() const { return ring_->ring_fd; }
    bool sqe128() const { return (ring_->flags & IORING_SETUP_SQE128) != 0; }
    io_uring& raw() { return *ring_; }

  private:
    struct Closer {
        void operator()(io_uring* ring) const;
    };
    explicit Ring(std::unique_ptr<io_uring, Closer> ring) : ring_(std::move(ring)) {}
    std::optional<Completion> take();
    // Lets the kernel see the entries that are prepared; how many it has not taken.
    static unsigned publish(io_uring& ring) noexcept
    {
        io_uring_sq& sq = ring.sq;
        sq.sqe_head = sq.sqe_tail;
        io_uring_smp_store_release(sq.ktail, sq.sqe_tail);
        return sq.sqe_tail - io_uring_smp_load_acquire(sq.khead);
    }

    std::unique_ptr<io_uring, Closer> ring_;
    unsigned enter_flags_ = IORING_ENTER_GETEVENTS;
};

} // namespace ublk::wire
