// Who may do what, and by which number: the answers that no state of a device changes.
#include "ublk/model/control_table.hpp"
#include "ublk/model/step.hpp"

#include <cerrno>
#include <gtest/gtest.h>

namespace ublk::model {
namespace {

class Permission : public testing::Test {
  protected:
    std::int32_t go(const Command& command)
    {
        auto outcome = step(state_, command, {kernel_, ++last_});
        state_ = std::move(outcome.state);
        const auto& answer = outcome.expected.answer;
        return answer.is_pending() ? 1 : answer.allowed().front();
    }
    std::int32_t add(Features flags, Sender sender)
    {
        return go({.verb = Verb::add, .dev = uapi::no_dev_id, .flags = flags, .sender = sender});
    }

    KernelTraits kernel_ = traits_of(reference_version);
    State state_;
    Token last_ = 0;
};

TEST_F(Permission,
       OrdinaryUsersAddWhatIsUnprivilegedAndRootCannot) // UBLK-UNPRIV-001, UBLK-CTRL-ADD-029, -030
{
    EXPECT_EQ(add({}, Sender::owner), -EPERM);
    EXPECT_EQ(add(Feature::user_recovery_reissue, Sender::owner), -EPERM);
    EXPECT_EQ(add(Feature::unprivileged_dev, Sender::owner), 0);
    EXPECT_EQ(add(Feature::unprivileged_dev, Sender::root), 0);
    ASSERT_EQ(state_.devices.size(), 2U);
    EXPECT_TRUE(state_.devices[0].flags.has(Feature::unprivileged_dev));
    EXPECT_FALSE(state_.devices[1].flags.has(Feature::unprivileged_dev));
}

TEST_F(Permission, FlagsAreTakenAwayOrRefused) // UBLK-UNPRIV-006, -007
{
    using enum Feature;
    for (const Feature flag : {user_copy, support_zero_copy, auto_buf_reg})
        EXPECT_EQ(add(unprivileged_dev | flag, Sender::owner), -EINVAL);
    EXPECT_EQ(add(unprivileged_dev | user_recovery | user_recovery_fail_io | quiesce, Sender::owner), 0);
    const Features kept = state_.devices.front().flags;
    EXPECT_FALSE(kept.has(user_recovery));
    EXPECT_TRUE(kept.has(user_recovery_fail_io));
    EXPECT_TRUE(kept.has(quiesce));
    EXPECT_EQ(add(unprivileged_dev | user_recovery_fail_io, Sender::owner), -EINVAL); // judged before that
}

TEST_F(Permission, CommandsNeedThePathAndTheRightToTheNode) // UBLK-UNPRIV-002, -003, -005
{
    ASSERT_EQ(add(Feature::unprivileged_dev, Sender::owner), 0);
    const auto info = [](Sender sender, Given path) {
        return Command{.verb = Verb::get_info, .sender = sender, .path = path};
    };
    EXPECT_EQ(go(info(Sender::owner, Given::good)), 0);
    EXPECT_EQ(go(info(Sender::root, Given::good)), 0);
    EXPECT_EQ(go(info(Sender::stranger, Given::good)), -EACCES);
    for (const auto sender : senders) {
        EXPECT_EQ(go(info(sender, Given::zero)), -EINVAL);
        EXPECT_EQ(go(info(sender, Given::wrong)), -EPERM);
        EXPECT_EQ(go({.verb = Verb::del_async, .sender = sender}), -EINVAL);
    }
    kernel_.features = kernel_.features.without(Feature::quiesce);
    EXPECT_EQ(go({.verb = Verb::quiesce}), -EINVAL); // one that this kernel does not know
}

TEST_F(Permission, OtherDevicesAreRootsAlone) // UBLK-NODE-018
{
    ASSERT_EQ(add({}, Sender::root), 0);
    for (const auto sender : {Sender::owner, Sender::stranger})
        EXPECT_EQ(go({.verb = Verb::get_info, .sender = sender}), -EPERM);
    EXPECT_EQ(go({.verb = Verb::get_info}), 0);
}

TEST_F(Permission, TheDiskIsTheOwnersAndRoots) // UBLK-UNPRIV-008
{
    constexpr auto unprivileged = Feature::unprivileged_dev;
    for (const auto sender : senders)
        EXPECT_EQ(disk_open_error({}, false, sender), 0);
    EXPECT_EQ(disk_open_error(unprivileged, false, Sender::root), 0);
    EXPECT_EQ(disk_open_error(unprivileged, false, Sender::owner), 0);
    EXPECT_EQ(disk_open_error(unprivileged, false, Sender::stranger), -EPERM);
    for (const Features device : {Features{}, Features{unprivileged}}) {
        EXPECT_EQ(disk_open_error(device, true, Sender::root), 0);
        EXPECT_EQ(disk_open_error(device, true, Sender::owner), -ENXIO);
    }
    EXPECT_EQ(disk_open_error({}, true, Sender::stranger), -ENXIO);
    EXPECT_EQ(disk_open_error(unprivileged, true, Sender::stranger), -EPERM);
}

TEST_F(Permission, NumbersAloneAreKnownWhereTheKernelWasBuiltSo) // UBLK-LEGACY-001, -003
{
    const Command add{.verb = Verb::add, .dev = uapi::no_dev_id, .bare = true};
    const Command fetch{.verb = Verb::fetch, .bare = true};
    kernel_.bare_numbers = false;
    EXPECT_EQ(go(add), -EOPNOTSUPP);
    kernel_.bare_numbers = true;
    EXPECT_EQ(go(add), 0);
    EXPECT_EQ(go({.verb = Verb::open}), 0);
    kernel_.bare_numbers = false;
    EXPECT_EQ(go(fetch), -EOPNOTSUPP);
    EXPECT_EQ(go({.verb = Verb::get_info, .bare = true}), -EOPNOTSUPP);
    EXPECT_EQ(go({.verb = Verb::get_info}), 0);
    kernel_.bare_numbers = true;
    EXPECT_EQ(go(fetch), 1); // stays with the driver
}

TEST(CommandText, TellsWhatIsUnusualAndReadsItBack)
{
    EXPECT_EQ(to_string(Command{.verb = Verb::stop}), "stop dev=0");
    const Command command{
        .verb = Verb::stop, .dev = 1, .sender = Sender::stranger, .path = Given::zero, .bare = true};
    EXPECT_EQ(to_string(command), "stop dev=1 sender=stranger path=zero bare=yes");
    EXPECT_EQ(parse_command(to_string(command)), command);
    EXPECT_FALSE(parse_command("read dev=0 bare=yes").has_value());
    EXPECT_FALSE(parse_command("add sender=nobody").has_value());
}

} // namespace
} // namespace ublk::model
