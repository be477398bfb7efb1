// Where the payload of requests is: in registered memory, beside metadata, or zones for a report.
#include "ublk/model/step.hpp"

#include <cerrno>
#include <gtest/gtest.h>

namespace {

using namespace ublk::model;

constexpr std::int32_t waits = 1000;

class Payload : public testing::Test {
  protected:
    void add(Features flags, Blocks blocks = Blocks::basic, std::uint64_t sectors = 8192)
    {
        go({.verb = Verb::add, .dev = ublk::uapi::no_dev_id, .depth = 1, .flags = flags});
        ASSERT_EQ(go({.verb = Verb::set_params, .blocks = blocks, .value = sectors}), 0);
        go({.verb = Verb::open});
        ASSERT_EQ(go({.verb = Verb::fetch}), waits);
    }
    std::int32_t go(const Command& command)
    {
        EXPECT_EQ(obstacle(state_, command, kernel_), std::nullopt) << to_string(command);
        auto outcome = step(state_, command, {kernel_, ++last_});
        state_ = std::move(outcome.state);
        effects_ = outcome.expected.effects;
        return outcome.expected.answer.is_pending() ? waits : outcome.expected.answer.allowed().front();
    }
    std::int32_t copy(Verb verb, bool metadata) { return go({.verb = verb, .metadata = metadata}); }
    void commit(Given result) { go({.verb = Verb::commit, .result = result}); }
    // What waits for a tag gets it.
    void deliver() { go({.verb = Verb::deliver, .value = request().app}); }
    const Request& request() const { return device().requests.at(0); }
    const Device& device() const { return state_.devices.at(0); }
    std::int32_t answer_of(Token token) const
    {
        const auto found = std::ranges::find(effects_, token, &Effect::token);
        return found == effects_.end() ? waits : found->answer.allowed().front();
    }

    KernelTraits kernel_ = traits_of(reference_version);
    State state_;
    std::vector<Effect> effects_;
    Token last_ = 0;
};

class Zones : public Payload {
  protected:
    // START_DEV has asked; false: it has not.
    bool ask(std::uint64_t sectors = 8192)
    {
        add(Feature::zoned | Feature::user_copy, Blocks::zoned, sectors);
        answer_ = go({.verb = Verb::start});
        start_ = last_;
        if (answer_ != waits)
            return false;
        deliver();
        return true;
    }
    std::int32_t give(Given zones = Given::good) { return go({.verb = Verb::copy_in, .given = zones}); }

    Token start_ = 0;
    std::int32_t answer_ = 0;
};

TEST_F(Zones, StartAsksForThemAndWaits) // UBLK-ZONE-001
{
    ASSERT_TRUE(ask());
    EXPECT_EQ(info(device()).state, DevState::live);
    EXPECT_FALSE(device().disk);
    EXPECT_EQ(give(), 8 * zone_bytes);
    commit(Given::good);
    EXPECT_EQ(answer_of(start_), 0);
    EXPECT_TRUE(device().disk);
}

TEST_F(Zones, WhatIsMissingIsAskedForAgain) // UBLK-ZONE-003, -015
{
    ASSERT_TRUE(ask());
    commit(Given::good); // with none
    EXPECT_EQ(request().zone, 0);
    deliver();
    give(Given::half);
    commit(Given::good);
    EXPECT_EQ(request().zone, 4);
    deliver();
    commit(Given::good); // with none, once more
    EXPECT_EQ(request().zone, 4);
    deliver();
    EXPECT_EQ(give(), 4 * zone_bytes);
    commit(Given::zero); // which is enough since 7.3
    EXPECT_EQ(answer_of(start_), 0);
    EXPECT_NE(obstacle(state_, {.verb = Verb::write}, kernel_), std::nullopt) << "UBLK-ZONE-017";
    EXPECT_EQ(obstacle(state_, {.verb = Verb::read}, kernel_), std::nullopt);
}

TEST_F(Zones, AResultOfNothingIsNoAnswerBefore73)
{
    kernel_ = traits_of({7, 2});
    ASSERT_TRUE(ask());
    give();
    commit(Given::zero);
    EXPECT_EQ(answer_of(start_), waits);
    EXPECT_EQ(request().zone, 0);
    deliver();
    commit(Given::good); // what was given is there still
    EXPECT_EQ(answer_of(start_), 0);
}

TEST_F(Zones, AFailedReportFailsStart) // UBLK-ZONE-004
{
    ASSERT_TRUE(ask());
    commit(Given::wrong);
    EXPECT_EQ(answer_of(start_), -EIO);
    EXPECT_EQ(info(device()).state, DevState::dead);
    EXPECT_EQ(info(device()).server, 0U);
    EXPECT_EQ(go({.verb = Verb::start}), waits) << "it can be repeated";
}

TEST_F(Zones, ADiskWithoutSectorsHasNone) // UBLK-ZONE-005
{
    ASSERT_FALSE(ask(0));
    EXPECT_EQ(answer_, -ENODEV);
}

TEST_F(Zones, StartHasTheLockMeanwhile)
{
    ASSERT_TRUE(ask());
    EXPECT_EQ(go({.verb = Verb::update_size, .value = 16384}), waits);
    const Token resize = last_;
    EXPECT_EQ(go({.verb = Verb::get_info}), 0);
    EXPECT_NE(obstacle(state_, {.verb = Verb::fetch}, kernel_), std::nullopt);
    give();
    commit(Given::good);
    EXPECT_EQ(answer_of(start_), 0);
    EXPECT_EQ(answer_of(resize), 0);
    EXPECT_EQ(obstacle(state_, {.verb = Verb::write}, kernel_), std::nullopt);
}

TEST_F(Zones, TryStopFindsTheDiskBeforeTheyAreKnown)
{
    ASSERT_TRUE(ask());
    EXPECT_EQ(go({.verb = Verb::try_stop}), waits); // no -ENODEV, and no -EBUSY for the report
    const Token stop = last_;
    give();
    commit(Given::good);
    EXPECT_EQ(answer_of(start_), 0);
    EXPECT_EQ(answer_of(stop), 0);
}

TEST_F(Zones, TryStopThatFoundTheDiskStopsWhatIsLeftOfIt)
{
    ASSERT_TRUE(ask());
    EXPECT_EQ(go({.verb = Verb::try_stop}), waits);
    const Token stop = last_;
    commit(Given::wrong);
    EXPECT_EQ(answer_of(start_), -EIO);
    EXPECT_EQ(answer_of(stop), 0);
    EXPECT_EQ(device().queues[0].tags[0].state, TagState::canceled);
}

TEST_F(Zones, AReportMustBeDelivered)
{
    add(Feature::zoned | Feature::user_copy, Blocks::zoned);
    go({.verb = Verb::start});
    EXPECT_EQ(due(state_, kernel_), std::vector{last_});
}

TEST_F(Zones, AReportIsGivenNotTaken) // UBLK-CDEV-RW-004
{
    ASSERT_TRUE(ask());
    EXPECT_EQ(go({.verb = Verb::copy_out}), -EACCES);
}

TEST_F(Zones, OnACommandThatHasComeBackAReportFails)
{
    add(Feature::zoned | Feature::user_copy, Blocks::zoned);
    go({.verb = Verb::end_task});
    EXPECT_EQ(go({.verb = Verb::start}), -EIO);
    EXPECT_EQ(info(device()).state, DevState::dead);
}

TEST_F(Payload, OfRegisteredMemoryIsNamedByIndexAndOffset) // UBLK-SHMEM-016, -017
{
    add(Feature::shmem_zc);
    ASSERT_EQ(go({.verb = Verb::reg_buf, .value = 1}), 0); // the second and the third page
    go({.verb = Verb::start});
    for (const auto& [page, shared] : {std::pair<std::uint8_t, std::optional<Shared>>{0, {}},
                                       {1, {}},
                                       {2, Shared{.index = 0, .offset = 0}},
                                       {3, Shared{.index = 0, .offset = 4096}}}) {
        go({.verb = Verb::write, .page = page});
        EXPECT_EQ(request().shared, shared) << int{page};
        deliver();
        commit(Given::good);
    }
}

TEST_F(Payload, OfRegisteredMemoryIsWholeWithAnyResult) // UBLK-SHMEM-021
{
    add(Feature::shmem_zc);
    go({.verb = Verb::reg_buf, .value = 0});
    go({.verb = Verb::start});
    const auto ends = [&](Verb verb, Given result) {
        go({.verb = verb, .page = 1});
        const Token app = last_;
        deliver();
        commit(result);
        return answer_of(app);
    };
    EXPECT_EQ(ends(Verb::read, Given::half), request_bytes);
    EXPECT_EQ(ends(Verb::write, Given::zero), request_bytes);
    EXPECT_EQ(ends(Verb::read, Given::zero), -EIO);
    EXPECT_EQ(ends(Verb::write, Given::wrong), -EIO);
}

TEST_F(Payload, OfRegisteredMemoryNeedsNoBufferToBeGot)
{
    add(Feature::shmem_zc | Feature::need_get_data);
    go({.verb = Verb::reg_buf, .value = 0});
    go({.verb = Verb::start});
    go({.verb = Verb::write, .page = 1});
    deliver();
    EXPECT_EQ(go({.verb = Verb::get_data, .given = Given::wrong}), 0);
    EXPECT_EQ(device().queues[0].tags[0].state, TagState::owned);
}

TEST_F(Payload, MetadataIsBesideTheData) // UBLK-INTEG-001, -002, -003
{
    add(Feature::integrity | Feature::user_copy, Blocks::integrity);
    go({.verb = Verb::start});
    go({.verb = Verb::write});
    deliver();
    EXPECT_EQ(copy(Verb::copy_out, false), request_bytes);
    EXPECT_EQ(copy(Verb::copy_out, true), 8 * metadata_bytes);
    EXPECT_EQ(copy(Verb::copy_in, true), -EACCES);
}

TEST_F(Payload, MetadataOfARequestWithoutIsNothing) // UBLK-INTEG-004
{
    add(Feature::integrity | Feature::user_copy);
    go({.verb = Verb::start});
    go({.verb = Verb::write});
    deliver();
    const Command copies{.verb = Verb::copy_out, .metadata = true};
    EXPECT_NE(obstacle(state_, copies, kernel_), std::nullopt) << "it makes kernels complain";
    EXPECT_EQ(step(state_, copies, {kernel_, ++last_}).expected.answer, Answer{0});
}

TEST_F(Payload, MetadataIsRefusedByOtherDevicesAndUnknownToOtherKernels) // UBLK-CDEV-RW-012
{
    for (const KernelVersion version : {KernelVersion{7, 3, 4}, KernelVersion{6, 19}}) {
        kernel_ = traits_of(version);
        state_ = {};
        add(Feature::user_copy);
        go({.verb = Verb::start});
        go({.verb = Verb::write});
        deliver();
        EXPECT_EQ(copy(Verb::copy_out, true), (version < KernelVersion{7, 0} ? request_bytes : -EINVAL));
    }
}

TEST(PayloadText, SaysWhatIsNotAsUsual)
{
    for (const auto* line : {"read dev=0 queue=0 page=2", "copy_in dev=0 queue=0 tag=0 task=0 given=half",
                             "copy_out dev=0 queue=0 tag=0 task=0 metadata=yes"}) {
        const auto command = parse_command(line);
        ASSERT_TRUE(command) << line;
        EXPECT_EQ(to_string(*command), line);
    }
    EXPECT_FALSE(parse_command("read dev=0 queue=0 page=4"));
}

} // namespace
