#include "ublk/engine/batch_queue.hpp"

#include <bit>
#include <cerrno>
#include <utility>

namespace ublk::engine {

namespace {

constexpr unsigned most_tags_a_time = 128; // that the driver puts into one buffer
constexpr int buffer_group = 0;
constexpr unsigned fetch_slot = 0, prepare_slot = 1, first_commit_slot = 2; // of the ring, beyond the tags'

} // namespace

BatchQueue::Elements::Elements(std::uint16_t depth)
    : bytes(std::make_unique<std::byte[]>(depth * largest_element)), end(bytes.get())
{
}

BatchQueue::BatchQueue(QueueBase base)
    : QueueBase(std::move(base)), preparing_(options_.depth), committing_(options_.depth)
{
    if (options_.data_path == DataPath::copy)
        flags_ |= uapi::BatchFlag::has_buf_addr;
    if (options_.data_path == DataPath::auto_buf)
        flags_ |= uapi::BatchFlag::auto_buf_reg_fallback;
    if (options_.zoned)
        flags_ |= uapi::BatchFlag::has_zone_lba;
    element_bytes_ = uapi::batch_elem_bytes(flags_);
    commits_.reserve(most_commits);
    for (unsigned i = 0; i < most_commits; ++i)
        commits_.push_back({.elements = Elements(options_.depth)});
    addresses_.reserve(options_.depth);
    for (std::uint16_t tag = 0; tag < options_.depth; ++tag)
        addresses_.push_back(command_address(tag));
}

Result<BatchQueue> BatchQueue::open(const KernelQueueOptions& options)
{
    auto base = QueueBase::open(options, 0, first_commit_slot + most_commits);
    if (!base)
        return std::unexpected(std::move(base.error()));
    BatchQueue queue(std::move(*base));
    if (auto provided = queue.provide_buffers(); !provided)
        return std::unexpected(std::move(provided.error()));
    return queue;
}

// As many as can be on their way at once, each with room for what the driver puts into one.
Result<void> BatchQueue::provide_buffers()
{
    constexpr unsigned fewest = 8;
    buffers_ = static_cast<std::uint16_t>(std::bit_ceil(std::max(unsigned{options_.depth}, fewest)));
    tag_buffer_bytes_ = std::min(unsigned{options_.depth}, most_tags_a_time) * sizeof(std::uint16_t);
    auto ring = Pages::map(buffers_ * sizeof(io_uring_buf));
    auto numbers = Pages::map(std::size_t{buffers_} * tag_buffer_bytes_);
    if (!ring || !numbers)
        return std::unexpected(error("mmap of the tag buffers", !ring ? ring.error() : numbers.error()));
    buffer_ring_ = std::move(*ring);
    tag_buffers_ = std::move(*numbers);
    io_uring_buf_reg registration{};
    registration.ring_addr = std::bit_cast<std::uintptr_t>(buffer_ring_.data());
    registration.ring_entries = buffers_;
    registration.bgid = buffer_group;
    if (const int res = io_uring_register_buf_ring(&ring_.raw(), &registration, 0); res < 0)
        return std::unexpected(error("io_uring_register of the tag buffers", -res));
    for (std::uint16_t id = 0; id < buffers_; ++id)
        provide(id);
    return {};
}

void BatchQueue::provide(std::uint16_t id) noexcept
{
    auto* ring = static_cast<io_uring_buf_ring*>(static_cast<void*>(buffer_ring_.data()));
    io_uring_buf_ring_add(ring, tag_buffers_.data() + std::size_t{id} * tag_buffer_bytes_, tag_buffer_bytes_,
                          id, buffers_ - 1, 0);
    io_uring_buf_ring_advance(ring, 1);
}

void BatchQueue::send(unsigned slot, uapi::IoNr nr, std::span<const std::byte> elements,
                      std::uint64_t data) noexcept
{
    const uapi::BatchIo command{.q_id = options_.queue,
                                .flags = flags_.raw(),
                                .nr_elem = static_cast<std::uint16_t>(elements.size() / element_bytes_),
                                .elem_bytes = static_cast<std::uint8_t>(element_bytes_)};
    wire::prep_batch(send_empty(extra_slot(slot)), 0, uapi::opcode(nr), command,
                     std::bit_cast<std::uintptr_t>(elements.data()), data, true);
}

void BatchQueue::send_fetch() noexcept
{
    io_uring_sqe& sqe = send_empty(extra_slot(fetch_slot));
    const uapi::BatchIo command{.q_id = options_.queue, .elem_bytes = sizeof(std::uint16_t)};
    wire::prep_batch(sqe, 0, uapi::opcode(uapi::IoNr::fetch_io_cmds), command, 0, user_data(kind_fetch, 0),
                     true);
    constexpr std::uint32_t multishot = 1U << 1; // IORING_URING_CMD_MULTISHOT
    sqe.rw_flags = multishot;
    sqe.flags |= IOSQE_BUFFER_SELECT;
    sqe.buf_group = buffer_group;
    fetching_ = true;
}

// FETCH only once the tags are prepared: in a recovery the driver refuses it before.
int BatchQueue::submit() noexcept
{
    if (preparing_.empty())
        return ring_.submit();
    send(prepare_slot, uapi::IoNr::prep_io_cmds, {preparing_.bytes.get(), preparing_.end},
         user_data(kind_others, 0));
    std::int32_t answer = -EIO;
    bool answered = false;
    while (!answered) {
        const int res = ring_.submit_and_wait(1);
        if (res < 0 && res != -EINTR) {
            answer = res;
            break;
        }
        ring_.for_each([&](const io_uring_cqe& cqe) {
            if (cqe.user_data == user_data(kind_leave, 0)) {
                leaves_armed_ = true;
                return;
            }
            answer = cqe.res;
            answered = true;
        });
    }
    preparing_.clear();
    if (answer < 0) {
        ended_ = true; // the tags were not taken
        return answer;
    }
    send_fetch();
    return ring_.submit();
}

void BatchQueue::send_commit(std::uint16_t number) noexcept
{
    Commit& commit = commits_[number];
    commit.in_flight = true;
    ++in_flight_;
    send(first_commit_slot + number, uapi::IoNr::commit_io_cmds, {commit.first, commit.elements.end},
         user_data(kind_commit, number));
}

// With all commands in flight the results stay here until one is back: their completions end the wait.
void BatchQueue::flush() noexcept
{
    if (!committing_.empty()) {
        for (std::uint16_t number = 0; number < most_commits; ++number) {
            Commit& commit = commits_[number];
            if (commit.in_flight)
                continue;
            std::swap(commit.elements, committing_);
            commit.first = commit.elements.bytes.get();
            committing_.clear();
            send_commit(number);
            break;
        }
    }
    if (!fetching_ && !ended_)
        send_fetch();
}

// A commit completes in the enter that sends it. Waiting for one completion more saves the enter that would
// come back with nothing else; should the driver keep a commit for itself, the limit ends the wait.
int BatchQueue::wait() noexcept
{
    flush();
    if (in_flight_ == 0 || ended_)
        return ring_.submit_and_wait(1);
    __kernel_timespec limit{};
    limit.tv_sec = 1;
    io_uring_cqe* cqe = nullptr;
    const int res = io_uring_submit_and_wait_timeout(&ring_.raw(), &cqe, in_flight_ + 1, &limit, nullptr);
    return res == -ETIME ? 0 : res;
}

int BatchQueue::look() noexcept
{
    flush();
    const int res = ring_.submit();
    return res < 0 ? res : ring_.take_in();
}

} // namespace ublk::engine
