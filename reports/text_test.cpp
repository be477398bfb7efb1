#include "reports/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reports {
namespace {

TEST(Text, PlainTextHoldsNothingThatATerminalActsOn)
{
    EXPECT_EQ(plain("a\x1b[2J\tb\n\x7f é→😀"), "a?[2J?b?? é→😀");
    EXPECT_EQ(plain("\u009b31m \u00a0"), "?31m \u00a0") << "C1 control characters start escapes, too";
    EXPECT_EQ(plain("\xff"), "\uFFFD");
    EXPECT_EQ(plain(std::string_view{"\0x", 2}), "?x");
}

TEST(Text, LinesEndAtNewlinesAndTheLastMayBeOpen)
{
    EXPECT_THAT(plain_lines(""), testing::IsEmpty());
    EXPECT_THAT(plain_lines("\n\n"), testing::IsEmpty());
    EXPECT_THAT(plain_lines("a\tb\r\n\nc\rd"), testing::ElementsAre("a b", "", "c?d"));
}

TEST(Text, XmlTextHoldsOnlyWhatXmlMayHold)
{
    EXPECT_EQ(xml_text("a\tb\nc\x01<&\uFFFE\uFFFF\uFFFD\xc3"), "a\tb\nc\uFFFD<&\uFFFD\uFFFD\uFFFD\uFFFD");
}

TEST(Text, HtmlTextShowsControlCharactersAndTurnsNoText)
{
    EXPECT_EQ(html_text("a\tb\nc\r\nd"), "a\tb\nc\nd");
    EXPECT_EQ(html_text(std::string_view{"\0\x01\x1b[31m\r\x7f", 9}), "␀␁␛[31m␍␡");
    EXPECT_EQ(html_text("\u0080 \u009f \u202E \u2066 \uFFFE \uFDD0"),
              "\uFFFD \uFFFD \uFFFD \uFFFD \uFFFD \uFFFD");
    EXPECT_EQ(html_text("\xff<é→😀>&"), "\uFFFD<é→😀>&");
}

TEST(Text, ColumnsCountCodePoints)
{
    EXPECT_EQ(columns(""), 0U);
    EXPECT_EQ(columns("aé→😀"), 4U);
}

} // namespace
} // namespace reports
