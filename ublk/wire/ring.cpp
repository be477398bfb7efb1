#include "ublk/wire/ring.hpp"

#include <cerrno>
#include <unistd.h>

namespace ublk::wire {

Fd& Fd::operator=(Fd&& other) noexcept
{
    if (this != &other) {
        reset();
        fd_ = other.release();
    }
    return *this;
}

void Fd::reset()
{
    if (fd_ >= 0)
        ::close(fd_);
    fd_ = -1;
}

void Ring::Closer::operator()(io_uring* ring) const
{
    io_uring_queue_exit(ring);
    delete ring;
}

namespace {

// By hand: later liburing leaves out the array that says which entry is next, where the kernel allows that.
int set_up_slots(unsigned entries, io_uring_params& params, io_uring& ring)
{
    Fd fd(io_uring_setup(entries, &params));
    if (!fd)
        return fd.get();
    const int res = io_uring_queue_mmap(fd.get(), &params, &ring);
    if (res < 0)
        return res;
    ring.features = params.features;
    fd.release();
    return 0;
}

} // namespace

std::expected<Ring, int> Ring::open(const RingOptions& options)
{
    io_uring_params params{};
    params.flags = options.flags | (options.sqe128 ? IORING_SETUP_SQE128 : 0U);
    if (options.cq_entries != 0) {
        params.flags |= IORING_SETUP_CQSIZE;
        params.cq_entries = options.cq_entries;
    }
    auto raw = std::make_unique<io_uring>();
    const int res = options.slots ? set_up_slots(options.entries, params, *raw)
                                  : io_uring_queue_init_params(options.entries, raw.get(), &params);
    if (res < 0)
        return std::unexpected(-res);
    return Ring(std::unique_ptr<io_uring, Closer>(raw.release()));
}

int Ring::submit()
{
    return io_uring_submit(ring_.get());
}

std::optional<Completion> Ring::take()
{
    io_uring_cqe* cqe = nullptr;
    if (io_uring_peek_cqe(ring_.get(), &cqe) != 0 || cqe == nullptr)
        return std::nullopt;
    const Completion completion{cqe->user_data, cqe->res, cqe->flags};
    io_uring_cqe_seen(ring_.get(), cqe);
    return completion;
}

std::optional<Completion> Ring::wait(std::chrono::milliseconds timeout)
{
    if (auto ready = take())
        return ready;
    __kernel_timespec limit{};
    limit.tv_sec = timeout.count() / 1000;
    limit.tv_nsec = (timeout.count() % 1000) * 1'000'000;
    io_uring_cqe* cqe = nullptr;
    int res = 0;
    do {
        res = io_uring_wait_cqe_timeout(ring_.get(), &cqe, &limit);
    } while (res == -EINTR);
    return take();
}

std::optional<Completion> Ring::poll()
{
    if (auto ready = take())
        return ready;
    io_uring_get_events(ring_.get());
    return take();
}

int Ring::register_files(const int* fds, unsigned count)
{
    return io_uring_register_files(ring_.get(), fds, count);
}

int Ring::register_empty_buffers(unsigned count)
{
    return io_uring_register_buffers_sparse(ring_.get(), count);
}

void Ring::register_self()
{
    if (io_uring_register_ring_fd(ring_.get()) == 1)
        enter_flags_ |= IORING_ENTER_REGISTERED_RING;
}

} // namespace ublk::wire
