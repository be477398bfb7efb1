// Recovery, where kernels differ in when they deliver.
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

INSTANTIATE_TEST_SUITE_P(Kernels, Recovery,
                         testing::Values(Kernel{{6, 12}, false}, Kernel{{6, 16}, true}, Kernel{{6, 18}, true},
                                         Kernel{reference_version, true}),
                         [](const auto& test) {
                             return "Linux" + std::to_string(test.param.version.major) + "_" +
                                    std::to_string(test.param.version.minor);
                         });

} // namespace
