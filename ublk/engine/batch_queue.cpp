#include "ublk/engine/batch_queue.hpp"

#include <bit>
#include <cerrno>
#include <utility>

namespace ublk::engine {

namespace {

constexpr unsigned most_tags_a_time = 128; // that the driver puts into one buffer
constexpr int buffer_group = 0;

} // namespace

BatchQueue::BatchQueue(QueueBase base) : QueueBase(std::move(base))
{
    if (options_.data_path == DataPath::copy)
        flags_ |= uapi::BatchFlag::has_buf_addr;
    if (options_.data_path == DataPath::auto_buf)
        flags_ |= uapi::BatchFlag::auto_buf_reg_fallback;
    if (options_.zoned)
        flags_ |= uapi::BatchFlag::has_zone_lba;
    element_bytes_ = uapi::batch_elem_bytes(flags_);
    elements_.reserve(options_.depth);
    for (std::uint16_t tag = 0; tag < options_.depth; ++tag)
        elements_.push_back({.element = {.tag = tag, .buf_index = tag}, .address = command_address(tag)});
    const std::size_t bytes = options_.depth * largest_element;
    element_store_ = std::make_unique<std::byte[]>(bytes * (most_commits + 2));
    std::byte* next = element_store_.get();
    const auto elements = [&] {
        std::byte* begin = std::exchange(next, next + bytes);
        return Elements{begin, begin};
    };
    preparing_ = elements();
    committing_ = elements();
    commits_.reserve(most_commits);
    for (std::uint16_t number = 0; number < most_commits; ++number) {
        commits_.push_back({.elements = elements()});
        prepare(first_commit_slot + number, uapi::IoNr::commit_io_cmds, {}, user_data(kind_commit, number));
    }
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

void BatchQueue::prepare(unsigned slot, uapi::IoNr nr, std::span<const std::byte> elements,
                         std::uint64_t data) noexcept
{
    const uapi::BatchIo command{.q_id = options_.queue,
                                .flags = flags_.raw(),
                                .nr_elem = static_cast<std::uint16_t>(elements.size() / element_bytes_),
                                .elem_bytes = static_cast<std::uint8_t>(element_bytes_)};
    wire::prep_batch(ring_.slot(extra_slot(slot)), 0, uapi::opcode(nr), command,
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
    prepare(prepare_slot, uapi::IoNr::prep_io_cmds, {preparing_.begin, preparing_.end},
            user_data(kind_others, 0));
    ring_.send_slot(extra_slot(prepare_slot));
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

std::optional<BatchQueue::Refusal> BatchQueue::partly_committed(std::uint16_t number,
                                                                std::int32_t res) noexcept
{
    Commit& commit = commits_[number];
    const unsigned taken = res > 0 ? static_cast<unsigned>(res) / element_bytes_ : 0U;
    commit.first +=
        std::min<std::ptrdiff_t>(std::ptrdiff_t{taken} * element_bytes_, commit.elements.end - commit.first);
    std::optional<Refusal> refusal;
    if (res <= 0 && commit.first < commit.elements.end) {
        std::uint16_t tag = 0;
        std::memcpy(&tag, commit.first, sizeof(tag));
        commit.first += element_bytes_;
        refusal = {tag, res < 0 ? res : -EPROTO};
    }
    if (commit.first < commit.elements.end)
        send_commit(number);
    else
        commit.elements.clear();
    return refusal;
}

int BatchQueue::look() noexcept
{
    flush();
    const int res = ring_.submit();
    return res < 0 ? res : ring_.take_in();
}

} // namespace ublk::engine
