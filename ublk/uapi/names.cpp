#include "ublk/uapi/names.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

namespace ublk::uapi {
namespace {

template <typename E>
struct Name {
    E value;
    std::string_view text;
};

constexpr std::array<Name<CtrlNr>, 18> ctrl_names{{
    {CtrlNr::get_queue_affinity, "GET_QUEUE_AFFINITY"},
    {CtrlNr::get_dev_info, "GET_DEV_INFO"},
    {CtrlNr::add_dev, "ADD_DEV"},
    {CtrlNr::del_dev, "DEL_DEV"},
    {CtrlNr::start_dev, "START_DEV"},
    {CtrlNr::stop_dev, "STOP_DEV"},
    {CtrlNr::set_params, "SET_PARAMS"},
    {CtrlNr::get_params, "GET_PARAMS"},
    {CtrlNr::start_user_recovery, "START_USER_RECOVERY"},
    {CtrlNr::end_user_recovery, "END_USER_RECOVERY"},
    {CtrlNr::get_dev_info2, "GET_DEV_INFO2"},
    {CtrlNr::get_features, "GET_FEATURES"},
    {CtrlNr::del_dev_async, "DEL_DEV_ASYNC"},
    {CtrlNr::update_size, "UPDATE_SIZE"},
    {CtrlNr::quiesce_dev, "QUIESCE_DEV"},
    {CtrlNr::try_stop_dev, "TRY_STOP_DEV"},
    {CtrlNr::reg_buf, "REG_BUF"},
    {CtrlNr::unreg_buf, "UNREG_BUF"},
}};

constexpr std::array<Name<IoNr>, 8> io_names{{
    {IoNr::fetch_req, "FETCH_REQ"},
    {IoNr::commit_and_fetch_req, "COMMIT_AND_FETCH_REQ"},
    {IoNr::need_get_data, "NEED_GET_DATA"},
    {IoNr::register_io_buf, "REGISTER_IO_BUF"},
    {IoNr::unregister_io_buf, "UNREGISTER_IO_BUF"},
    {IoNr::prep_io_cmds, "PREP_IO_CMDS"},
    {IoNr::commit_io_cmds, "COMMIT_IO_CMDS"},
    {IoNr::fetch_io_cmds, "FETCH_IO_CMDS"},
}};

constexpr std::array<Name<DevState>, 4> state_names{{
    {DevState::dead, "DEAD"},
    {DevState::live, "LIVE"},
    {DevState::quiesced, "QUIESCED"},
    {DevState::fail_io, "FAIL_IO"},
}};

constexpr std::array<Name<IoOp>, 13> op_names{{
    {IoOp::read, "READ"},
    {IoOp::write, "WRITE"},
    {IoOp::flush, "FLUSH"},
    {IoOp::discard, "DISCARD"},
    {IoOp::write_same, "WRITE_SAME"},
    {IoOp::write_zeroes, "WRITE_ZEROES"},
    {IoOp::zone_open, "ZONE_OPEN"},
    {IoOp::zone_close, "ZONE_CLOSE"},
    {IoOp::zone_finish, "ZONE_FINISH"},
    {IoOp::zone_append, "ZONE_APPEND"},
    {IoOp::zone_reset_all, "ZONE_RESET_ALL"},
    {IoOp::zone_reset, "ZONE_RESET"},
    {IoOp::report_zones, "REPORT_ZONES"},
}};

constexpr std::array<Name<ZoneType>, 3> zone_type_names{{
    {ZoneType::conventional, "CONVENTIONAL"},
    {ZoneType::sequential_write_required, "SEQWRITE_REQ"},
    {ZoneType::sequential_write_preferred, "SEQWRITE_PREF"},
}};

constexpr std::array<Name<ZoneCond>, 8> zone_cond_names{{
    {ZoneCond::not_write_pointer, "NOT_WP"},
    {ZoneCond::empty, "EMPTY"},
    {ZoneCond::implicit_open, "IMP_OPEN"},
    {ZoneCond::explicit_open, "EXP_OPEN"},
    {ZoneCond::closed, "CLOSED"},
    {ZoneCond::read_only, "READONLY"},
    {ZoneCond::full, "FULL"},
    {ZoneCond::offline, "OFFLINE"},
}};

constexpr std::array<Name<IoFlag>, 10> io_flag_names{{
    {IoFlag::failfast_dev, "FAILFAST_DEV"},
    {IoFlag::failfast_transport, "FAILFAST_TRANSPORT"},
    {IoFlag::failfast_driver, "FAILFAST_DRIVER"},
    {IoFlag::meta, "META"},
    {IoFlag::fua, "FUA"},
    {IoFlag::nounmap, "NOUNMAP"},
    {IoFlag::swap, "SWAP"},
    {IoFlag::need_reg_buf, "NEED_REG_BUF"},
    {IoFlag::integrity, "INTEGRITY"},
    {IoFlag::shmem_zc, "SHMEM_ZC"},
}};

constexpr std::array<Name<ParamType>, 7> param_names{{
    {ParamType::basic, "BASIC"},
    {ParamType::discard, "DISCARD"},
    {ParamType::devt, "DEVT"},
    {ParamType::zoned, "ZONED"},
    {ParamType::dma_align, "DMA_ALIGN"},
    {ParamType::segment, "SEGMENT"},
    {ParamType::integrity, "INTEGRITY"},
}};

constexpr std::array<Name<Attr>, 4> attr_names{{
    {Attr::read_only, "READ_ONLY"},
    {Attr::rotational, "ROTATIONAL"},
    {Attr::volatile_cache, "VOLATILE_CACHE"},
    {Attr::fua, "FUA"},
}};

constexpr std::array<Name<BatchFlag>, 3> batch_names{{
    {BatchFlag::has_zone_lba, "HAS_ZONE_LBA"},
    {BatchFlag::has_buf_addr, "HAS_BUF_ADDR"},
    {BatchFlag::auto_buf_reg_fallback, "AUTO_BUF_REG_FALLBACK"},
}};

std::string unknown(std::string_view kind, std::uint32_t value)
{
    return fmt::format("unknown {} {:#x}", kind, value);
}

template <typename E, std::size_t N>
std::string name_of(const std::array<Name<E>, N>& names, E value, std::string_view kind)
{
    const auto row = std::ranges::find(names, value, &Name<E>::value);
    if (row != names.end())
        return std::string(row->text);
    return unknown(kind, static_cast<std::uint32_t>(value));
}

template <typename E, std::size_t N>
std::string names_of(const std::array<Name<E>, N>& names, FlagSet<E> set)
{
    std::string text;
    FlagSet<E> rest = set;
    for (const auto& [flag, name] : names) {
        if (!set.has(flag))
            continue;
        text += fmt::format("{}{}", text.empty() ? "" : "|", name);
        rest = rest.without(flag);
    }
    if (!rest.empty())
        text += fmt::format("{}{:#x}", text.empty() ? "" : "|", rest.raw());
    return text.empty() ? "none" : text;
}

template <typename E, std::size_t N>
std::optional<E> nr_of(const std::array<Name<E>, N>& names, std::uint32_t op)
{
    for (const auto& row : names)
        if (op == opcode(row.value) || op == legacy_opcode(row.value))
            return row.value;
    return std::nullopt;
}

template <typename E, std::size_t N>
std::string op_name(const std::array<Name<E>, N>& names, std::uint32_t op, std::string_view kind)
{
    const auto row = std::ranges::find(names, static_cast<E>(opcode_nr(op)), &Name<E>::value);
    const bool ours = opcode_type(op) == opcode_type_ublk || op == opcode_nr(op);
    if (row == names.end() || !ours)
        return unknown(kind, op);
    if (op == opcode(row->value))
        return std::string(row->text);
    if (op == legacy_opcode(row->value))
        return fmt::format("{} (legacy)", row->text);
    return fmt::format("{} (as {:#x})", row->text, op);
}

} // namespace

std::string to_string(CtrlNr nr)
{
    return name_of(ctrl_names, nr, "control op");
}
std::string to_string(IoNr nr)
{
    return name_of(io_names, nr, "I/O op");
}
std::string to_string(DevState state)
{
    return name_of(state_names, state, "device state");
}
std::string to_string(IoOp op)
{
    return name_of(op_names, op, "request op");
}
std::string to_string(ZoneType type)
{
    return name_of(zone_type_names, type, "zone type");
}
std::string to_string(ZoneCond cond)
{
    return name_of(zone_cond_names, cond, "zone condition");
}
std::string to_string(IoFlags set)
{
    return names_of(io_flag_names, set);
}
std::string to_string(ParamTypes set)
{
    return names_of(param_names, set);
}
std::string to_string(Attrs set)
{
    return names_of(attr_names, set);
}
std::string to_string(BatchFlags set)
{
    return names_of(batch_names, set);
}

std::optional<CtrlNr> ctrl_nr(std::uint32_t opcode)
{
    return nr_of(ctrl_names, opcode);
}
std::optional<IoNr> io_nr(std::uint32_t opcode)
{
    return nr_of(io_names, opcode);
}
std::string ctrl_op_name(std::uint32_t opcode)
{
    return op_name(ctrl_names, opcode, "control op");
}
std::string io_op_name(std::uint32_t opcode)
{
    return op_name(io_names, opcode, "I/O op");
}

} // namespace ublk::uapi
