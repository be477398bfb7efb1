// The tables: complete, without contradiction, and what the committed page says.
#include "ublk/model/control_table.hpp"
#include "ublk/model/document.hpp"
#include "ublk/model/tags.hpp"
#include "ublk/model/traits.hpp"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <set>

namespace ublk::model {
namespace {

TEST(TagTable, HasEachOfIts54CellsOnce)
{
    static_assert(tag_states.size() * tag_events.size() == 54);
    for (const auto state : tag_states) {
        for (const auto event : tag_events) {
            std::vector<TagWhen> whens;
            for (const auto& row : tag_table) {
                if (row.from == state && row.event == event)
                    whens.push_back(row.when);
            }
            ASSERT_FALSE(whens.empty()) << to_string(state) << ", " << to_string(event);
            EXPECT_EQ(std::set(whens.begin(), whens.end()).size(), whens.size());
            if (whens.size() > 1) {
                EXPECT_EQ(std::ranges::count(whens, TagWhen::always), 0)
                    << to_string(state) << ", " << to_string(event);
            }
        }
    }
}

TEST(TagTable, OnlyWhatIsAcceptedOrHappensMovesATag)
{
    for (const auto& row : tag_table) {
        const auto kind = row.reply.kind;
        if (kind == TagReply::Kind::never || (kind == TagReply::Kind::answers && row.reply.value < 0)) {
            EXPECT_EQ(row.from, row.to) << to_string(row.from) << ", " << to_string(row.event);
        }
        if (kind == TagReply::Kind::pending) { // a command that stays is the driver's
            EXPECT_EQ(owner(row.to), TagOwner::driver) << to_string(row.from) << ", " << to_string(row.event);
        }
        if (kind == TagReply::Kind::posts) { // one that came back is not
            EXPECT_EQ(owner(row.to), TagOwner::server) << to_string(row.from) << ", " << to_string(row.event);
        }
    }
}

TEST(TagTable, ReleaseMakesEveryTagUnfetched)
{
    for (const auto state : tag_states)
        EXPECT_EQ(tag_row(state, TagEvent::release)->to, TagState::unfetched) << to_string(state);
}

TEST(BatchTable, HasEachOfItsCellsOnceAndMovesATagOnlyWhereItAccepts)
{
    for (const auto state : batch_states) {
        for (const auto event : batch_events) {
            const auto is_cell = [=](const BatchRow& row) { return row.from == state && row.event == event; };
            ASSERT_EQ(std::ranges::count_if(batch_table, is_cell), 1) << to_string(state) << to_string(event);
            const BatchRow& row = *batch_row(state, event);
            EXPECT_EQ(row.to == row.from, row.result != 0) << to_string(state) << ", " << to_string(event);
        }
    }
    EXPECT_EQ(batch_table.size(), batch_states.size() * batch_events.size());
}

TEST(ControlTable, HasEachCommandOnADeviceOnce)
{
    for (int verb = 0; verb <= static_cast<int>(last_control); ++verb) {
        const auto rows = std::ranges::count(control_table, static_cast<Verb>(verb), &ControlRow::verb);
        EXPECT_EQ(rows, static_cast<Verb>(verb) == Verb::add ? 0 : 1) << to_string(static_cast<Verb>(verb));
    }
}

TEST(Traits, OfTheReferenceKernelThereAreNone)
{
    const auto traits = traits_of(reference_version);
    for (const auto& row : trait_table())
        EXPECT_FALSE(traits.*row.trait) << row.name;
    EXPECT_EQ(traits.features.raw(), 0x1fffffU);
}

TEST(Traits, EachHoldsForSomeKernelAndRangesAreRanges)
{
    for (const auto& row : trait_table()) {
        EXPECT_NE(row.kernels.front().before, KernelVersion{}) << row.name;
        for (const auto& range : row.kernels) {
            if (range.before == KernelVersion{})
                continue;
            EXPECT_LT(range.from, range.before) << row.name;
            EXPECT_TRUE(traits_of(range.from).*row.trait) << row.name;
            EXPECT_FALSE(traits_of(range.before).*row.trait) << row.name;
        }
    }
}

TEST(Document, IsTheCommittedPage)
{
    std::ifstream file(MODEL_PAGE, std::ios::binary);
    const std::string page{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(page, document()) << "print it again: make model-page";
}

} // namespace
} // namespace ublk::model
