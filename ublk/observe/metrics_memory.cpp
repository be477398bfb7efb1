// Where metrics live, and how another process finds them: a head, then each queue's counters.
#include "ublk/observe/metrics.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace ublk::observe {

namespace {

struct alignas(alignof(QueueMetrics)) Head {
    std::array<char, 8> magic{'u', 'b', 'l', 'k', 's', 't', 'a', 't'};
    std::uint32_t version = 3;
    std::uint32_t queue_bytes = sizeof(QueueMetrics);
    std::uint32_t queues = 0;
    std::uint32_t threads = 0; // of each queue
    std::uint32_t device = 0;
    std::uint32_t depth = 0;
    std::int32_t pid = 0;
    std::uint64_t size = 0;
    std::uint32_t timed = 0;
    std::array<char, 32> backend{};
};

constexpr std::size_t most_parts = std::size_t{uapi::max_nr_queues} * uapi::max_queue_depth;

// A part belongs to one thread of one queue.
std::size_t bytes_for(std::size_t parts)
{
    return sizeof(Head) + parts * sizeof(QueueMetrics);
}

std::unexpected<int> failed()
{
    return std::unexpected(errno);
}

// A copy that reads each counter in one piece.
QueueMetrics copy_of(const QueueMetrics& live)
{
    constexpr std::size_t words = sizeof(QueueMetrics) / sizeof(std::uint64_t);
    QueueMetrics copy;
    // What QueueMetrics is made of: counters, and nothing else.
    auto* from = const_cast<std::uint64_t*>(reinterpret_cast<const std::uint64_t*>(&live)); // NOLINT
    auto* to = reinterpret_cast<std::uint64_t*>(&copy);                                     // NOLINT
    for (std::size_t i = 0; i < words; ++i)
        to[i] = std::atomic_ref(from[i]).load(std::memory_order_relaxed);
    return copy;
}

DeviceDescription description(const Head& head)
{
    return {.device = head.device,
            .depth = head.depth,
            .size = head.size,
            .pid = head.pid,
            .timed = head.timed != 0,
            .backend = std::string(head.backend.data(), ::strnlen(head.backend.data(), head.backend.size()))};
}

const Head& head_of(const std::byte* base)
{
    return *std::launder(reinterpret_cast<const Head*>(base)); // NOLINT
}

Snapshot snapshot_of(const Head& head, std::span<const QueueMetrics> parts)
{
    Snapshot snapshot{description(head), std::vector<QueueMetrics>(head.queues)};
    // The parts are the threads of the queues; there is at least one of each.
    const std::size_t threads = std::max<std::size_t>(head.threads, 1);
    for (std::size_t part = 0; part < parts.size(); ++part)
        snapshot.queues[part / threads] += parts[part];
    return snapshot;
}

struct File {
    explicit File(int number) : fd(number) {}
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File()
    {
        if (fd >= 0)
            ::close(fd);
    }
    int fd;
};

std::expected<std::vector<std::byte>, int> read_all(int fd)
{
    struct stat about{};
    if (::fstat(fd, &about) != 0)
        return failed();
    const auto size = static_cast<std::size_t>(about.st_size);
    if (!S_ISREG(about.st_mode) || size < sizeof(Head) || size > bytes_for(most_parts))
        return std::unexpected(EBADMSG);
    std::vector<std::byte> bytes(size);
    std::size_t have = 0;
    while (have < bytes.size()) {
        const auto got = ::read(fd, bytes.data() + have, bytes.size() - have);
        if (got < 0 && errno != EINTR)
            return failed();
        if (got == 0)
            return std::unexpected(EBADMSG); // it shrank
        have += got > 0 ? static_cast<std::size_t>(got) : 0;
    }
    return bytes;
}

} // namespace

std::expected<Metrics, int> Metrics::map(int fd, const DeviceDescription& device, std::uint16_t queues,
                                         std::uint16_t threads)
{
    Metrics metrics;
    const std::size_t parts = std::size_t{queues} * threads;
    const std::size_t bytes = bytes_for(parts);
    void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return failed();
    metrics.base_ = static_cast<std::byte*>(base);
    metrics.bytes_ = bytes;
    auto* head = new (base) Head;
    head->queues = queues;
    head->threads = threads;
    head->device = device.device;
    head->depth = device.depth;
    head->pid = device.pid;
    head->size = device.size;
    head->timed = device.timed ? 1 : 0;
    device.backend.copy(head->backend.data(), head->backend.size() - 1);
    for (std::size_t part = 0; part < parts; ++part)
        new (metrics.base_ + sizeof(Head) + part * sizeof(QueueMetrics)) QueueMetrics;
    return metrics;
}

std::expected<Metrics, int> Metrics::create(const DeviceDescription& device, std::uint16_t queues,
                                            std::uint16_t threads)
{
    return map(-1, device, queues, threads);
}

// The file gets its name when it is whole and locked: whoever finds it finds it so.
std::expected<Metrics, int> Metrics::create_file(const std::string& path, const DeviceDescription& device,
                                                 std::uint16_t queues, std::uint16_t threads)
{
    std::string draft = path + ".XXXXXX";
    const int fd = ::mkostemp(draft.data(), O_CLOEXEC);
    if (fd < 0)
        return failed();
    const auto give_up = [&](int code) {
        ::close(fd);
        ::unlink(draft.c_str());
        return std::unexpected(code);
    };
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || ::fchmod(fd, 0644) != 0 ||
        ::ftruncate(fd, static_cast<off_t>(bytes_for(std::size_t{queues} * threads))) != 0)
        return give_up(errno);
    auto metrics = map(fd, device, queues, threads);
    if (!metrics)
        return give_up(metrics.error());
    if (::rename(draft.c_str(), path.c_str()) != 0)
        return give_up(errno);
    metrics->fd_ = fd;
    metrics->path_ = path;
    return metrics;
}

std::expected<Snapshot, int> Metrics::read_file(const std::string& path)
{
    const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.fd < 0)
        return failed();
    if (::flock(file.fd, LOCK_SH | LOCK_NB) == 0)
        return std::unexpected(ESRCH); // nobody holds it any more
    const auto bytes = read_all(file.fd);
    if (!bytes)
        return std::unexpected(bytes.error());
    Head head;
    const Head ours;
    std::memcpy(&head, bytes->data(), sizeof(head));
    if (head.magic != ours.magic || head.version != ours.version || head.queue_bytes != ours.queue_bytes ||
        head.queues > uapi::max_nr_queues || head.threads > uapi::max_queue_depth || head.threads == 0 ||
        bytes->size() != bytes_for(std::size_t{head.queues} * head.threads))
        return std::unexpected(EBADMSG);
    std::vector<QueueMetrics> parts(std::size_t{head.queues} * head.threads);
    std::memcpy(parts.data(), bytes->data() + sizeof(head), bytes->size() - sizeof(head));
    return snapshot_of(head, parts);
}

Metrics::Metrics(Metrics&& other) noexcept
{
    *this = std::move(other);
}

Metrics& Metrics::operator=(Metrics&& other) noexcept
{
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    return *this;
}

Metrics::~Metrics()
{
    // By now another server may have a device of this number, and its file this name.
    struct stat ours{}, there{};
    if (fd_ >= 0 && ::fstat(fd_, &ours) == 0 && ::stat(path_.c_str(), &there) == 0 &&
        ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
        ::unlink(path_.c_str());
    if (base_ != nullptr)
        ::munmap(base_, bytes_);
    if (fd_ >= 0)
        ::close(fd_);
}

QueueMetrics& Metrics::of(std::uint16_t queue, std::uint16_t thread) const
{
    const std::size_t part = std::size_t{queue} * head_of(base_).threads + thread;
    return *std::launder(
        reinterpret_cast<QueueMetrics*>(base_ + sizeof(Head) + part * sizeof(QueueMetrics))); // NOLINT
}

Snapshot Metrics::snapshot() const
{
    const Head& head = head_of(base_);
    std::vector<QueueMetrics> parts;
    for (std::uint32_t queue = 0; queue < head.queues; ++queue)
        for (std::uint32_t thread = 0; thread < head.threads; ++thread)
            parts.push_back(
                copy_of(of(static_cast<std::uint16_t>(queue), static_cast<std::uint16_t>(thread))));
    return snapshot_of(head, parts);
}

} // namespace ublk::observe
