// The engine's tag table, held against counts: random walks through it.
#include "ublk/engine/tags.hpp"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <vector>

namespace property {
namespace {

using ublk::engine::next_state;
using ublk::engine::tag_rules;
using ublk::engine::TagEvent;
using ublk::engine::TagState;

constexpr std::array events{TagEvent::fetch, TagEvent::request,  TagEvent::commit,
                            TagEvent::abort, TagEvent::get_data, TagEvent::refuse};

// The rows that the walk takes, chosen by `picks` among those that leave the state.
std::vector<ublk::engine::TagRule> walk(const std::vector<std::uint8_t>& picks)
{
    std::vector<ublk::engine::TagRule> taken;
    TagState state = TagState::idle;
    for (const auto pick : picks) {
        std::vector<ublk::engine::TagRule> open;
        for (const auto event : events) {
            if (const auto next = next_state(state, event))
                open.push_back({state, event, *next});
        }
        if (open.empty())
            break;
        taken.push_back(open[pick % open.size()]);
        state = taken.back().to;
    }
    return taken;
}

RC_GTEST_PROP(TagTable, EveryWalkLeavesATagWithExactlyOneSide, (const std::vector<std::uint8_t>& picks))
{
    int commands = 0, requests = 0; // with the driver, with the server
    TagEvent sent = TagEvent::fetch;
    for (const auto& [from, event, to] : walk(picks)) {
        const bool sends =
            event == TagEvent::fetch || event == TagEvent::commit || event == TagEvent::get_data;
        if (event == TagEvent::commit || event == TagEvent::get_data)
            RC_ASSERT(requests == 1); // nothing is committed, nor asked data for, that is not owned
        if (event == TagEvent::fetch)
            RC_ASSERT(requests == 0);
        commands += sends ? 1 : -1;
        requests += event == TagEvent::request ? 1 : 0;
        requests -= event == TagEvent::commit || event == TagEvent::get_data ? 1 : 0;
        if (event == TagEvent::refuse && sent != TagEvent::fetch)
            ++requests; // the driver did not take it
        else if (event == TagEvent::refuse)
            break; // of a FETCH: the engine takes it for an abort
        if (sends)
            sent = event;
        RC_ASSERT(commands == (to == TagState::armed ? 1 : 0));
        RC_ASSERT(requests == (to == TagState::owned ? 1 : 0));
    }
}

RC_GTEST_PROP(TagTable, AbortEndsEveryWalk, (const std::vector<std::uint8_t>& picks))
{
    const auto taken = walk(picks);
    TagState state = taken.empty() ? TagState::idle : taken.back().to;
    for (std::size_t left = 3; state != TagState::idle; --left) {
        RC_ASSERT(left > 0U);
        auto next = next_state(state, TagEvent::abort);
        if (!next)
            next = next_state(state, TagEvent::commit);
        RC_ASSERT(next.has_value());
        state = *next;
    }
}

TEST(TagTable, HasOneRowForAStateAndAnEventAndUsesEveryEvent)
{
    for (const auto event : events) {
        EXPECT_GT(std::ranges::count(tag_rules, event, &ublk::engine::TagRule::event), 0) << to_string(event);
        for (const auto state : {TagState::idle, TagState::armed, TagState::owned}) {
            EXPECT_LE(
                std::ranges::count_if(
                    tag_rules, [=](const auto& row) { return row.from == state && row.event == event; }),
                1)
                << to_string(state) << ", " << to_string(event);
        }
    }
}

} // namespace
} // namespace property
