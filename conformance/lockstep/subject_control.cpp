// Control commands, as the driver gets them.
#include "conformance/lockstep/subject.hpp"

#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/integrity_verbs.hpp"

#include <utility>

namespace conformance::lockstep {

namespace model = ublk::model;
namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

namespace {

constexpr std::uint64_t page_bytes = 4096;

CtrlNr control_nr(Verb verb)
{
    switch (verb) {
    case Verb::add:
        return CtrlNr::add_dev;
    case Verb::del:
        return CtrlNr::del_dev;
    case Verb::del_async:
        return CtrlNr::del_dev_async;
    case Verb::get_params:
        return CtrlNr::get_params;
    case Verb::set_params:
        return CtrlNr::set_params;
    case Verb::start:
        return CtrlNr::start_dev;
    case Verb::stop:
        return CtrlNr::stop_dev;
    case Verb::try_stop:
        return CtrlNr::try_stop_dev;
    case Verb::start_recovery:
        return CtrlNr::start_user_recovery;
    case Verb::end_recovery:
        return CtrlNr::end_user_recovery;
    case Verb::update_size:
        return CtrlNr::update_size;
    case Verb::quiesce:
        return CtrlNr::quiesce_dev;
    case Verb::reg_buf:
        return CtrlNr::reg_buf;
    case Verb::unreg_buf:
        return CtrlNr::unreg_buf;
    default:
        return CtrlNr::get_dev_info;
    }
}

void add_block(uapi::Params& params, model::Blocks blocks)
{
    using enum model::Blocks;
    const auto has = [&](uapi::ParamType type) { params.types |= uapi::ParamTypes(type).raw(); };
    switch (blocks) {
    case basic:
        break;
    case devt:
        has(uapi::ParamType::devt);
        break;
    case no_basic: // with no types at all it would be refused before anything is looked at
        params.types = 0;
        [[fallthrough]];
    case discard:
    case bad_discard:
        has(uapi::ParamType::discard);
        params.discard = {.discard_granularity = blocks == bad_discard ? 0U : 4096U};
        break;
    case dma_align:
    case bad_dma_align:
        has(uapi::ParamType::dma_align);
        params.dma.alignment = blocks == dma_align ? 511 : 5;
        break;
    case segment:
    case bad_segment:
        has(uapi::ParamType::segment);
        params.seg = {.seg_boundary_mask = 0xffff'ffff,
                      .max_segment_size = blocks == segment ? 65536U : 2048U};
        break;
    case integrity:
    case bad_integrity:
        has(uapi::ParamType::integrity);
        params.integrity = opaque_integrity(model::metadata_bytes);
        if (blocks == bad_integrity)
            params.integrity.csum_type = 3;
        break;
    case zoned:
    case bad_zoned:
        has(uapi::ParamType::zoned);
        params.basic.chunk_sectors = model::zone_sectors;
        params.zoned.max_zone_append_sectors = blocks == zoned ? 64 : 0;
        break;
    }
}

uapi::Params params_of(const Command& command)
{
    auto params = basic_params(command.value);
    if (command.given == model::Given::wrong)
        params.basic.logical_bs_shift = 8;
    add_block(params, command.blocks);
    return params;
}

} // namespace

void Subject::send_control(const Command& command, Token token, const model::Device* before)
{
    auto& buffers = *(buffers_[token] = std::make_unique<Buffers>());
    CtrlCmd cmd{.dev_id = command.dev, .data = command.value};
    if (command.verb == Verb::add) {
        buffers.info = to_info({.nr_hw_queues = command.queues,
                                .queue_depth = command.depth,
                                .dev_id = command.dev,
                                .flags = command.flags});
        cmd.data = 0;
    }
    if (command.verb == Verb::add || command.verb == Verb::get_info) {
        buffers.payload = &buffers.info;
        buffers.len = sizeof(buffers.info);
    }
    if (command.verb == Verb::set_params || command.verb == Verb::get_params) {
        buffers.params = params_of(command);
        buffers.payload = &buffers.params;
        buffers.len = sizeof(buffers.params);
        cmd.data = 0;
    }
    if (command.verb == Verb::reg_buf) {
        const auto area = model::areas.at(command.value);
        buffers.memory = {.addr = memory_.addr() + area.first_page * page_bytes,
                          .len = area.pages * page_bytes - (command.given == model::Given::wrong ? 1 : 0)};
        buffers.payload = &buffers.memory;
        buffers.len = sizeof(buffers.memory);
        cmd.data = 0;
    }
    if (command.verb == Verb::start || command.verb == Verb::end_recovery) {
        constexpr std::uint64_t init = 1; // which has no ublkcN open
        const bool server = command.given == Given::good && before != nullptr && before->server != 0;
        cmd.data = command.given == Given::zero ? 0
                   : server                     ? static_cast<std::uint64_t>(pid_of(before->server))
                                                : init;
    }
    const bool named = command.verb != Verb::add && before != nullptr &&
                       before->flags.has(Feature::unprivileged_dev) && command.path != Given::zero;
    if (named)
        buffers.sent = command.path == Given::good ? wire::char_path(command.dev) : wire::control_path;
    buffers.path = buffers.sent.size();
    if (buffers.payload != nullptr)
        buffers.sent.append(static_cast<const char*>(buffers.payload), buffers.len);
    cmd.dev_path_len = static_cast<std::uint16_t>(buffers.path);
    cmd.len = static_cast<std::uint16_t>(buffers.sent.size());
    cmd.addr = buffers.sent.empty() ? 0 : address(buffers.sent.data());
    const auto nr = control_nr(command.verb);
    const auto op = command.bare ? uapi::legacy_opcode(nr) : uapi::opcode(nr);
    const auto who = personalities_.find(command.sender);
    sent_.insert_or_assign(
        token, Sent{command, driver_.begin(op, cmd, who == personalities_.end() ? 0 : who->second)});
}

} // namespace conformance::lockstep
