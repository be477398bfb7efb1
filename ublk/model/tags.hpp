// The life of a tag as the driver sees it: one table of states and events. The model steps by it, the
// engine's own table is checked against it, and the page README.md is printed from it.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace ublk::model {

enum class TagState : std::uint8_t {
    unfetched,  // no command with the driver
    armed,      // the driver has a command, and no request
    owned,      // the server has a request
    need_data,  // the server has a write whose payload it must ask for
    canceled,   // the command came back with -ENODEV; the tag still counts as fetched
    referenced, // armed again, but buffers of the old request are still in use
};
inline constexpr std::array tag_states{TagState::unfetched, TagState::armed,    TagState::owned,
                                       TagState::need_data, TagState::canceled, TagState::referenced};

// FETCH is three events, because what it meets is decided by the whole device.
enum class TagEvent : std::uint8_t {
    fetch,          // FETCH_REQ while tags of the device are unfetched
    fetch_ready,    // FETCH_REQ when all are fetched
    fetch_stopping, // FETCH_REQ between STOP_DEV and the close of ublkcN
    commit,         // COMMIT_AND_FETCH_REQ of the task that fetched
    commit_foreign, // ... of another task
    get_data,       // NEED_GET_DATA of the task that fetched
    request,        // the block layer gives a request to the tag
    cancel,         // STOP_DEV, QUIESCE_DEV, or the end of the command's ring
    release,        // the last close of ublkcN
};
inline constexpr std::array tag_events{TagEvent::fetch,   TagEvent::fetch_ready,    TagEvent::fetch_stopping,
                                       TagEvent::commit,  TagEvent::commit_foreign, TagEvent::get_data,
                                       TagEvent::request, TagEvent::cancel,         TagEvent::release};

// What the event's sender sees, or the owner of the command that is out.
struct TagReply {
    enum class Kind : std::uint8_t {
        pending, // the command is accepted and stays with the driver
        answers, // the command of this event completes with `value`
        posts,   // the command that was out completes with `value`
        silent,  // nobody is told
        never,   // does not happen in this state
    } kind = Kind::silent;
    std::int32_t value = 0;
    constexpr bool operator==(const TagReply&) const = default;
};
inline constexpr TagReply pending{TagReply::Kind::pending, 0}, silent{TagReply::Kind::silent, 0},
    never{TagReply::Kind::never, 0};
constexpr TagReply answers(std::int32_t value)
{
    return {TagReply::Kind::answers, value};
}
constexpr TagReply posts(std::int32_t value)
{
    return {TagReply::Kind::posts, value};
}

// What tells two rows of one state and event apart.
enum class TagWhen : std::uint8_t {
    always,
    plain,      // not a write of a NEED_GET_DATA device
    write,      // a write of a NEED_GET_DATA device
    done,       // nothing refers to the request's pages any more
    referenced, // something does
    copied,     // the payload fits into the server's buffer
    not_copied, // the buffer cannot be written
};

struct TagRow {
    TagState from;
    TagEvent event;
    TagState to;
    TagReply reply;
    TagWhen when = TagWhen::always;
};

namespace detail {
using enum TagState;
using Ev = TagEvent;
using W = TagWhen;
// clang-format off
inline constexpr std::array tag_rows{
    TagRow{unfetched,  Ev::fetch,          armed,      pending},
    TagRow{unfetched,  Ev::fetch_ready,    unfetched,  never},
    TagRow{unfetched,  Ev::fetch_stopping, unfetched,  answers(-ENODEV)},
    TagRow{unfetched,  Ev::commit,         unfetched,  answers(-EINVAL)},
    TagRow{unfetched,  Ev::commit_foreign, unfetched,  answers(-EINVAL)},
    TagRow{unfetched,  Ev::get_data,       unfetched,  answers(-EINVAL)},
    TagRow{unfetched,  Ev::request,        unfetched,  never},
    TagRow{unfetched,  Ev::cancel,         unfetched,  silent},
    TagRow{unfetched,  Ev::release,        unfetched,  silent},

    TagRow{armed,      Ev::fetch,          armed,      answers(-EINVAL)},
    TagRow{armed,      Ev::fetch_ready,    armed,      answers(-EBUSY)},
    TagRow{armed,      Ev::fetch_stopping, armed,      answers(-ENODEV)},
    TagRow{armed,      Ev::commit,         armed,      answers(-EBUSY)},
    TagRow{armed,      Ev::commit_foreign, armed,      answers(-EINVAL)},
    TagRow{armed,      Ev::get_data,       armed,      answers(-EBUSY)},
    TagRow{armed,      Ev::request,        owned,      posts(0),        W::plain},
    TagRow{armed,      Ev::request,        need_data,  posts(1),        W::write},
    TagRow{armed,      Ev::cancel,         canceled,   posts(-ENODEV)},
    TagRow{armed,      Ev::release,        unfetched,  silent},

    TagRow{owned,      Ev::fetch,          owned,      answers(-EBUSY)},
    TagRow{owned,      Ev::fetch_ready,    owned,      answers(-EBUSY)},
    TagRow{owned,      Ev::fetch_stopping, owned,      answers(-ENODEV)},
    TagRow{owned,      Ev::commit,         armed,      pending,         W::done},
    TagRow{owned,      Ev::commit,         referenced, pending,         W::referenced},
    TagRow{owned,      Ev::commit_foreign, owned,      answers(-EINVAL)},
    TagRow{owned,      Ev::get_data,       owned,      answers(-EINVAL)},
    TagRow{owned,      Ev::request,        owned,      never},
    TagRow{owned,      Ev::cancel,         owned,      silent},
    TagRow{owned,      Ev::release,        unfetched,  silent},

    TagRow{need_data,  Ev::fetch,          need_data,  answers(-EBUSY)},
    TagRow{need_data,  Ev::fetch_ready,    need_data,  answers(-EBUSY)},
    TagRow{need_data,  Ev::fetch_stopping, need_data,  answers(-ENODEV)},
    TagRow{need_data,  Ev::commit,         need_data,  answers(-EINVAL)},
    TagRow{need_data,  Ev::commit_foreign, need_data,  answers(-EINVAL)},
    TagRow{need_data,  Ev::get_data,       owned,      answers(0),      W::copied},
    TagRow{need_data,  Ev::get_data,       armed,      pending,         W::not_copied},
    TagRow{need_data,  Ev::request,        need_data,  never},
    TagRow{need_data,  Ev::cancel,         need_data,  silent},
    TagRow{need_data,  Ev::release,        unfetched,  silent},

    TagRow{canceled,   Ev::fetch,          canceled,   answers(-EINVAL)},
    TagRow{canceled,   Ev::fetch_ready,    canceled,   answers(-EBUSY)},
    TagRow{canceled,   Ev::fetch_stopping, canceled,   answers(-ENODEV)},
    TagRow{canceled,   Ev::commit,         canceled,   answers(-EBUSY)},
    TagRow{canceled,   Ev::commit_foreign, canceled,   answers(-EINVAL)},
    TagRow{canceled,   Ev::get_data,       canceled,   answers(-EBUSY)},
    TagRow{canceled,   Ev::request,        canceled,   never},
    TagRow{canceled,   Ev::cancel,         canceled,   silent},
    TagRow{canceled,   Ev::release,        unfetched,  silent},

    TagRow{referenced, Ev::fetch,          referenced, answers(-EINVAL)},
    TagRow{referenced, Ev::fetch_ready,    referenced, answers(-EBUSY)},
    TagRow{referenced, Ev::fetch_stopping, referenced, answers(-ENODEV)},
    TagRow{referenced, Ev::commit,         referenced, answers(-EBUSY)},
    TagRow{referenced, Ev::commit_foreign, referenced, answers(-EINVAL)},
    TagRow{referenced, Ev::get_data,       referenced, answers(-EBUSY)},
    TagRow{referenced, Ev::request,        referenced, never},
    TagRow{referenced, Ev::cancel,         canceled,   posts(-ENODEV)},
    TagRow{referenced, Ev::release,        unfetched,  silent},
};
// clang-format on
} // namespace detail

// As Linux 7.3.4 has it. What older kernels answer otherwise is KernelTraits' business.
inline constexpr std::span<const TagRow> tag_table{detail::tag_rows};

namespace detail {
inline constexpr std::size_t whens = 7;
inline constexpr std::uint8_t no_row = 0xff;
static_assert(tag_rows.size() < no_row);
// Where the row of a state, an event and a condition is.
inline constexpr auto tag_index = [] {
    std::array<std::array<std::array<std::uint8_t, whens>, tag_events.size()>, tag_states.size()> index{};
    for (std::size_t from = 0; from < tag_states.size(); ++from) {
        for (std::size_t event = 0; event < tag_events.size(); ++event) {
            for (std::size_t when = 0; when < whens; ++when) {
                const auto found = std::ranges::find_if(tag_rows, [=](const TagRow& row) {
                    return row.from == static_cast<TagState>(from) &&
                           row.event == static_cast<TagEvent>(event) &&
                           (row.when == TagWhen::always || row.when == static_cast<TagWhen>(when));
                });
                index[from][event][when] =
                    found == tag_rows.end() ? no_row : static_cast<std::uint8_t>(found - tag_rows.begin());
            }
        }
    }
    return index;
}();
} // namespace detail

// The row; nullptr: the table has none, which is an error in the table.
constexpr const TagRow* tag_row(TagState from, TagEvent event, TagWhen when = TagWhen::always)
{
    const auto at = detail::tag_index[static_cast<std::size_t>(from)][static_cast<std::size_t>(event)]
                                     [static_cast<std::size_t>(when)];
    return at == detail::no_row ? nullptr : &detail::tag_rows[at];
}

// What a device with BATCH_IO answers for one tag. Requests, cancels and releases change its tags as above,
// but nothing is with the driver for a single tag: what is canceled are the queue's FETCH_IO_CMDS.
enum class BatchEvent : std::uint8_t {
    prep,          // PREP_IO_CMDS while tags of the device are not prepared
    prep_ready,    // ... when all are
    prep_stopping, // ... between STOP_DEV and the close of ublkcN
    commit,        // COMMIT_IO_CMDS, of any task
};
inline constexpr std::array batch_events{BatchEvent::prep, BatchEvent::prep_ready, BatchEvent::prep_stopping,
                                         BatchEvent::commit};
inline constexpr std::array batch_states{TagState::unfetched, TagState::armed, TagState::owned,
                                         TagState::referenced};

struct BatchRow {
    TagState from;
    BatchEvent event;
    TagState to;
    std::int32_t result; // of the tag
};

namespace detail {
using B = BatchEvent;
// clang-format off
inline constexpr std::array batch_rows{
    BatchRow{unfetched,  B::prep,          armed,      0},
    BatchRow{unfetched,  B::prep_ready,    unfetched,  -EBUSY},
    BatchRow{unfetched,  B::prep_stopping, unfetched,  -ENODEV},
    BatchRow{unfetched,  B::commit,        unfetched,  -EBUSY},
    BatchRow{armed,      B::prep,          armed,      -EINVAL},
    BatchRow{armed,      B::prep_ready,    armed,      -EBUSY},
    BatchRow{armed,      B::prep_stopping, armed,      -ENODEV},
    BatchRow{armed,      B::commit,        armed,      -EBUSY},
    BatchRow{owned,      B::prep,          owned,      -EINVAL},
    BatchRow{owned,      B::prep_ready,    owned,      -EBUSY},
    BatchRow{owned,      B::prep_stopping, owned,      -ENODEV},
    BatchRow{owned,      B::commit,        armed,      0},
    BatchRow{referenced, B::prep,          referenced, -EINVAL},
    BatchRow{referenced, B::prep_ready,    referenced, -EBUSY},
    BatchRow{referenced, B::prep_stopping, referenced, -ENODEV},
    BatchRow{referenced, B::commit,        referenced, -EBUSY},
};
// clang-format on
} // namespace detail

inline constexpr std::span<const BatchRow> batch_table{detail::batch_rows};

// The row; nullptr: the table has none, which is an error in the table or in who asks.
constexpr const BatchRow* batch_row(TagState from, BatchEvent event)
{
    const auto found = std::ranges::find_if(
        detail::batch_rows, [=](const BatchRow& row) { return row.from == from && row.event == event; });
    return found == detail::batch_rows.end() ? nullptr : &*found;
}

constexpr std::string_view to_string(BatchEvent event)
{
    constexpr std::array<std::string_view, batch_events.size()> names{"PREP", "PREP, ready", "PREP, stopping",
                                                                      "COMMIT"};
    return names[static_cast<std::size_t>(event)];
}

// Whose the tag is: exactly one side may act on it.
enum class TagOwner : std::uint8_t { server, driver };
constexpr TagOwner owner(TagState state)
{
    return state == TagState::armed || state == TagState::referenced ? TagOwner::driver : TagOwner::server;
}

constexpr std::string_view to_string(TagState state)
{
    constexpr std::array<std::string_view, 6> names{"unfetched", "armed",    "owned",
                                                    "need-data", "canceled", "referenced"};
    return names[static_cast<std::size_t>(state)];
}
constexpr std::string_view to_string(TagEvent event)
{
    constexpr std::array<std::string_view, 9> names{
        "FETCH",         "FETCH, ready", "FETCH, stopping", "COMMIT", "COMMIT, other task",
        "NEED_GET_DATA", "request",      "cancel",          "release"};
    return names[static_cast<std::size_t>(event)];
}
constexpr std::string_view to_string(TagWhen when)
{
    constexpr std::array<std::string_view, 7> names{
        "", "", "a write with NEED_GET_DATA", "", "buffers in use", "", "buffer not writable"};
    return names[static_cast<std::size_t>(when)];
}

} // namespace ublk::model
