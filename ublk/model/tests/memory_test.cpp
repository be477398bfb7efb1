// Memory that applications and server share, as REG_BUF and UNREG_BUF see it.
#include "ublk/model/step.hpp"

#include <cerrno>
#include <gtest/gtest.h>

namespace {

using namespace ublk::model;

class Memory : public testing::Test {
  protected:
    Memory() { go({.verb = Verb::add, .dev = ublk::uapi::no_dev_id, .flags = Feature::shmem_zc}); }

    std::int32_t go(const Command& command)
    {
        auto outcome = step(state_, command, {kernel_, ++last_});
        state_ = std::move(outcome.state);
        return outcome.expected.answer.is_pending() ? 1000 : outcome.expected.answer.allowed().front();
    }
    std::int32_t reg(std::uint64_t area) { return go({.verb = Verb::reg_buf, .value = area}); }
    std::int32_t unreg(std::uint64_t index) { return go({.verb = Verb::unreg_buf, .value = index}); }

    KernelTraits kernel_ = traits_of(reference_version);
    State state_;
    Token last_ = 0;
};

TEST_F(Memory, IndicesAreTheLowestThatAreFree) // UBLK-SHMEM-002, -013
{
    EXPECT_EQ(reg(0), 0);
    EXPECT_EQ(reg(1), 1);
    EXPECT_EQ(unreg(0), 0);
    EXPECT_EQ(reg(0), 0);
}

TEST_F(Memory, APageIsRegisteredOnce) // UBLK-SHMEM-008
{
    EXPECT_EQ(reg(2), 0);
    EXPECT_EQ(reg(0), -EEXIST);
    EXPECT_EQ(reg(1), -EEXIST);
    EXPECT_EQ(reg(2), -EEXIST);
    EXPECT_EQ(unreg(0), 0);
    EXPECT_EQ(reg(1), 0); // no index was used up
}

TEST_F(Memory, WhatIsNotThereIsRefused) // UBLK-SHMEM-003, -012
{
    EXPECT_EQ(go({.verb = Verb::reg_buf, .given = Given::wrong}), -EINVAL);
    EXPECT_EQ(unreg(0), -ENOENT);
    EXPECT_EQ(unreg(most_area_index + 1), -EINVAL);
}

TEST_F(Memory, OtherDevicesAndKernelsHaveNoSuchCommands) // UBLK-SHMEM-001
{
    ASSERT_EQ(go({.verb = Verb::add, .dev = ublk::uapi::no_dev_id}), 0);
    EXPECT_EQ(go({.verb = Verb::reg_buf, .dev = 1}), -EOPNOTSUPP);
    kernel_ = traits_of({6, 18});
    EXPECT_EQ(go({.verb = Verb::unreg_buf, .dev = 1}), -EOPNOTSUPP);
}

TEST(MemoryText, OfAnAreaThatThereIsNotIsNoCommand)
{
    EXPECT_TRUE(parse_command("reg_buf dev=0 given=good value=2"));
    EXPECT_FALSE(parse_command("reg_buf dev=0 given=good value=3"));
}

} // namespace
