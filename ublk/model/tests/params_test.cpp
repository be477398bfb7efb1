// What SET_PARAMS takes, by device and kernel.
#include "ublk/model/step.hpp"

#include <cerrno>
#include <gtest/gtest.h>
#include <set>

namespace {

using namespace ublk::model;

std::set<Blocks> taken(Features device, KernelVersion kernel)
{
    std::set<Blocks> blocks;
    for (std::size_t i = 0; i < blocks_count; ++i) {
        const Command command{.verb = Verb::set_params, .blocks = static_cast<Blocks>(i)};
        const auto error = params_error(device, command, traits_of(kernel));
        EXPECT_TRUE(error == 0 || error == -EINVAL) << error;
        if (error == 0)
            blocks.insert(command.blocks);
    }
    return blocks;
}

TEST(Params, AZonedDeviceTakesItsBlockAlone)
{
    EXPECT_EQ(taken(Feature::zoned | Feature::user_copy, reference_version), std::set{Blocks::zoned});
    EXPECT_FALSE(taken({}, reference_version).contains(Blocks::zoned));
}

TEST(Params, OnlyADeviceWithTheFlagTakesAnIntegrityBlock)
{
    const auto plain = std::set{Blocks::basic, Blocks::discard, Blocks::dma_align, Blocks::segment};
    auto more = plain;
    more.insert(Blocks::integrity);
    EXPECT_EQ(taken({}, reference_version), plain);
    EXPECT_EQ(taken(Feature::integrity | Feature::user_copy, reference_version), more);
}

TEST(Params, AnOlderKernelLetsBlocksPassThatItDoesNotKnow)
{
    EXPECT_EQ(taken({}, {6, 12, 117}),
              (std::set{Blocks::basic, Blocks::discard, Blocks::dma_align, Blocks::bad_dma_align,
                        Blocks::segment, Blocks::bad_segment, Blocks::integrity, Blocks::bad_integrity}));
    EXPECT_FALSE(taken({}, {6, 18}).contains(Blocks::bad_segment));
}

TEST(Params, WrongBasicParametersAreRefusedWhateverComesWithThem)
{
    for (std::size_t i = 0; i < blocks_count; ++i) {
        const Command command{
            .verb = Verb::set_params, .given = Given::wrong, .blocks = static_cast<Blocks>(i)};
        EXPECT_EQ(params_error({}, command, traits_of({6, 12})), -EINVAL);
    }
}

} // namespace
