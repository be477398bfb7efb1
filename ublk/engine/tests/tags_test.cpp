// The engine's tag table is the model's, as far as a server can see it.
#include "ublk/engine/tags.hpp"
#include "ublk/model/tags.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <set>
#include <tuple>

namespace ublk::engine {
namespace {

using Step = std::tuple<TagState, TagEvent, TagState>;

// What the engine takes the driver's state for.
TagState seen(model::TagState state)
{
    switch (state) {
    case model::TagState::armed:
    case model::TagState::referenced:
        return TagState::armed;
    case model::TagState::owned:
    case model::TagState::need_data:
        return TagState::owned;
    case model::TagState::unfetched:
    case model::TagState::canceled:
        break;
    }
    return TagState::idle;
}

TagEvent sent(model::TagEvent event)
{
    if (event == model::TagEvent::get_data)
        return TagEvent::get_data;
    return event == model::TagEvent::commit ? TagEvent::commit : TagEvent::fetch;
}

// The engine's steps for one row: a command is the driver's from the moment it is sent, and its answer is a
// step of its own. Errors that a sound server never provokes are not the engine's.
void add_steps(const model::TagRow& row, std::set<Step>& steps)
{
    const auto before = seen(row.from), after = seen(row.to);
    const bool of_server = row.event == model::TagEvent::fetch ||
                           row.event == model::TagEvent::fetch_stopping ||
                           row.event == model::TagEvent::commit || row.event == model::TagEvent::get_data;
    switch (row.reply.kind) {
    case model::TagReply::Kind::pending:
        steps.insert({before, sent(row.event), after});
        return;
    case model::TagReply::Kind::posts:
        steps.insert({before, row.reply.value < 0 ? TagEvent::abort : TagEvent::request, after});
        return;
    case model::TagReply::Kind::answers:
        if (!of_server || before == TagState::armed || row.from == model::TagState::canceled)
            return; // a sound server sends nothing for a tag that the driver has, or has given up
        if (row.reply.value >= 0) {
            steps.insert({before, sent(row.event), TagState::armed});
            steps.insert({TagState::armed, TagEvent::request, after});
        } else if (before == TagState::owned && row.event != model::TagEvent::fetch &&
                   row.event != model::TagEvent::fetch_stopping) {
            steps.insert({TagState::armed, TagEvent::refuse, after});
        } else if (before == TagState::idle && row.event == model::TagEvent::fetch_stopping) {
            steps.insert({TagState::armed, TagEvent::abort, after});
        }
        return;
    default:
        return;
    }
}

TEST(Tags, AreTheModelsAsAServerSeesThem)
{
    std::set<Step> of_model, of_engine;
    for (const auto& row : model::tag_table)
        add_steps(row, of_model);
    for (const auto& rule : tag_rules)
        of_engine.insert({rule.from, rule.event, rule.to});
    for (const auto& step : of_model)
        EXPECT_TRUE(of_engine.contains(step))
            << "the engine lacks " << to_string(std::get<0>(step)) << ", " << to_string(std::get<1>(step));
    for (const auto& step : of_engine)
        EXPECT_TRUE(of_model.contains(step))
            << "the model lacks " << to_string(std::get<0>(step)) << ", " << to_string(std::get<1>(step));
}

} // namespace
} // namespace ublk::engine
