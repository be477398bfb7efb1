#include <gtest/gtest.h>

#include "vm/kernel_version.hpp"

namespace {

vm::KernelVersion version(std::string_view text)
{
    const auto parsed = vm::KernelVersion::parse(text);
    EXPECT_TRUE(parsed) << text;
    return parsed.value_or(vm::KernelVersion{});
}

TEST(KernelVersion, reads_the_number_at_the_head_of_a_release)
{
    EXPECT_EQ(version("7.3.4+deb13-cloud-amd64").text(), "7.3.4");
    EXPECT_EQ(version("6.12.43+deb12-amd64").line(), "6.12");
    EXPECT_EQ(version("7.3-rc7-cloud-amd64").text(), "7.3-rc7");
    EXPECT_EQ(version("7.3~rc7-1~exp1").text(), "7.3-rc7");
    EXPECT_EQ(version("6.12.0-g1234").text(), "6.12.0");
}

TEST(KernelVersion, refuses_what_is_no_version)
{
    for (const auto* text : {"", "7", "7.", "7.x", "seven", "7.3x", "7.3.4.5.6", "7.3-rc", "-7.3", "7..3",
                             "99999999999999.1", "7.3 "})
        EXPECT_FALSE(vm::KernelVersion::parse(text)) << text;
}

TEST(KernelVersion, orders_numbers_as_numbers_and_candidates_before_their_release)
{
    EXPECT_LT(version("6.9"), version("6.12"));
    EXPECT_LT(version("6.19.14"), version("7.0.4"));
    EXPECT_LT(version("7.1.3"), version("7.1.13"));
    EXPECT_LT(version("7.3-rc7"), version("7.3"));
    EXPECT_LT(version("7.3-rc7"), version("7.3.1"));
    EXPECT_LT(version("7.2.13"), version("7.3-rc1"));
    EXPECT_LT(version("7.3-rc2"), version("7.3-rc10"));
    EXPECT_EQ(version("7.3"), version("7.3.0"));
}

TEST(KernelVersion, a_prefix_matches_whole_parts_and_never_a_candidate)
{
    EXPECT_TRUE(version("7.3.4+deb13-cloud-amd64").has_prefix(version("7.3")));
    EXPECT_TRUE(version("7.3.4").has_prefix(version("7.3.4")));
    EXPECT_FALSE(version("7.3.4").has_prefix(version("7.3.40")));
    EXPECT_FALSE(version("7.31.4").has_prefix(version("7.3")));
    EXPECT_FALSE(version("7.3-rc7").has_prefix(version("7.3")));
    EXPECT_TRUE(version("7.3-rc7").has_prefix(version("7.3-rc7")));
    EXPECT_FALSE(version("7.3").has_prefix(version("7.3.4")));
}

} // namespace
