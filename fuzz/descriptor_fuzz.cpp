// Any descriptors through the engine's queue, over tag buffers of any size, with any answers of a backend and
// any refusals of the driver. The backend checks what it is handed; afterwards the queue's book is held
// against the contract of commit_result, written out once more.
#include "fuzz/input.hpp"
#include "ublk/engine/queue_runner.hpp"
#include "ublk/engine/testing/fake_queue.hpp"

#include <array>
#include <map>
#include <memory>

namespace {

using namespace ublk;
using fuzz::Input, fuzz::require, fuzz::Wide;

// Exactly as many bytes as each tag has, each buffer an allocation of its own: AddressSanitizer sees one too
// many. Payload is a pattern each way, and moving it may fail.
class Queue : public engine::testing::FakeQueue {
  public:
    static constexpr std::byte written{0xa5}, read{0x5a};

    Queue(std::uint16_t depth, std::size_t bytes, std::vector<uapi::IoDesc> requests, std::uint32_t seed,
          engine::testing::FakeFaults faults)
        : FakeQueue(depth, std::move(requests), seed, std::move(faults)), bytes_(bytes)
    {
        for (std::uint16_t tag = 0; tag < depth; ++tag)
            buffers_.push_back(std::make_unique<std::byte[]>(bytes));
    }
    std::span<std::byte> buffer(std::uint16_t tag) noexcept { return {buffers_.at(tag).get(), bytes_}; }
    std::int32_t bring(std::uint16_t tag, std::span<std::byte> data) noexcept
    {
        const auto request = request_of(tag);
        require(data.size() == std::uint64_t{plan()[request].desc.nr_sectors} * 512);
        require(data.empty() || data.data() == buffer(tag).data());
        std::ranges::fill(data, written);
        return payload_[request] = FakeQueue::bring(tag, data);
    }
    std::int32_t deliver(std::uint16_t tag, std::span<const std::byte> data) noexcept
    {
        require(!data.empty() && data.data() == buffer(tag).data());
        require(std::ranges::all_of(data, [](auto byte) { return byte == read; }));
        return payload_[request_of(tag)] = FakeQueue::deliver(tag, data);
    }
    // Why the payload of a request did not move; 0 if it did, or there was none.
    std::int32_t payload(std::size_t request) const
    {
        const auto at = payload_.find(request);
        return at == payload_.end() ? 0 : at->second;
    }

  private:
    std::size_t bytes_;
    std::vector<std::unique_ptr<std::byte[]>> buffers_;
    std::map<std::size_t, std::int32_t> payload_;
};

void check_range(const engine::Io& io, std::uint64_t device)
{
    const Wide begin = Wide{io.start_sector} * 512, end = begin + Wide{io.nr_sectors} * 512;
    const auto range = engine::byte_range(io, device);
    require(range.has_value() == (end <= device));
    if (range)
        require(range->offset == begin && range->length == end - begin);
    else
        require(range.error() == (end > UINT64_MAX ? -EINVAL : -EIO));
}

struct Backend {
    Queue* queue = nullptr;
    std::uint64_t device = 0; // bytes
    Input answers{nullptr, 0};
    std::map<std::size_t, std::int32_t> answered{}; // request -> what we said

    std::int32_t handle(engine::Io& io) noexcept
    {
        const auto request = queue->request_of(io.tag);
        const auto& desc = queue->plan()[request].desc;
        require(io.queue == 7 && queue->state(io.tag) == model::TagState::owned);
        require(static_cast<std::uint8_t>(io.op) == (desc.op_flags & 0xffU) &&
                io.flags.raw() == desc.op_flags - (desc.op_flags & 0xffU));
        require(io.start_sector == desc.start_sector && io.nr_sectors == desc.nr_sectors);
        if (io.op == uapi::IoOp::read || io.op == uapi::IoOp::write) {
            const auto buffer = queue->buffer(io.tag);
            require(io.data.size() == std::uint64_t{io.nr_sectors} * 512 && io.data.size() <= buffer.size());
            require(io.data.empty() || io.data.data() == buffer.data());
            if (io.op == uapi::IoOp::read)
                std::ranges::fill(io.data, Queue::read);
            else
                require(std::ranges::all_of(io.data, [](auto byte) { return byte == Queue::written; }));
        } else {
            require(io.data.empty());
        }
        check_range(io, device);
        // Often near what is right, where the rules are.
        const auto how = answers.take<std::uint8_t>();
        const auto exact = static_cast<std::int32_t>(io.data.size());
        const std::int32_t answer = how < 64    ? exact
                                    : how < 128 ? exact - (how - 64) * 512
                                    : how < 192 ? exact + how - 160
                                                : answers.take<std::int32_t>();
        require(answered.emplace(request, answer).second); // each request once
        return answer;
    }
};

std::int32_t expected_result(const uapi::IoDesc& desc, const std::int32_t* answer, std::int32_t payload,
                             bool short_reads)
{
    if (answer == nullptr) // the tag's buffer is too small, or the payload did not come
        return payload < 0 ? payload : -EIO;
    if (*answer < 0)
        return *answer < -4095 ? -EIO : *answer;
    const auto op = static_cast<uapi::IoOp>(desc.op_flags & 0xffU);
    if (op != uapi::IoOp::read && op != uapi::IoOp::write)
        return 0;
    const auto whole = std::int64_t{desc.nr_sectors} * 512;
    const bool all = *answer == whole && whole != 0;
    const bool some =
        op == uapi::IoOp::read && short_reads && *answer > 0 && *answer < whole && *answer % 512 == 0;
    if (!all && !some)
        return -EIO;
    return payload < 0 ? payload : *answer;
}

// Whether the backend has to have seen a request that is finished.
bool reaches_backend(const uapi::IoDesc& desc, std::size_t bytes, std::int32_t payload)
{
    const auto op = static_cast<uapi::IoOp>(desc.op_flags & 0xffU);
    if (op != uapi::IoOp::read && op != uapi::IoOp::write)
        return true;
    return std::uint64_t{desc.nr_sectors} * 512 <= bytes && (op == uapi::IoOp::read || payload == 0);
}

void check_book(const Queue& queue, const Backend& backend, const engine::QueueEnd& end, std::size_t bytes)
{
    require(queue.violations().empty());
    std::size_t served = 0, failed = 0;
    for (std::size_t i = 0; i < queue.plan().size(); ++i) {
        const auto& request = queue.plan()[i];
        const auto said = backend.answered.find(i);
        const bool known = said != backend.answered.end();
        require(request.results.size() <= 1); // each request is finished at most once
        if (request.results.empty()) {
            require(!known || end.stuck); // what a backend did is told to the driver
            continue;
        }
        const auto payload = queue.payload(i);
        require(known == reaches_backend(request.desc, bytes, payload));
        const auto result = request.results.front();
        require(result ==
                expected_result(request.desc, known ? &said->second : nullptr, payload, queue.short_reads()));
        ++served;
        failed += result < 0 ? 1U : 0U;
    }
    require(end.stuck ? end.requests >= served : end.requests == served);
    require(end.stuck ? end.errors >= failed : end.errors == failed);
    if (!end.stuck)
        require(queue.armed() == 0 && queue.owned() == 0);
    if (end.stuck)
        require(end.code > 0);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    constexpr std::size_t most_requests = 32, most_refusals = 64;
    Input input(data, size);
    const auto kind = input.take<std::uint8_t>();
    const auto depth = static_cast<std::uint16_t>(1 + kind % 8);
    const std::size_t bytes = input.take<std::uint16_t>();
    const auto seed = input.take<std::uint16_t>();
    const auto device = input.take<std::uint64_t>();
    // Refusals come from their own bytes, one for each COMMIT; 0, and what is not there, accepts.
    const auto said = input.bytes(input.take<std::uint8_t>() % most_refusals);
    Input refusals(reinterpret_cast<const std::uint8_t*>(said.data()), said.size());
    const auto refuse = [&refusals](std::uint16_t) {
        constexpr std::array errors{0, 0, 0, -EAGAIN, -EINTR, -ENOMEM, -EINVAL, 2};
        return errors[refusals.take<std::uint8_t>() % errors.size()];
    };
    const auto refuse_fetch = [&refusals](std::uint16_t) {
        return refusals.take<std::uint8_t>() < 0xf8 ? 0 : -EINVAL;
    };
    const auto wait_error = [&refusals, calls = 0]() mutable {
        constexpr std::array errors{0, 0, 0, 0, -EINTR, -EAGAIN, -EBUSY, -EIO};
        return ++calls % 4 == 0 ? errors[refusals.take<std::uint8_t>() % errors.size()] : 0;
    };
    const auto no_payload = [&refusals, fails = (kind & 32U) != 0](std::uint16_t) {
        constexpr std::array errors{0, 0, -EFAULT, -EIO};
        return fails ? errors[refusals.take<std::uint8_t>() % errors.size()] : 0;
    };
    std::vector<uapi::IoDesc> requests;
    const auto count = input.take<std::uint8_t>() % most_requests;
    while (requests.size() < count && !input.empty())
        requests.push_back(input.take<uapi::IoDesc>());

    Queue queue(
        depth, bytes, requests, seed,
        {.refuse_fetch = refuse_fetch, .refuse = refuse, .wait_error = wait_error, .no_payload = no_payload});
    if ((kind & 8U) != 0)
        queue.need_get_data();
    if ((kind & 16U) != 0)
        queue.refuse_short_reads();
    Backend backend{.queue = &queue, .device = device, .answers = input};
    engine::QueueRunner runner(queue, backend, 7);
    runner.arm();
    const auto end = runner.run();
    check_book(queue, backend, end, bytes);
    return 0;
}
