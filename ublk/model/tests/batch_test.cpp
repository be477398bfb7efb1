// Devices with BATCH_IO: many tags at once, and FETCH_IO_CMDS that brings the tags of requests.
#include "ublk/model/step.hpp"

#include <cerrno>
#include <gtest/gtest.h>

namespace {

using namespace ublk::model;

using Tags = std::vector<std::uint16_t>;
constexpr std::int32_t waits = 1000, element = 16;

class Batch : public testing::Test {
  protected:
    void add(Features more = {}, std::uint16_t queues = 1)
    {
        go({.verb = Verb::add,
            .dev = ublk::uapi::no_dev_id,
            .queues = queues,
            .depth = 2,
            .flags = more | Feature::batch_io});
        go({.verb = Verb::set_params, .value = 8192});
        go({.verb = Verb::open});
    }
    std::int32_t go(const Command& command)
    {
        auto outcome = step(state_, command, {kernel_, ++last_});
        state_ = std::move(outcome.state);
        effects_ = outcome.expected.effects;
        return outcome.expected.answer.is_pending() ? waits : outcome.expected.answer.allowed().front();
    }
    std::int32_t prep(const Tags& tags, std::uint16_t queue = 0)
    {
        return go({.verb = Verb::prep_tags, .queue = queue, .tags = tags});
    }
    std::int32_t commit(const Tags& tags, Given buffer = Given::good)
    {
        return go({.verb = Verb::commit_tags, .tags = tags, .given = buffer});
    }
    std::int32_t fetch(std::uint8_t task = 0) { return go({.verb = Verb::fetch_tags, .task = task}); }
    void go_live(Features more = {})
    {
        add(more);
        prep({0, 1});
        go({.verb = Verb::start});
    }
    Token read()
    {
        go({.verb = Verb::read});
        return last_;
    }
    std::int32_t deliver(Token request, std::uint16_t tag)
    {
        return go({.verb = Verb::deliver, .tag = tag, .value = request});
    }
    bool has_effect(Token token, std::int32_t result) const
    {
        return std::ranges::find(effects_, Effect{token, result}) != effects_.end();
    }

    KernelTraits kernel_ = traits_of(reference_version);
    State state_;
    std::vector<Effect> effects_;
    Token last_ = 0;
};

TEST_F(Batch, PrepTakesAllOfItsTagsOrNone) // UBLK-BATCH-PREP-002, -GEN-004, -GEN-006
{
    add({}, 2);
    EXPECT_EQ(prep({0, 2}), -EINVAL);
    EXPECT_EQ(prep({0, 0}), -EINVAL);
    EXPECT_EQ(prep({0, 1, 0}), -E2BIG);
    EXPECT_EQ(prep({}), 0);
    EXPECT_EQ(prep({1, 0}), 0);
    EXPECT_EQ(prep({0}), -EINVAL);
    EXPECT_EQ(prep({0, 1}, 1), 0);
    EXPECT_EQ(prep({0}), -EBUSY) << "UBLK-BATCH-PREP-003";
}

TEST_F(Batch, PrepThatFailsBehindTheLastTagLeavesTheQueueClosed)
{
    add();
    prep({1});
    EXPECT_EQ(prep({0, 1}), -EBUSY) << "the device was ready by then";
    EXPECT_EQ(fetch(), -ENODEV);
    EXPECT_EQ(prep({0}), 0);
    EXPECT_EQ(fetch(), waits);
}

TEST_F(Batch, ADeviceOfOneTagIsRefused) // UBLK-BATCH-GEN-008
{
    EXPECT_EQ(go({.verb = Verb::add, .dev = ublk::uapi::no_dev_id, .flags = Feature::batch_io}), -EINVAL);
}

TEST_F(Batch, StartWaitsForAllTags) // UBLK-BATCH-PREP-001
{
    add();
    EXPECT_EQ(prep({1}), 0);
    EXPECT_EQ(go({.verb = Verb::start}), waits);
    const Token start = last_;
    EXPECT_EQ(prep({0}), 0);
    EXPECT_TRUE(has_effect(start, 0));
}

TEST_F(Batch, CommitStopsAtTheFirstThatItMayNot) // UBLK-BATCH-COMMIT-001, -002, -003
{
    go_live();
    EXPECT_EQ(commit({0}), -EBUSY);
    EXPECT_EQ(fetch(), waits);
    const Token one = read(), other = read();
    deliver(one, 0);
    EXPECT_EQ(commit({1, 0}), -EBUSY) << "its tag is not the server's";
    EXPECT_EQ(commit({0, 0}), element) << "the second time it is the driver's";
    EXPECT_TRUE(has_effect(one, request_bytes));
    deliver(other, 1);
    EXPECT_EQ(commit({1}, Given::wrong), -EINVAL) << "UBLK-BATCH-COMMIT-002, no buffer";
    EXPECT_EQ(commit({2}), -EINVAL);
    EXPECT_EQ(commit({1, 2}), element);
}

TEST_F(Batch, RequestsWaitForAFetch) // UBLK-BATCH-FETCH-009
{
    go_live();
    const Token app = read();
    EXPECT_TRUE(due(state_, kernel_).empty());
    EXPECT_EQ(commit({0}), -EBUSY) << "a tag that nobody was told of is not the server's";
    fetch();
    EXPECT_EQ(due(state_, kernel_), std::vector{app});
    deliver(app, 1);
    EXPECT_TRUE(due(state_, kernel_).empty());
}

TEST_F(Batch, StopAndQuiesceEndFetches) // UBLK-BATCH-FETCH-007, -008
{
    go_live(Feature::user_recovery | Feature::quiesce);
    EXPECT_EQ(fetch(), waits);
    const Token out = last_;
    EXPECT_EQ(go({.verb = Verb::quiesce}), 0);
    EXPECT_TRUE(has_effect(out, -ENODEV));
    EXPECT_EQ(fetch(), -ENODEV);
}

TEST_F(Batch, QuiesceTakesTheNextServerItsFetches) // UBLK-QUIESCE-015
{
    go_live(Feature::user_recovery | Feature::quiesce);
    go({.verb = Verb::kill});
    go({.verb = Verb::open});
    prep({0, 1});
    fetch();
    const Token out = last_;
    EXPECT_EQ(obstacle(state_, {.verb = Verb::quiesce}, kernel_), std::nullopt) << "UBLK-QUIESCE-016";
    EXPECT_EQ(go({.verb = Verb::quiesce}), 0);
    EXPECT_TRUE(has_effect(out, -ENODEV));
}

TEST_F(Batch, ADeviceThatIsNotLiveIsStoppedWithoutWaitingForItsServer)
{
    for (const bool live : {false, true}) {
        state_ = {};
        go_live(Feature::user_recovery);
        go({.verb = Verb::kill});
        go({.verb = Verb::open});
        prep({0, 1});
        const Token app = read();
        if (live) {
            ASSERT_EQ(go({.verb = Verb::end_recovery}), 0);
        }
        EXPECT_EQ(go({.verb = Verb::stop}), waits);
        EXPECT_EQ(!obstacle(state_, {.verb = Verb::fetch_tags}, kernel_), live) << "it takes a moment";
        EXPECT_EQ(fetch(), live ? waits : -ENODEV);
        EXPECT_EQ(due(state_, kernel_), live ? std::vector{app} : std::vector<Token>{});
    }
}

TEST_F(Batch, ARecoveryFetchesOnlyWhatIsPrepared) // UBLK-BATCH-FETCH-006
{
    go_live(Feature::user_recovery);
    go({.verb = Verb::kill});
    go({.verb = Verb::open});
    EXPECT_EQ(fetch(), -ENODEV);
    prep({0, 1});
    EXPECT_EQ(fetch(), waits);
}

TEST_F(Batch, QueuedRequestsEndWithTheirServer) // UBLK-BATCH-LIFE-001
{
    go_live(Feature::user_recovery);
    const Token app = read();
    go({.verb = Verb::kill});
    EXPECT_TRUE(has_effect(app, -EIO));
}

TEST_F(Batch, CommandsOfOneTagAreNotSupported) // UBLK-BATCH-GEN-001
{
    add();
    EXPECT_EQ(go({.verb = Verb::fetch}), -EOPNOTSUPP);
    EXPECT_EQ(go({.verb = Verb::commit, .tag = 2}), -EINVAL);
    EXPECT_EQ(go({.verb = Verb::get_data, .queue = 1}), -EINVAL);
}

TEST_F(Batch, OtherDevicesKnowNoBatches) // UBLK-BATCH-GEN-003
{
    go({.verb = Verb::add, .dev = ublk::uapi::no_dev_id});
    go({.verb = Verb::open});
    EXPECT_EQ(prep({0}), -EINVAL);
    EXPECT_EQ(fetch(), -EINVAL);
}

TEST(BatchText, OfTagsIsReadBack)
{
    for (const auto* line : {"prep_tags dev=0 queue=1 tags=0,3,1 task=1 given=good",
                             "commit_tags dev=0 queue=0 tags=none task=0 given=wrong result=half"})
        EXPECT_EQ(to_string(*parse_command(line)), line);
    EXPECT_FALSE(parse_command("prep_tags dev=0 queue=1 tags=0,x task=1 given=good"));
    EXPECT_FALSE(parse_command("prep_tags tags=0,1,2,3,4,5,6,7,8"));
}

} // namespace
