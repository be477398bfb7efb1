#include "conformance/lockstep/server_process.hpp"

#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/expect.hpp"
#include "ublk/model/state.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <utility>

namespace conformance::lockstep {

namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

struct ServerProcess::Order {
    enum class Kind : std::uint8_t {
        open,
        send,
        copy_out,
        copy_in,
        collect,
        describe,
        end
    } kind = Kind::collect;
    bool buffer = false;
    std::uint32_t op = 0;
    IoCmd cmd;
    std::uint64_t user_data = 0;
};

struct ServerProcess::Report {
    std::int64_t result = 0;
    std::uint64_t count = 0;
    std::array<Completion, 32> completions{};
    IoDesc desc;
};

namespace {

// A completion for this thread's ring interrupts what it waits in.
template <typename T>
bool receive(int socket, T& message)
{
    ssize_t got = -1;
    do
        got = ::recv(socket, &message, sizeof(message), 0);
    while (got < 0 && errno == EINTR);
    return got == static_cast<ssize_t>(sizeof(message));
}

template <typename T>
bool say(int socket, const T& message)
{
    ssize_t sent = -1;
    do
        sent = ::send(socket, &message, sizeof(message), MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(sizeof(message));
}

constexpr unsigned fixed_slots = 16;

// What the tasks of one server share.
class Shared {
  public:
    explicit Shared(const DevInfo& device) : device_(device) {}

    long open()
    {
        auto fd = wire::open_node(wire::char_path(device_.dev_id), O_RDWR);
        if (!fd)
            return -fd.error();
        node_ = std::move(*fd);
        const auto size = std::max<unsigned>(device_.io_desc_size, uapi::min_io_desc_size);
        for (unsigned q = 0; q < device_.nr_hw_queues; ++q) {
            if (auto map = wire::DescriptorMap::map(node_.get(), q, device_.queue_depth, size))
                maps_.push_back(std::move(*map));
        }
        const auto bytes = buffer_bytes * device_.nr_hw_queues * device_.queue_depth;
        void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        buffers_ = reinterpret_cast<std::uintptr_t>(base);
        return base == MAP_FAILED ? -ENOMEM : 0;
    }
    int fd() const { return node_.get(); }
    // Any address will do for a tag that is not there.
    std::uint64_t buffer(const IoCmd& cmd) const
    {
        return buffers_ + buffer_bytes * ((std::uint64_t{cmd.q_id} * device_.queue_depth + cmd.tag) %
                                          (std::uint64_t{device_.nr_hw_queues} * device_.queue_depth));
    }
    long copy(const IoCmd& cmd, bool out) const
    {
        std::array<std::byte, buffer_bytes> page{};
        const auto pos = static_cast<off_t>(uapi::user_copy_pos(cmd.q_id, cmd.tag));
        return sys(out ? ::pread(fd(), page.data(), page.size(), pos)
                       : ::pwrite(fd(), page.data(), page.size(), pos));
    }
    // Of the ring's fixed buffers, for AUTO_BUF_REG.
    std::uint64_t slot(const IoCmd& cmd) const
    {
        const bool registers = Features::from_raw(device_.flags).has(Feature::auto_buf_reg);
        const std::size_t behind =
            ublk::model::fixed_buffers + std::size_t{cmd.q_id} * device_.queue_depth + cmd.tag;
        return registers ? behind % fixed_slots : 0;
    }
    IoDesc describe(const IoCmd& cmd) const
    {
        return cmd.q_id < maps_.size() ? maps_[cmd.q_id].read(cmd.tag) : IoDesc{};
    }

  private:
    static constexpr std::uint64_t buffer_bytes = 4096;
    DevInfo device_;
    Fd node_;
    std::vector<wire::DescriptorMap> maps_;
    std::uint64_t buffers_ = 0;
};

} // namespace

void ServerProcess::serve(const std::array<int, tasks>& sockets) const
{
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Of the parent's descriptors none may stay: they would keep disks and devices open.
    for (int fd = 3; fd < 1024; ++fd) {
        if (std::ranges::find(sockets, fd) == sockets.end() &&
            std::ranges::find(events_, fd, &Fd::get) == events_.end())
            ::close(fd);
    }
    drop_sys_admin();
    Shared shared(device_);
    const auto task = [&shared](int socket, int event) {
        auto opened = wire::Ring::open({.entries = 64, .sqe128 = false});
        auto ring = opened ? std::optional(std::move(*opened)) : std::nullopt;
        if (ring && (io_uring_register_eventfd(&ring->raw(), event) != 0 ||
                     ring->register_empty_buffers(fixed_slots) != 0))
            ring.reset();
        Order order;
        while (ring && receive(socket, order)) {
            Report report;
            if (order.kind == Order::Kind::open)
                report.result = shared.open();
            if (order.kind == Order::Kind::copy_out || order.kind == Order::Kind::copy_in)
                report.result = shared.copy(order.cmd, order.kind == Order::Kind::copy_out);
            if (order.kind == Order::Kind::describe)
                report.desc = shared.describe(order.cmd);
            if (order.kind == Order::Kind::send) {
                if (order.buffer)
                    order.cmd.addr = shared.buffer(order.cmd);
                io_uring_sqe& entry = *ring->sqe();
                wire::prep_io(entry, shared.fd(), order.op, order.cmd, order.user_data);
                entry.addr = shared.slot(order.cmd);
                const int sent = ring->submit();
                report.result = sent < 0 ? sent : 0;
            }
            for (auto more = ring->poll(); more; more = ring->poll())
                report.completions.at(report.count++) = *more;
            if (order.kind == Order::Kind::end)
                ring.reset();
            say(socket, report);
        }
    };
    std::array<std::thread, tasks> threads;
    for (unsigned t = 0; t < tasks; ++t)
        threads[t] = std::thread(task, sockets[t], events_[t].get());
    for (auto& thread : threads)
        thread.join();
    for (;;)
        ::pause();
}

ServerProcess::ServerProcess(const DevInfo& device) : device_(device)
{
    std::array<int, tasks> theirs{};
    for (unsigned t = 0; t < tasks; ++t) {
        int pair[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
            fail("sockets for a server", errno_text(errno));
        sockets_[t] = Fd(pair[0]);
        theirs[t] = pair[1];
        events_[t] = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    }
    pid_ = ::fork();
    if (pid_ < 0)
        fail("fork works", errno_text(errno));
    if (pid_ == 0) {
        run_in_child([&] { serve(theirs); }, [](const Outcome&) {});
        ::_exit(1);
    }
    for (const int fd : theirs)
        ::close(fd);
}

ServerProcess::~ServerProcess()
{
    if (pid_ <= 0)
        return;
    ::kill(pid_, SIGKILL);
    eventually([this] { return ::waitpid(pid_, nullptr, WNOHANG) != 0; }, 2s);
}

ServerProcess::Report ServerProcess::tell(unsigned task, const Order& order)
{
    Report report;
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(sockets_[task].get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (!say(sockets_[task].get(), order) || !receive(sockets_[task].get(), report))
        fail("the server process answers", "it does not");
    early_.insert(early_.end(), report.completions.begin(),
                  report.completions.begin() + static_cast<std::ptrdiff_t>(report.count));
    return report;
}

long ServerProcess::open()
{
    return tell(0, {.kind = Order::Kind::open}).result;
}

long ServerProcess::send(unsigned task, std::uint32_t op, IoCmd cmd, bool buffer, std::uint64_t user_data)
{
    const Order order{
        .kind = Order::Kind::send, .buffer = buffer, .op = op, .cmd = cmd, .user_data = user_data};
    return tell(task, order).result;
}

long ServerProcess::copy(unsigned task, unsigned queue, unsigned tag, bool out)
{
    const IoCmd place{.q_id = static_cast<std::uint16_t>(queue), .tag = static_cast<std::uint16_t>(tag)};
    return tell(task, {.kind = out ? Order::Kind::copy_out : Order::Kind::copy_in, .cmd = place}).result;
}

std::vector<Completion> ServerProcess::completions()
{
    for (unsigned t = 0; t < tasks; ++t) {
        eventfd_t count = 0;
        if (!ended_[t] && ::eventfd_read(events_[t].get(), &count) == 0)
            tell(t, {});
    }
    return std::exchange(early_, {});
}

IoDesc ServerProcess::describe(unsigned queue, unsigned tag)
{
    const unsigned task = ended_[0] ? 1 : 0;
    const IoCmd place{.q_id = static_cast<std::uint16_t>(queue), .tag = static_cast<std::uint16_t>(tag)};
    return tell(task, {.kind = Order::Kind::describe, .cmd = place}).desc;
}

void ServerProcess::end_task(unsigned task)
{
    // A worker of the kernel takes the ring apart; nothing tells when it has canceled what the ring brought.
    constexpr Millis ring_goes = 40ms;
    tell(task, {.kind = Order::Kind::end});
    ended_[task] = true;
    ::usleep(std::chrono::microseconds(ring_goes).count());
}

void ServerProcess::kill()
{
    ::kill(pid_, SIGKILL);
    int status = 0;
    if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }))
        fail("the killed server ends", fmt::format("pid {} is still there", pid_));
    pid_ = -1;
}

} // namespace conformance::lockstep
