// The life of a tag as the server sees it: one table of states and events.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ublk::engine {

enum class TagState : std::uint8_t {
    idle,  // no command with the driver: before the first FETCH, and after an abort
    armed, // the driver has our command; it comes back with a request or an abort
    owned, // we have a request that nobody else will finish
};
enum class TagEvent : std::uint8_t {
    fetch,    // we send FETCH_REQ
    request,  // a command came back with a request
    commit,   // we send COMMIT_AND_FETCH_REQ
    abort,    // a command came back with -ENODEV, or a FETCH was refused: it is over for this tag
    get_data, // we send NEED_GET_DATA: the payload of a write is to be copied into the tag's buffer
    refuse,   // a COMMIT or NEED_GET_DATA was refused: the request is still ours
};

struct TagRule {
    TagState from;
    TagEvent event;
    TagState to;
};
// What is not in the table must not happen.
inline constexpr std::array tag_rules{
    TagRule{TagState::idle, TagEvent::fetch, TagState::armed},
    TagRule{TagState::armed, TagEvent::request, TagState::owned},
    TagRule{TagState::owned, TagEvent::commit, TagState::armed},
    TagRule{TagState::owned, TagEvent::get_data, TagState::armed},
    TagRule{TagState::armed, TagEvent::abort, TagState::idle},
    TagRule{TagState::armed, TagEvent::refuse, TagState::owned},
};

// The state after `event`; nullopt if the table has no such row.
constexpr std::optional<TagState> next_state(TagState from, TagEvent event)
{
    for (const auto& rule : tag_rules) {
        if (rule.from == from && rule.event == event)
            return rule.to;
    }
    return std::nullopt;
}

// The state after an event that is known when the program is built; does not compile if the table has no such
// row. What the I/O path uses: it costs nothing there.
template <TagState from, TagEvent event>
inline constexpr TagState state_after = next_state(from, event).value();

constexpr std::string_view to_string(TagState state)
{
    constexpr std::array<std::string_view, 3> names{"idle", "armed", "owned"};
    return names[static_cast<std::size_t>(state)];
}
constexpr std::string_view to_string(TagEvent event)
{
    constexpr std::array<std::string_view, 6> names{"fetch", "request",  "commit",
                                                    "abort", "get-data", "refuse"};
    return names[static_cast<std::size_t>(event)];
}

} // namespace ublk::engine
