#include "ublk/backends/decorators/record.hpp"

#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/names.hpp"

#include <algorithm>
#include <bit>
#include <ctime>
#include <nlohmann/json.hpp>

namespace ublk::backends {

namespace {

constexpr std::uint64_t unanswered = UINT64_MAX; // in place of how long it took

} // namespace

std::uint64_t monotonic_ns() noexcept
{
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    constexpr std::uint64_t second = 1'000'000'000;
    return static_cast<std::uint64_t>(now.tv_sec) * second + static_cast<std::uint64_t>(now.tv_nsec);
}

Recorder::Recorder(std::uint16_t queues, std::uint32_t last, std::uint64_t (*clock)() noexcept)
    : mask_(std::bit_ceil(std::uint64_t{std::max(last, 1U)}) - 1), clock_(clock), queues_(queues)
{
    for (auto& queue : queues_) {
        queue.number_of_tag.resize(uapi::max_queue_depth);
        queue.slots = std::make_unique<Slot[]>(mask_ + 1); // NOLINT(modernize-avoid-c-arrays)
    }
}

void Recorder::asked(const engine::Io& io) noexcept
{
    if (io.queue >= queues_.size() || io.tag >= uapi::max_queue_depth)
        return;
    Queue& queue = queues_[io.queue];
    const std::uint64_t number = queue.next.load(std::memory_order_relaxed);
    queue.number_of_tag[io.tag] = number;
    write(queue.slots[number & mask_], {.queue = io.queue,
                                        .tag = io.tag,
                                        .number = number,
                                        .op = io.op,
                                        .flags = io.flags,
                                        .start_sector = io.start_sector,
                                        .nr_sectors = io.nr_sectors,
                                        .began = clock_()});
    queue.next.store(number + 1, std::memory_order_release);
}

void Recorder::answered(const engine::Io& io, std::int32_t answer) noexcept
{
    if (io.queue >= queues_.size() || io.tag >= uapi::max_queue_depth)
        return;
    Queue& queue = queues_[io.queue];
    Slot& slot = queue.slots[queue.number_of_tag[io.tag] & mask_];
    auto record = read(slot); // nobody else writes
    if (!record || record->number != queue.number_of_tag[io.tag])
        return; // more requests came meanwhile than it keeps
    record->took = clock_() - record->began;
    record->result = answer;
    write(slot, *record);
}

void Recorder::write(Slot& slot, const Recorded& record) noexcept
{
    const std::uint64_t flags = record.flags.raw() | static_cast<std::uint64_t>(record.op);
    const auto result = static_cast<std::uint32_t>(record.result.value_or(0));
    const std::array<std::uint64_t, 7> words{record.number,
                                             record.start_sector,
                                             flags << 32U | record.nr_sectors,
                                             record.began,
                                             record.result ? record.took : unanswered,
                                             result,
                                             std::uint64_t{record.queue} << 16U | record.tag};
    const std::uint64_t version = slot.version.load(std::memory_order_relaxed);
    slot.version.store(version + 1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < words.size(); ++i)
        slot.words[i].store(words[i], std::memory_order_release); // not before the odd version is seen
    slot.version.store(version + 2, std::memory_order_release);
}

std::optional<Recorded> Recorder::read(const Slot& slot)
{
    const std::uint64_t version = slot.version.load(std::memory_order_acquire);
    if (version == 0 || version % 2 != 0)
        return std::nullopt;
    std::array<std::uint64_t, 7> words{};
    for (std::size_t i = 0; i < words.size(); ++i)
        words[i] = slot.words[i].load(std::memory_order_acquire); // before the version is looked at again
    if (slot.version.load(std::memory_order_relaxed) != version)
        return std::nullopt;
    constexpr std::uint32_t op_bits = 0xff;
    const auto op_flags = static_cast<std::uint32_t>(words[2] >> 32U);
    Recorded record{.queue = static_cast<std::uint16_t>(words[6] >> 16U),
                    .tag = static_cast<std::uint16_t>(words[6]),
                    .number = words[0],
                    .op = static_cast<uapi::IoOp>(op_flags & op_bits),
                    .flags = uapi::IoFlags::from_raw(op_flags & ~op_bits),
                    .start_sector = words[1],
                    .nr_sectors = static_cast<std::uint32_t>(words[2]),
                    .began = words[3]};
    if (words[4] != unanswered) {
        record.took = words[4];
        record.result = static_cast<std::int32_t>(static_cast<std::uint32_t>(words[5]));
    }
    return record;
}

std::vector<Recorded> Recorder::recorded() const
{
    std::vector<Recorded> all;
    for (const auto& queue : queues_) {
        const std::uint64_t next = queue.next.load(std::memory_order_acquire);
        for (std::uint64_t number = next - std::min(next, mask_ + 1); number < next; ++number) {
            const auto record = read(queue.slots[number & mask_]);
            if (record && record->number == number)
                all.push_back(*record);
        }
    }
    return all;
}

std::string json_lines(const std::vector<Recorded>& records)
{
    std::string text;
    for (const auto& record : records) {
        nlohmann::ordered_json line{{"queue", record.queue},
                                    {"number", record.number},
                                    {"tag", record.tag},
                                    {"op", uapi::to_string(record.op)},
                                    {"flags", uapi::to_string(record.flags)},
                                    {"sector", record.start_sector},
                                    {"sectors", record.nr_sectors},
                                    {"began_ns", record.began}};
        if (record.result) {
            line["took_ns"] = record.took;
            line["result"] = *record.result;
        }
        text += line.dump() + '\n';
    }
    return text;
}

} // namespace ublk::backends
