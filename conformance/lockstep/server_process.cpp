#include "conformance/lockstep/server_process.hpp"

#include "conformance/driver/batch_verbs.hpp"
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/expect.hpp"
#include "ublk/model/state.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <deque>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <poll.h>
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

// What pread or pwrite moves.
struct Copied {
    bool out = false, metadata = false;
    unsigned zones = 0; // that the report asks for
    bool half = false;  // of them are given
};

struct ServerProcess::Order {
    enum class Kind : std::uint8_t {
        open,
        send,
        send_batch,
        copy,
        collect,
        describe,
        end
    } kind = Kind::collect;
    bool buffer = false;
    std::uint32_t op = 0;
    IoCmd cmd;
    std::uint64_t user_data = 0;
    BatchOrder batch;
    Copied copied;
};

struct ServerProcess::Report {
    std::int64_t result = 0;
    std::uint64_t count = 0;
    std::array<Brought, 32> completions{};
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

constexpr TagBuffers::Options tag_buffers{.count = 16, .bytes = 2 * Brought::most_tags};

// The first `count` of those that are asked for. All but the last of a disk are conventional ones, which
// applications may write to in any order; no kernel takes a disk with these alone.
std::vector<uapi::ZoneReport> some_zones(std::uint64_t first_sector, unsigned asked, unsigned count)
{
    std::vector<uapi::ZoneReport> zones;
    for (unsigned i = 0; i < count; ++i) {
        zones.push_back({.start = first_sector + i * ublk::model::zone_sectors,
                         .len = ublk::model::zone_sectors,
                         .type = static_cast<std::uint8_t>(uapi::ZoneType::conventional),
                         .cond = static_cast<std::uint8_t>(uapi::ZoneCond::not_write_pointer),
                         .capacity = ublk::model::zone_sectors});
        if (i + 1 != asked)
            continue;
        zones.back().wp = zones.back().start;
        zones.back().type = static_cast<std::uint8_t>(uapi::ZoneType::sequential_write_required);
        zones.back().cond = static_cast<std::uint8_t>(uapi::ZoneCond::empty);
    }
    return zones;
}

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
    long copy(const IoCmd& cmd, const Copied& what) const
    {
        std::array<std::byte, buffer_bytes> page{};
        auto pos = uapi::user_copy_pos(cmd.q_id, cmd.tag);
        if (what.metadata)
            pos |= uapi::pos_integrity_flag;
        std::size_t size = page.size();
        if (what.zones != 0) {
            size = what.zones * sizeof(uapi::ZoneReport);
            const auto first = maps_.at(cmd.q_id).read(cmd.tag).start_sector;
            const auto zones = some_zones(first, what.zones, what.half ? what.zones / 2 : what.zones);
            std::memcpy(page.data(), zones.data(), zones.size() * sizeof(uapi::ZoneReport));
        }
        return sys(what.out ? ::pread(fd(), page.data(), size, static_cast<off_t>(pos))
                            : ::pwrite(fd(), page.data(), size, static_cast<off_t>(pos)));
    }
    // Of the ring's fixed buffers, for AUTO_BUF_REG.
    std::uint64_t slot(const IoCmd& cmd) const
    {
        const bool registers = Features::from_raw(device_.flags).has(Feature::auto_buf_reg);
        const std::size_t behind =
            ublk::model::fixed_buffers + std::size_t{cmd.q_id} * device_.queue_depth + cmd.tag;
        return registers ? behind % fixed_slots : 0;
    }
    std::vector<std::byte> elements(const BatchOrder& order, uapi::BatchFlags flags) const
    {
        std::vector<uapi::BatchEntry> entries;
        for (std::size_t i = 0; i < order.count; ++i) {
            const IoCmd place{.q_id = order.queue, .tag = order.tags[i]};
            entries.push_back({.head = {.tag = order.tags[i],
                                        .buf_index = static_cast<std::uint16_t>(slot(place)),
                                        .result = order.results[i]},
                               .buf_addr = order.zeros ? 0 : buffer(place)});
        }
        return uapi::encode_batch(entries, flags);
    }
    bool is_batch() const { return Features::from_raw(device_.flags).has(Feature::batch_io); }
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

// A task's ring, with what it lends the driver.
class TaskRing {
  public:
    // The ring keeps `alive` open for as long as it is there, also behind its last descriptor.
    TaskRing(const Shared& shared, int event, int alive) : shared_(shared)
    {
        auto opened = wire::Ring::open({.entries = 64, .sqe128 = false});
        if (!opened)
            return;
        ring_ = std::move(*opened);
        if (io_uring_register_eventfd(&ring_->raw(), event) != 0 ||
            io_uring_register_files(&ring_->raw(), &alive, 1) != 0 ||
            ring_->register_empty_buffers(fixed_slots) != 0)
            ring_.reset();
        else if (shared.is_batch())
            tags_.emplace(*ring_, tag_buffers);
        ::close(alive);
    }

    explicit operator bool() const { return ring_.has_value(); }
    std::int64_t send(std::uint32_t op, IoCmd cmd, bool buffer, std::uint64_t user_data)
    {
        if (buffer)
            cmd.addr = shared_.buffer(cmd);
        io_uring_sqe& entry = *ring_->sqe();
        wire::prep_io(entry, shared_.fd(), op, cmd, user_data);
        entry.addr = shared_.slot(cmd);
        return std::min(ring_->submit(), 0);
    }
    std::int64_t send(const BatchOrder& order, std::uint64_t user_data)
    {
        constexpr std::uint32_t multishot = 1U << 1; // IORING_URING_CMD_MULTISHOT
        const bool fetches = order.nr == IoNr::fetch_io_cmds;
        const auto flags =
            order.addresses ? uapi::BatchFlags(uapi::BatchFlag::has_buf_addr) : uapi::BatchFlags{};
        const auto& elements = sent_.emplace_back(shared_.elements(order, flags));
        const uapi::BatchIo head{.q_id = order.queue,
                                 .flags = flags.raw(),
                                 .nr_elem = order.count,
                                 .elem_bytes = static_cast<std::uint8_t>(
                                     fetches ? sizeof(std::uint16_t) : uapi::batch_elem_bytes(flags))};
        io_uring_sqe& entry = *ring_->sqe();
        wire::prep_batch(entry, shared_.fd(), uapi::opcode(order.nr), head,
                         fetches ? 0 : reinterpret_cast<std::uintptr_t>(elements.data()), user_data);
        if (fetches && shared_.is_batch()) {
            entry.uring_cmd_flags |= multishot;
            entry.flags |= IOSQE_BUFFER_SELECT;
            entry.buf_group = tags_->group();
        }
        return std::min(ring_->submit(), 0);
    }
    std::optional<Brought> next()
    {
        const auto done = ring_->poll();
        if (!done)
            return std::nullopt;
        Brought brought{.done = *done, .more = (done->flags & IORING_CQE_F_MORE) != 0};
        if ((done->flags & IORING_CQE_F_BUFFER) != 0) {
            const unsigned id = done->flags >> IORING_CQE_BUFFER_SHIFT;
            for (const auto tag : tags_->tags(id, done->res))
                brought.tags.at(brought.count++) = tag;
            tags_->provide(id);
        }
        return brought;
    }

  private:
    const Shared& shared_;
    std::optional<wire::Ring> ring_;
    std::optional<TagBuffers> tags_;
    std::deque<std::vector<std::byte>> sent_; // elements, which the driver may still read
};

} // namespace

void ServerProcess::serve(const std::array<int, tasks>& sockets, const std::array<int, tasks>& alive) const
{
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Of the parent's descriptors none may stay: they would keep disks and devices open.
    for (int fd = 3; fd < 1024; ++fd) {
        if (std::ranges::find(sockets, fd) == sockets.end() && std::ranges::find(alive, fd) == alive.end() &&
            std::ranges::find(events_, fd, &Fd::get) == events_.end())
            ::close(fd);
    }
    drop_sys_admin();
    Shared shared(device_);
    const auto task = [&shared](int socket, int event, int keeps) {
        std::optional<TaskRing> ring(std::in_place, shared, event, keeps);
        Order order;
        while (ring && *ring && receive(socket, order)) {
            Report report;
            if (order.kind == Order::Kind::open)
                report.result = shared.open();
            if (order.kind == Order::Kind::copy)
                report.result = shared.copy(order.cmd, order.copied);
            if (order.kind == Order::Kind::describe)
                report.desc = shared.describe(order.cmd);
            if (order.kind == Order::Kind::send)
                report.result = ring->send(order.op, order.cmd, order.buffer, order.user_data);
            if (order.kind == Order::Kind::send_batch)
                report.result = ring->send(order.batch, order.user_data);
            for (auto more = ring->next(); more; more = ring->next())
                report.completions.at(report.count++) = *more;
            if (order.kind == Order::Kind::end)
                ring.reset();
            say(socket, report);
        }
    };
    std::array<std::thread, tasks> threads;
    for (unsigned t = 0; t < tasks; ++t)
        threads[t] = std::thread(task, sockets[t], events_[t].get(), alive[t]);
    for (auto& thread : threads)
        thread.join();
    for (;;)
        ::pause();
}

ServerProcess::ServerProcess(const DevInfo& device) : device_(device)
{
    std::array<int, tasks> theirs{}, alive{};
    for (unsigned t = 0; t < tasks; ++t) {
        int pair[2], pipe[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 ||
            ::pipe2(pipe, O_CLOEXEC) != 0)
            fail("sockets and pipes for a server", errno_text(errno));
        sockets_[t] = Fd(pair[0]);
        theirs[t] = pair[1];
        rings_[t] = Fd(pipe[0]);
        alive[t] = pipe[1];
        events_[t] = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    }
    pid_ = ::fork();
    if (pid_ < 0)
        fail("fork works", errno_text(errno));
    if (pid_ == 0) {
        run_in_child([&] { serve(theirs, alive); }, [](const Outcome&) {});
        ::_exit(1);
    }
    for (unsigned t = 0; t < tasks; ++t) {
        ::close(theirs[t]);
        ::close(alive[t]);
    }
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
    const std::lock_guard lock(early_lock_);
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

long ServerProcess::send(unsigned task, const BatchOrder& order, std::uint64_t user_data)
{
    return tell(task, {.kind = Order::Kind::send_batch, .user_data = user_data, .batch = order}).result;
}

long ServerProcess::copy(const ublk::model::Command& command, unsigned zones)
{
    Order order{.kind = Order::Kind::copy, .cmd = {.q_id = command.queue, .tag = command.tag}};
    order.copied = {.out = command.verb == ublk::model::Verb::copy_out,
                    .metadata = command.metadata,
                    .zones = zones,
                    .half = command.given == ublk::model::Given::half};
    return tell(command.task, order).result;
}

std::vector<Brought> ServerProcess::completions()
{
    for (unsigned t = 0; t < tasks; ++t) {
        eventfd_t count = 0;
        if (!ended_[t] && ::eventfd_read(events_[t].get(), &count) == 0)
            tell(t, {});
    }
    return std::exchange(early_, {});
}

void ServerProcess::pause()
{
    for (unsigned t = 0; t < tasks; ++t) {
        if (!ended_[t])
            tell(t, {});
    }
}

IoDesc ServerProcess::describe(unsigned queue, unsigned tag)
{
    const unsigned task = ended_[0] ? 1 : 0;
    const IoCmd place{.q_id = static_cast<std::uint16_t>(queue), .tag = static_cast<std::uint16_t>(tag)};
    return tell(task, {.kind = Order::Kind::describe, .cmd = place}).desc;
}

void ServerProcess::end_task(unsigned task)
{
    tell(task, {.kind = Order::Kind::end});
    ended_[task] = true;
    await_ring(task);
}

// A worker of the kernel takes the ring apart, and cancels what it brought.
void ServerProcess::await_ring(unsigned task) const
{
    pollfd hangup{.fd = rings_[task].get(), .events = 0, .revents = 0};
    if (::poll(&hangup, 1, static_cast<int>(patience.count())) <= 0)
        fail("the ring of a task that has ended goes", "it is still there");
}

void ServerProcess::kill()
{
    ::kill(pid_, SIGKILL);
    await_death();
}

void ServerProcess::await_death()
{
    int status = 0;
    if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }))
        fail("the killed server ends", fmt::format("pid {} is still there", pid_));
    pid_ = -1;
    for (unsigned t = 0; t < tasks; ++t)
        await_ring(t);
}

} // namespace conformance::lockstep
