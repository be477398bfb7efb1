#include "ublk/engine/paranoid.hpp"

#include "ublk/uapi/names.hpp"

#include <fmt/core.h>

namespace ublk::engine {

namespace {

constexpr std::int32_t lowest_errno = -4095;

bool offers(const uapi::Params& params, uapi::ParamType type)
{
    return uapi::ParamTypes::from_raw(params.types).has(type);
}

bool is_zone_op(uapi::IoOp op)
{
    return op >= uapi::IoOp::zone_open && op <= uapi::IoOp::report_zones;
}

bool is_known(uapi::IoOp op)
{
    using enum uapi::IoOp;
    return op <= discard || op == write_zeroes || (op >= zone_open && op <= zone_reset) || op == report_zones;
}

bool changes(uapi::IoOp op)
{
    return op != uapi::IoOp::read && op != uapi::IoOp::flush && op != uapi::IoOp::report_zones;
}

} // namespace

std::string_view to_string(Violation violation)
{
    constexpr std::array<std::string_view, 16> names{"no such tag",
                                                     "stray completion",
                                                     "unknown result",
                                                     "command out of turn",
                                                     "unknown operation",
                                                     "not announced",
                                                     "read-only device",
                                                     "no sectors",
                                                     "misaligned",
                                                     "beyond the end",
                                                     "too long",
                                                     "no room in the buffer",
                                                     "outside of the shared memory",
                                                     "foreign address",
                                                     "bad answer",
                                                     "not what was answered"};
    return names[static_cast<std::size_t>(violation)];
}

void Paranoid::sent(std::uint16_t number, TagEvent event, std::int32_t result) noexcept
{
    const Entry entry{.kind = Entry::Kind::command, .event = event, .result = result, .desc = {}};
    if (number >= tags_.size())
        return violated(Violation::no_such_tag, number, entry);
    Tag& tag = tags_[number];
    const auto next = next_state(tag.state, event);
    if (!next)
        return violated(Violation::command_out_of_turn, number, entry);
    if (event == TagEvent::commit && tag.answer != result)
        return violated(Violation::other_result, number, entry);
    tag.state = *next;
    tag.sent = event;
    tag.note(entry);
}

void Paranoid::completed(std::uint16_t number, std::int32_t result) noexcept
{
    const Entry entry{.kind = Entry::Kind::completion, .result = result, .desc = {}};
    if (number >= tags_.size())
        return violated(Violation::no_such_tag, number, entry);
    if (const auto wrong = step(tags_[number], result))
        return violated(*wrong, number, entry);
    tags_[number].note(entry);
}

// The event that a completion is, and where it takes the tag.
std::optional<Violation> Paranoid::step(Tag& tag, std::int32_t result) noexcept
{
    if (tag.state != TagState::armed)
        return Violation::stray_completion;
    TagEvent event = TagEvent::request;
    if (result > 0 && result != uapi::io_res_need_get_data)
        return Violation::unknown_result;
    if (result < 0) {
        const bool over = result == uapi::io_res_abort || tag.sent == TagEvent::fetch;
        event = over ? TagEvent::abort : TagEvent::refuse;
    }
    const auto next = next_state(tag.state, event);
    if (!next)
        return Violation::stray_completion;
    tag.state = *next;
    return std::nullopt;
}

void Paranoid::request(const Io& io, const uapi::IoDesc& desc, std::span<std::byte> buffer) noexcept
{
    const Entry entry{.kind = Entry::Kind::request, .desc = desc};
    if (io.tag >= tags_.size())
        return violated(Violation::no_such_tag, io.tag, entry);
    Tag& tag = tags_[io.tag];
    tag.answer.reset();
    if (const auto wrong = check(desc, buffer))
        return violated(*wrong, io.tag, entry);
    tag.note(entry);
}

std::optional<Violation> Paranoid::check(const uapi::IoDesc& desc, std::span<std::byte> buffer) noexcept
{
    if (auto wrong = check_offered(desc))
        return wrong;
    if (auto wrong = check_range(desc))
        return wrong;
    const bool is_shared = desc.flags().has(uapi::IoFlag::shmem_zc);
    if (!carries_data(static_cast<uapi::IoOp>(desc.op())) || (buffer.empty() && !is_shared))
        return std::nullopt;
    if (std::uint64_t{desc.nr_sectors} << uapi::sector_shift > buffer.size())
        return is_shared ? Violation::outside_shared : Violation::no_room;
    // 0: we did not tell the driver where the buffer is. Of shared memory it is no address.
    const auto address = reinterpret_cast<std::uintptr_t>(buffer.data());
    if (desc.addr != 0 && desc.addr != address && !is_shared)
        return Violation::foreign_addr;
    return std::nullopt;
}

std::optional<Violation> Paranoid::check_offered(const uapi::IoDesc& desc) const noexcept
{
    using enum uapi::IoOp;
    const auto op = static_cast<uapi::IoOp>(desc.op());
    const auto attrs = uapi::Attrs::from_raw(params_.basic.attrs);
    if (!is_known(op))
        return Violation::unknown_operation;
    if (is_zone_op(op) && !offers(params_, uapi::ParamType::zoned))
        return Violation::not_announced;
    if ((op == discard || op == write_zeroes) && most_sectors(op) == 0)
        return Violation::not_announced;
    if (op == flush && !attrs.has(uapi::Attr::volatile_cache))
        return Violation::not_announced;
    if (desc.flags().has(uapi::IoFlag::fua) && !attrs.has(uapi::Attr::fua))
        return Violation::not_announced;
    if (desc.flags().has(uapi::IoFlag::shmem_zc) &&
        (!features_.has(uapi::Feature::shmem_zc) || !carries_data(op)))
        return Violation::not_announced;
    if (desc.flags().has(uapi::IoFlag::integrity) &&
        (!offers(params_, uapi::ParamType::integrity) || !carries_data(op)))
        return Violation::not_announced;
    if (changes(op) && attrs.has(uapi::Attr::read_only))
        return Violation::read_only;
    return std::nullopt;
}

bool Paranoid::ends_behind(const uapi::IoDesc& desc) const noexcept
{
    const std::uint64_t sectors = params_.basic.dev_sectors;
    return desc.start_sector > sectors || desc.nr_sectors > sectors - desc.start_sector;
}

std::optional<Violation> Paranoid::check_range(const uapi::IoDesc& desc) noexcept
{
    using enum uapi::IoOp;
    const auto op = static_cast<uapi::IoOp>(desc.op());
    // Flushes have no range; those of zone management are zones and counts of them.
    if (op == flush || (is_zone_op(op) && op != zone_append))
        return std::nullopt;
    if (desc.nr_sectors == 0)
        return Violation::no_sectors;
    const std::uint64_t block = (1ULL << params_.basic.logical_bs_shift) >> uapi::sector_shift;
    if (block > 1 && (desc.start_sector % block != 0 || desc.nr_sectors % block != 0))
        return Violation::misaligned;
    if (ends_behind(desc) && sectors_now_) [[unlikely]]
        params_.basic.dev_sectors = sectors_now_();
    if (ends_behind(desc))
        return Violation::beyond_end;
    if (desc.nr_sectors > most_sectors(op))
        return Violation::too_long;
    return std::nullopt;
}

std::uint64_t Paranoid::most_sectors(uapi::IoOp op) const noexcept
{
    switch (op) {
    case uapi::IoOp::discard:
        return offers(params_, uapi::ParamType::discard) ? params_.discard.max_discard_sectors : 0;
    case uapi::IoOp::write_zeroes:
        return offers(params_, uapi::ParamType::discard) ? params_.discard.max_write_zeroes_sectors : 0;
    case uapi::IoOp::zone_append:
        return params_.zoned.max_zone_append_sectors;
    default:
        return params_.basic.max_sectors;
    }
}

void Paranoid::answered(const Io& io, std::int32_t result) noexcept
{
    if (io.tag >= tags_.size())
        return violated(Violation::no_such_tag, io.tag, {});
    tags_[io.tag].answer = result;
    const std::uint64_t whole = std::uint64_t{io.nr_sectors} << uapi::sector_shift;
    const auto done = static_cast<std::uint64_t>(result); // where it is not negative
    bool good = result >= lowest_errno;
    if (result >= 0 && io.op == uapi::IoOp::write)
        good = done == whole;
    else if (result >= 0 && io.op == uapi::IoOp::read)
        good = done > 0 && done <= whole && done % uapi::sector_size == 0;
    else if (result > 0)
        good = is_zone_op(io.op);
    if (!good)
        violated(Violation::bad_answer, io.tag,
                 {.kind = Entry::Kind::command, .event = TagEvent::commit, .result = result, .desc = {}});
}

void Paranoid::violated(Violation violation, std::uint16_t tag, const Entry& entry) noexcept
{
    if (violation_)
        return;
    violation_ = violation;
    culprit_ = tag;
    deed_ = entry;
}

std::string Paranoid::text(const Entry& entry)
{
    switch (entry.kind) {
    case Entry::Kind::command:
        return entry.event == TagEvent::commit ? fmt::format("commit {}", entry.result)
                                               : std::string(to_string(entry.event));
    case Entry::Kind::completion:
        return fmt::format("completion {}", entry.result);
    case Entry::Kind::request: {
        const auto flags = entry.desc.flags();
        return fmt::format("{}{} of {} sectors at {}", to_string(static_cast<uapi::IoOp>(entry.desc.op())),
                           flags.raw() != 0 ? fmt::format(" ({})", to_string(flags)) : "",
                           entry.desc.nr_sectors, entry.desc.start_sector);
    }
    case Entry::Kind::none:
        break;
    }
    return {};
}

std::string Paranoid::report() const
{
    if (!violation_)
        return {};
    std::string all = fmt::format("{}: {}, tag {}", to_string(*violation_), text(deed_), culprit_);
    if (culprit_ >= tags_.size())
        return all + fmt::format(" of {}", tags_.size());
    const Tag& tag = tags_[culprit_];
    all += fmt::format(", which is {}; before: ", to_string(tag.state));
    std::string before;
    for (std::size_t i = 0; i < tag.history.size(); ++i) {
        const Entry& entry = tag.history[(tag.next + i) % tag.history.size()];
        if (entry.kind != Entry::Kind::none)
            before += (before.empty() ? "" : ", ") + text(entry);
    }
    return all + (before.empty() ? "nothing" : before);
}

} // namespace ublk::engine
