#include "ublk/serve/size.hpp"

#include <gtest/gtest.h>

namespace ublk::serve {
namespace {

TEST(ParseSize, TakesPowersOf1024)
{
    EXPECT_EQ(parse_size("0"), 0U);
    EXPECT_EQ(parse_size("512"), 512U);
    EXPECT_EQ(parse_size("512K"), 512U << 10);
    EXPECT_EQ(parse_size("256m"), 256U << 20);
    EXPECT_EQ(parse_size("3GiB"), 3ULL << 30);
    EXPECT_EQ(parse_size("8191P"), 8191ULL << 50);
}

TEST(ParseSize, RefusesEverythingElse)
{
    for (const char* text :
         {"", "M", "-1", "+1", " 1", "1 M", "1.5G", "1MB", "1Mi", "1MiBs", "0x10", "1E", "ten"})
        EXPECT_FALSE(parse_size(text).has_value()) << text;
}

TEST(ParseSize, RefusesWhatDoesNotFit64Bits)
{
    EXPECT_EQ(parse_size("18446744073709551615"), UINT64_MAX);
    for (const char* text : {"18446744073709551616", "16384P", "18014398509481984K"})
        EXPECT_NE(parse_size(text).error().find("too large"), std::string::npos) << text;
}

TEST(FormatSize, UsesTheLargestWholeUnit)
{
    EXPECT_EQ(format_size(256ULL << 20), "256 MiB");
    EXPECT_EQ(format_size(1ULL << 30), "1 GiB");
    EXPECT_EQ(format_size((1ULL << 30) + 1024), "1048577 KiB");
    EXPECT_EQ(format_size(1000), "1000 bytes");
    EXPECT_EQ(format_size(0), "0 bytes");
}

} // namespace
} // namespace ublk::serve
