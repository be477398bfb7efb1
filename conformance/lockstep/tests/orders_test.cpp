#include "conformance/lockstep/orders.hpp"

#include <cerrno>
#include <gtest/gtest.h>

namespace {

using namespace conformance::lockstep;
using namespace ublk::model;

constexpr Token first = 100;

class Orders : public testing::Test {
  protected:
    Orders() { go({.verb = Verb::add, .dev = ublk::uapi::no_dev_id, .depth = 2}); }

    void go(const Command& command)
    {
        state_ = step(std::move(state_), command, {rules_.kernel, ++last_}).state;
    }
    void go_live()
    {
        go({.verb = Verb::set_params, .value = 8192});
        go({.verb = Verb::open});
        go({.verb = Verb::fetch});
        go({.verb = Verb::fetch, .tag = 1});
        go({.verb = Verb::start});
    }
    std::optional<std::vector<Order>> of(const std::vector<Command>& commands) const
    {
        return orders(state_, commands, first, rules_);
    }

    Rules rules_{.kernel = traits_of(reference_version)};
    State state_;
    Token last_ = 0;
};

TEST_F(Orders, OfCommandsThatDoNotMeetAreOne)
{
    const auto all = of({{.verb = Verb::get_info}, {.verb = Verb::set_params, .value = 8192}});
    ASSERT_TRUE(all);
    ASSERT_EQ(all->size(), 1U);
    EXPECT_TRUE(fits(all->front(), {{first, 0}, {first + 1, 0}}));
    EXPECT_FALSE(fits(all->front(), {{first, 0}})) << "one has not come back";
    EXPECT_FALSE(fits(all->front(), {{first, 0}, {first + 1, -EINVAL}}));
    EXPECT_FALSE(fits(all->front(), {{first, 0}, {first + 1, 0}, {7, 0}})) << "that was not to come back";
}

TEST_F(Orders, OfTwoFetchesTellWhoHasTheTag)
{
    go({.verb = Verb::open});
    const auto all = of({{.verb = Verb::fetch}, {.verb = Verb::fetch, .task = 1}});
    ASSERT_TRUE(all);
    ASSERT_EQ(all->size(), 2U);
    for (const auto& order : *all) {
        ASSERT_EQ(order.answers.size(), 1U) << "the other stays";
        const bool second = order.answers.contains(first);
        EXPECT_EQ(order.state.devices[0].queues[0].tags[0].task, second ? 1 : 0);
        EXPECT_TRUE(fits(order, {{second ? first : first + 1, -EINVAL}}));
    }
}

TEST_F(Orders, OfParametersAndStartTheAnswersTell)
{
    go_live();
    const auto all = of({{.verb = Verb::set_params, .value = 8192}, {.verb = Verb::stop}});
    ASSERT_TRUE(all);
    EXPECT_EQ(all->size(), 2U);
}

TEST_F(Orders, ThatNobodyCouldTellAreNotSent)
{
    // Whichever comes last says how long the disk is.
    EXPECT_FALSE(of({{.verb = Verb::set_params, .value = 8192}, {.verb = Verb::set_params, .value = 16384}}));
    go_live();
    EXPECT_FALSE(of({{.verb = Verb::read}, {.verb = Verb::get_info}})) << "a read comes to the server";
    EXPECT_FALSE(of({{.verb = Verb::kill}, {.verb = Verb::get_info}}));
    // The second must not be sent after the first.
    EXPECT_FALSE(of({{.verb = Verb::stop}, {.verb = Verb::copy_in, .dev = 5}}));
}

TEST_F(Orders, OfWhatIsDoneInPartsThereAreMore)
{
    EXPECT_FALSE(of({{.verb = Verb::del}, {.verb = Verb::get_info}}));
    EXPECT_TRUE(of({{.verb = Verb::del, .dev = 1}, {.verb = Verb::get_info}}));
    go({.verb = Verb::add, .dev = 1, .depth = 2, .flags = Feature::batch_io});
    go({.verb = Verb::open, .dev = 1});
    const Command both{.verb = Verb::commit_tags, .dev = 1, .tags = {0, 1}};
    Command other = both;
    other.task = 1;
    EXPECT_FALSE(of({both, other}));
    other.tags = {0};
    EXPECT_FALSE(of({both, other}));
    EXPECT_TRUE(of({other, other}));
    const Command fetch{.verb = Verb::fetch_tags, .dev = 1};
    EXPECT_TRUE(of({fetch, {.verb = Verb::prep_tags, .dev = 1, .tags = {0}}}));
    EXPECT_FALSE(of({fetch, {.verb = Verb::prep_tags, .dev = 1, .tags = {0, 2}}}));
    EXPECT_FALSE(of({fetch, {.verb = Verb::stop, .dev = 1}}));
    EXPECT_TRUE(of({fetch, {.verb = Verb::stop}}));
}

TEST_F(Orders, OfAStartThatAsksForZonesThereAreMore)
{
    go({.verb = Verb::add, .dev = 1, .depth = 2, .flags = Feature::zoned | Feature::user_copy});
    go({.verb = Verb::open, .dev = 1});
    go({.verb = Verb::fetch, .dev = 1});
    go({.verb = Verb::fetch, .dev = 1, .tag = 1});
    go({.verb = Verb::end_task, .dev = 1}); // so that the report fails at once
    const std::vector<Command> group{{.verb = Verb::start, .dev = 1},
                                     {.verb = Verb::copy_in, .dev = 1, .task = 1}};
    EXPECT_TRUE(of(group)) << "without parameters";
    go({.verb = Verb::set_params, .dev = 1, .blocks = Blocks::zoned, .value = 8192});
    EXPECT_FALSE(of(group));
}

TEST_F(Orders, OfWhatEndsACommandThatWaitsThereAreMore)
{
    go({.verb = Verb::set_params, .value = 8192});
    go({.verb = Verb::open});
    go({.verb = Verb::fetch});
    go({.verb = Verb::start});
    EXPECT_FALSE(of({{.verb = Verb::fetch, .tag = 1}, {.verb = Verb::get_info}}));
    EXPECT_TRUE(of({{.verb = Verb::unknown_io}, {.verb = Verb::get_info}}));
}

TEST_F(Orders, OfWhatLetsACommandGoOnThatWaitsThereAreMore)
{
    go_live();
    go({.verb = Verb::read});
    const Token read = last_;
    go({.verb = Verb::deliver, .value = read});
    go({.verb = Verb::del}); // for the read, then for the last close
    EXPECT_FALSE(of({{.verb = Verb::commit, .given = Given::good}, {.verb = Verb::get_info}}));
    EXPECT_TRUE(of({{.verb = Verb::unknown_io}, {.verb = Verb::get_info}}));
}

TEST_F(Orders, OfTwoStartsThatWaitAreEitherHoweverTheyWereSent)
{
    go({.verb = Verb::set_params, .value = 8192});
    go({.verb = Verb::open});
    go({.verb = Verb::fetch});
    go({.verb = Verb::start});
    go({.verb = Verb::start, .together = true});
    const auto outcome = step(state_, {.verb = Verb::fetch, .tag = 1}, {rules_.kernel, first});
    ASSERT_EQ(outcome.expected.effects.size(), 2U);
    for (const auto& effect : outcome.expected.effects)
        EXPECT_TRUE(effect.answer.allows(0) && effect.answer.allows(-EEXIST)) << to_string(effect.answer);
}

TEST_F(Orders, GroupsComeInRandomSequences)
{
    const Chance chance = SeededChance(1);
    unsigned groups = 0, sent = 0;
    for (int i = 0; i < 2000; ++i) {
        const auto group = choose_group(state_, rules_.kernel, chance);
        ASSERT_FALSE(group.front().together);
        if (group.size() > 1) {
            ++groups;
            EXPECT_TRUE(group.back().together);
            if (orders(state_, group, last_ + 1, rules_))
                ++sent;
        }
        go(group.front());
        while (true) { // what waits is delivered, as far as a tag is free
            const auto tokens = due(state_, rules_.kernel);
            std::optional<Command> deliver;
            for (const auto& device : state_.devices) {
                for (const auto& request : device.requests) {
                    for (std::uint16_t tag = 0; tag < device.depth; ++tag) {
                        const Command one{.verb = Verb::deliver,
                                          .dev = device.id,
                                          .queue = request.queue,
                                          .tag = tag,
                                          .value = request.app};
                        if (std::ranges::find(tokens, request.app) != tokens.end() &&
                            !no_delivery(state_, one))
                            deliver = one;
                    }
                }
            }
            if (!deliver)
                break;
            go(*deliver);
        }
    }
    EXPECT_GT(groups, 300U);
    EXPECT_GT(sent, groups / 4);
    std::cout << sent << " of " << groups << " groups can be sent\n";
}

TEST(OrdersText, ACommandMayGoWithTheOneBeforeIt)
{
    const auto command = parse_command("& stop dev=0");
    ASSERT_TRUE(command);
    EXPECT_TRUE(command->together);
    EXPECT_EQ(to_string(*command), "& stop dev=0");
}

} // namespace
