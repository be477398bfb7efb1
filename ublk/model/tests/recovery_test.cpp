// Recovery, where kernels differ in when they deliver, and what commands leave behind on the device.
#include "ublk/model/step.hpp"

#include <gtest/gtest.h>

namespace {

using namespace ublk::model;

struct Kernel {
    KernelVersion version;
    bool early; // may deliver what was parked before END_USER_RECOVERY
};
class Recovery : public testing::TestWithParam<Kernel> {};

TEST_P(Recovery, WhatWasParkedIsDueOnceTheNextServerIsThere) // UBLK-RECOV-END-005
{
    const auto kernel = traits_of(GetParam().version);
    State state;
    Token last = 0;
    const auto go = [&](const Command& command) {
        auto outcome = step(state, command, {kernel, ++last});
        state = std::move(outcome.state);
        return outcome.expected.answer;
    };
    go({.verb = Verb::add, .dev = ublk::uapi::no_dev_id, .flags = Features(Feature::user_recovery)});
    go({.verb = Verb::set_params, .value = 8192});
    go({.verb = Verb::open});
    go({.verb = Verb::fetch});
    ASSERT_EQ(go({.verb = Verb::start}), Answer{0});
    go({.verb = Verb::kill});
    go({.verb = Verb::read});
    const Token read = last;
    ASSERT_EQ(go({.verb = Verb::start_recovery}), Answer{0});
    go({.verb = Verb::open});
    go({.verb = Verb::fetch});
    EXPECT_TRUE(due(state, kernel).empty());
    EXPECT_EQ(!no_delivery(state, {.verb = Verb::deliver, .value = read}), GetParam().early);
    ASSERT_EQ(go({.verb = Verb::end_recovery}), Answer{0});
    EXPECT_EQ(due(state, kernel), std::vector{read});
}

// A device of two tags whose next server has fetched so many.
State recovering(const KernelTraits& kernel, std::uint16_t fetched)
{
    State state;
    Token last = 100;
    const auto go = [&](const Command& command) { state = step(state, command, {kernel, ++last}).state; };
    go({.verb = Verb::add,
        .dev = ublk::uapi::no_dev_id,
        .depth = 2,
        .flags = Feature::user_recovery | Feature::quiesce});
    go({.verb = Verb::set_params, .value = 8192});
    for (const bool second : {false, true}) {
        go({.verb = Verb::open});
        for (std::uint16_t tag = 0; tag < (second ? fetched : 2U); ++tag)
            go({.verb = Verb::fetch, .tag = tag});
        go({.verb = second ? Verb::get_info : Verb::start});
        if (!second)
            go({.verb = Verb::kill});
    }
    return state;
}

TEST(Quiesce, TakesTheNextServerItsCommands) // UBLK-QUIESCE-015
{
    KernelTraits kernel = traits_of(reference_version);
    for (const bool spares : {false, true}) {
        for (const std::uint16_t fetched : {std::uint16_t{1}, std::uint16_t{2}}) {
            kernel.quiesce_spares = spares;
            const auto outcome = step(recovering(kernel, fetched), {.verb = Verb::quiesce}, {kernel, 1});
            EXPECT_EQ(outcome.expected.answer, Answer{0});
            EXPECT_EQ(outcome.expected.effects.size(), fetched == 2 || !spares ? fetched : 0U);
        }
    }
}

TEST(Quiesce, IsNotSentWhereRequestsGoToCommandsThatHaveComeBack) // UBLK-QUIESCE-016
{
    KernelTraits kernel = traits_of(reference_version);
    const Command quiesce{.verb = Verb::quiesce};
    EXPECT_NE(obstacle(recovering(kernel, 2), quiesce, kernel), std::nullopt);
    EXPECT_EQ(obstacle(recovering(kernel, 1), quiesce, kernel), std::nullopt);
    EXPECT_EQ(obstacle(recovering(kernel, 0), quiesce, kernel), std::nullopt);
    kernel.cancel_forgotten = true; // the round becomes complete all the same
    EXPECT_NE(obstacle(recovering(kernel, 1), quiesce, kernel), std::nullopt);
    kernel.quiesce_spares = true;
    EXPECT_EQ(obstacle(recovering(kernel, 1), quiesce, kernel), std::nullopt);
    EXPECT_NE(obstacle(recovering(kernel, 2), quiesce, kernel), std::nullopt);
}

TEST(EndTask, IsNotSentWhereACompleteQueueWouldGoOn) // UBLK-LIFE-020
{
    for (const bool once : {false, true}) {
        KernelTraits kernel = traits_of(reference_version);
        kernel.cancel_once = once;
        State state;
        Token last = 0;
        const auto go = [&](const Command& command) { state = step(state, command, {kernel, ++last}).state; };
        const auto may = [&] { return !obstacle(state, {.verb = Verb::end_task}, kernel); };
        go({.verb = Verb::add,
            .dev = ublk::uapi::no_dev_id,
            .queues = 2,
            .flags = Features(Feature::user_recovery)});
        go({.verb = Verb::set_params, .value = 8192});
        go({.verb = Verb::open});
        go({.verb = Verb::fetch});
        EXPECT_TRUE(may()) << "there is no disk yet";
        go({.verb = Verb::fetch, .queue = 1});
        go({.verb = Verb::start});
        EXPECT_TRUE(may()) << "all queues are complete";
        go({.verb = Verb::kill});
        go({.verb = Verb::open});
        EXPECT_TRUE(may()) << "no queue is";
        go({.verb = Verb::fetch});
        EXPECT_EQ(may(), !once);
        go({.verb = Verb::fetch, .queue = 1});
        EXPECT_TRUE(may());
    }
}

TEST(TryStop, LeavesItsMarkOnTheDevice) // UBLK-CTRL-TRY-005
{
    const auto kernel = traits_of(reference_version);
    State state;
    Token last = 0;
    const auto go = [&](const Command& command) {
        auto outcome = step(state, command, {kernel, ++last});
        state = std::move(outcome.state);
        return outcome.expected.answer;
    };
    const auto start = [&] {
        go({.verb = Verb::open});
        go({.verb = Verb::fetch});
        return go({.verb = Verb::start});
    };
    const Command open{.verb = Verb::open_block, .sender = Sender::owner};
    go({.verb = Verb::add, .dev = ublk::uapi::no_dev_id});
    go({.verb = Verb::set_params, .value = 8192});
    ASSERT_EQ(start(), Answer{0});
    EXPECT_EQ(go(open), Answer{0});
    EXPECT_EQ(go({.verb = Verb::try_stop}), Answer{-EBUSY});
    EXPECT_EQ(go(open), Answer{0}) << "one that failed leaves none";
    go({.verb = Verb::close_block});
    go({.verb = Verb::close_block});
    EXPECT_EQ(go({.verb = Verb::try_stop}), Answer{0});
    go({.verb = Verb::kill});
    ASSERT_EQ(start(), Answer{0});
    EXPECT_EQ(go(open), Answer{-ENXIO});
    EXPECT_EQ(go({.verb = Verb::open_block}), Answer{0}) << "CAP_SYS_ADMIN";
}

class TimeOut : public testing::Test {
  protected:
    void go_live(Features flags, Sender owner, std::uint16_t depth = 2)
    {
        go({.verb = Verb::add,
            .dev = ublk::uapi::no_dev_id,
            .depth = depth,
            .flags = flags,
            .sender = owner});
        go({.verb = Verb::set_params, .value = 8192});
        go({.verb = Verb::open});
        for (std::uint16_t tag = 0; tag < depth; ++tag)
            go({.verb = Verb::fetch, .tag = tag});
        ASSERT_EQ(go({.verb = Verb::start}), Answer{0});
    }
    Answer go(const Command& command)
    {
        auto outcome = step(state_, command, {kernel_, ++last_});
        state_ = std::move(outcome.state);
        return outcome.expected.answer;
    }
    bool may(std::uint16_t queue = 0) const
    {
        return !obstacle(state_, {.verb = Verb::time_out, .queue = queue}, kernel_);
    }

    KernelTraits kernel_ = traits_of(reference_version);
    State state_;
    Token last_ = 0;
};

TEST_F(TimeOut, OfAnUnprivilegedDeviceKillsItsServer) // UBLK-DATA-TMO-002
{
    go_live(Feature::unprivileged_dev, Sender::owner);
    ASSERT_TRUE(may());
    EXPECT_EQ(go({.verb = Verb::time_out}), Answer{-EIO});
    EXPECT_EQ(state_.devices[0].server, 0U);
    EXPECT_FALSE(state_.devices[0].disk);
    EXPECT_TRUE(state_.devices[0].requests.empty());
}

TEST_F(TimeOut, IsForTheServersOfOthersNothing)
{
    go_live({}, Sender::root);
    EXPECT_FALSE(may());
}

TEST_F(TimeOut, NeedsAReadThatTheServerGets)
{
    go_live(Feature::unprivileged_dev, Sender::owner);
    EXPECT_FALSE(may(1)) << "there is no such queue";
    go({.verb = Verb::end_task, .task = 0}); // with both tags
    EXPECT_FALSE(may()) << "no tag takes it";
    go({.verb = Verb::kill});
    EXPECT_FALSE(may()) << "nobody is there to be killed";
}

TEST_F(TimeOut, IsSetWhileNothingIsOut)
{
    go_live(Feature::unprivileged_dev, Sender::owner);
    go({.verb = Verb::read});
    EXPECT_FALSE(may());
}

TEST_F(TimeOut, MeetsWhatADeathMeets) // UBLK-LIFE-002
{
    for (const std::uint16_t depth : {std::uint16_t{1}, std::uint16_t{2}}) {
        state_ = {};
        kernel_ = traits_of({6, 12});
        go_live(Feature::unprivileged_dev, Sender::owner, depth);
        EXPECT_EQ(may(), depth == 2) << "what no other command tells this kernel it finds after 30 s";
        kernel_ = traits_of(reference_version);
        EXPECT_TRUE(may());
    }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Recovery,
                         testing::Values(Kernel{{6, 12}, false}, Kernel{{6, 16}, true}, Kernel{{6, 18}, true},
                                         Kernel{reference_version, true}),
                         [](const auto& test) {
                             return "Linux" + std::to_string(test.param.version.major) + "_" +
                                    std::to_string(test.param.version.minor);
                         });

} // namespace
