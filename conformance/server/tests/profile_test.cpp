#include "conformance/server/profile.hpp"

#include <gtest/gtest.h>

namespace conformance {
namespace {

TEST(ServerProfile, IsReadAsItWasWritten)
{
    const ServerProfile profile{.command = {"/bin/x", "a b", "{disk}", "\xff"},
                                .setup = {{"truncate", "-s", "1M"}, {"true"}},
                                .end = {"x", "{id}"},
                                .keeps_data = false,
                                .persistent = true,
                                .read_only = true,
                                .discard_zeroes = true,
                                .end_status = 9,
                                .start_seconds = 1,
                                .end_seconds = 2,
                                .disk_mib = 16};
    auto expected = profile;
    expected.command.back() = "\uFFFD"; // JSON has no other bytes
    EXPECT_EQ(decode_profile(encode_profile(profile)), expected);
    EXPECT_TRUE(profile.wants_disk());
}

TEST(ServerProfile, WhatIsNoneIsAnError)
{
    for (const auto* text : {"", "{}", "[]", "{\"command\": 3}", "nonsense"})
        EXPECT_FALSE(decode_profile(text).has_value()) << text;
    EXPECT_FALSE(decode_profile(encode_profile({})).has_value()) << "no command";
}

TEST(ServerProfile, PlaceholdersAreReplacedEverywhere)
{
    const Words words{"{id}", "a{id}b{id}", "{disk}"};
    EXPECT_EQ(filled_in(words, "{id}", "7"), (Words{"7", "a7b7", "{disk}"}));
    EXPECT_EQ(filled_in({"{id}"}, "{id}", "{id}{id}"), (Words{"{id}{id}"}));
}

} // namespace
} // namespace conformance
