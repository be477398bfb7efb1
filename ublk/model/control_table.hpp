// What a control command does to a device in each of its phases: one table, which the model steps by and the
// page README.md is printed from.
#pragma once

#include "ublk/model/state.hpp"
#include "ublk/model/traits.hpp"

#include <array>
#include <cerrno>
#include <cstdint>
#include <span>
#include <string_view>

namespace ublk::model {

// How far a device is, as commands see it.
enum class Phase : std::uint8_t {
    added,    // no server, no disk
    fetching, // ublkcN is open
    live,
    quiesced,
    fail_io,
    stopped, // ublkcN has been open since before STOP_DEV
    deleted, // DEL_DEV is done with it, and something refers to it
};
inline constexpr std::array phases{Phase::added,   Phase::fetching, Phase::live,   Phase::quiesced,
                                   Phase::fail_io, Phase::stopped,  Phase::deleted};
Phase phase(const Device& device);
std::string_view to_string(Phase phase);

struct ControlReply {
    enum class Kind : std::uint8_t {
        does,        // what it is for, and answers 0, or what the command itself is to blame for
        answers,     // answers `value` and does nothing
        unless_open, // does it; -EBUSY if ublkbN is open
        if_closed,   // does it; -EBUSY if ublkcN is open
    } kind = Kind::does;
    std::int32_t value = 0;
    constexpr bool operator==(const ControlReply&) const = default;
};

struct ControlRow {
    Verb verb;
    bool waits;           // first for a complete round of FETCHes, or for STOP_DEV; then the pid is looked at
    Features since;       // kernels that do not offer it have no such command
    Features needs;       // flags of the device
    std::int32_t without; // the answer without them
    std::array<ControlReply, phases.size()> replies;
};

namespace detail {
inline constexpr ControlReply does{}, unless_open{ControlReply::Kind::unless_open, -EBUSY},
    if_closed{ControlReply::Kind::if_closed, -EBUSY};
constexpr ControlReply no(int error)
{
    return {ControlReply::Kind::answers, -error};
}
using F = Feature;
using V = Verb;
// clang-format off
inline constexpr std::array control_rows{
    //                            waits  since             needs             without       added       fetching    live         quiesced     fail_io      stopped     deleted
    ControlRow{V::get_info,       false, {},               {},               0,           {does,       does,       does,        does,        does,        does,       does}},
    ControlRow{V::get_params,     false, {},               {},               0,           {does,       does,       does,        does,        does,        does,       does}},
    ControlRow{V::set_params,     false, {},               {},               0,           {does,       does,       no(EACCES),  no(EACCES),  no(EACCES),  does,       does}},
    ControlRow{V::start,          true,  {},               {},               0,           {does,       does,       no(EEXIST),  no(EEXIST),  no(EEXIST),  no(EBUSY),  no(EBUSY)}},
    ControlRow{V::stop,           false, {},               {},               0,           {does,       does,       does,        does,        does,        does,       does}},
    ControlRow{V::try_stop,       false, F::safe_stop_dev, {},               0,           {no(ENODEV), no(ENODEV), unless_open, unless_open, unless_open, no(ENODEV), no(ENODEV)}},
    ControlRow{V::start_recovery, false, {},               F::user_recovery, -EINVAL,     {no(EBUSY),  no(EBUSY),  no(EBUSY),   if_closed,   if_closed,   no(EBUSY),  no(EBUSY)}},
    ControlRow{V::end_recovery,   true,  {},               F::user_recovery, -EINVAL,     {no(EBUSY),  no(EBUSY),  no(EBUSY),   does,        does,        no(EBUSY),  no(EBUSY)}},
    ControlRow{V::update_size,    false, F::update_size,   {},               0,           {no(ENODEV), no(ENODEV), does,        does,        does,        no(ENODEV), no(ENODEV)}},
    ControlRow{V::quiesce,        false, F::quiesce,       F::quiesce,       -EOPNOTSUPP, {no(ENODEV), no(ENODEV), does,        does,        does,        no(ENODEV), no(ENODEV)}},
    ControlRow{V::reg_buf,        false, F::shmem_zc,      F::shmem_zc,      -EOPNOTSUPP, {does,       does,       does,        does,        does,        does,       does}},
    ControlRow{V::unreg_buf,      false, F::shmem_zc,      F::shmem_zc,      -EOPNOTSUPP, {does,       does,       does,        does,        does,        does,       does}},
    ControlRow{V::del,            false, {},               {},               0,           {does,       does,       does,        does,        does,        does,       does}},
    ControlRow{V::del_async,      false, {},               {},               0,           {does,       does,       does,        does,        does,        does,       does}},
};
// clang-format on
} // namespace detail

// As Linux 7.3.4 has it.
inline constexpr std::span<const ControlRow> control_table{detail::control_rows};
const ControlRow* control_row(Verb verb); // nullptr: not a command on a device

// Why a command on a device is refused whatever the device is in: -errno of who sends it and how; 0: it is
// not.
std::int32_t not_permitted(const Command& command, Features device, const KernelTraits& kernel);

// What ADD_DEV says of the flags and who asks for them; 0: nothing.
std::int32_t flags_error(Features asked, Sender sender, const KernelTraits& kernel);

} // namespace ublk::model
