#include "reports/junit.hpp"

#include "reports/random_result.hpp"
#include "reports/sample_run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pugixml.hpp>
#include <rapidcheck/gtest.h>

namespace reports {
namespace {

std::size_t count(const pugi::xml_document& document, const char* path)
{
    return document.select_nodes(path).size();
}

std::size_t number(pugi::xml_node node, const char* name)
{
    return node.attribute(name).as_ullong();
}

// The elements under `node` are as many as its attributes say.
bool adds_up(pugi::xml_node node)
{
    return number(node, "tests") == node.select_nodes(".//testcase").size() &&
           number(node, "failures") == node.select_nodes(".//failure").size() &&
           number(node, "errors") == node.select_nodes(".//error").size() &&
           number(node, "skipped") == node.select_nodes(".//skipped").size();
}

TEST(Junit, EachVerdictIsTheElementThatCiSystemsCount)
{
    auto run = sample_run();
    pugi::xml_document document;
    ASSERT_TRUE(document.load_string(junit(run).c_str()));
    EXPECT_EQ(count(document, "/testsuites/testsuite"), 3U);
    EXPECT_EQ(count(document, "//testcase"), run.planned.size());
    EXPECT_EQ(count(document, "//testcase/failure[@type='fail']"), 1U);
    EXPECT_EQ(count(document, "//failure"), 1U);
    EXPECT_EQ(count(document, "//testsuite[@name!='unfinished']//error[@type='crash']"), 1U);
    EXPECT_EQ(count(document, "//testsuite[@name!='unfinished']//error[@type='hang']"), 1U);
    EXPECT_EQ(count(document, "//testsuite[@name='unfinished']//error"), run.missing().size());
    EXPECT_EQ(count(document, "//skipped"), 2U);
    EXPECT_EQ(count(document, "//skipped[@message='known: no feature & <none>']"), 1U);
    EXPECT_EQ(count(document, "//property[@name='kernel.release'][@value='7.3.4+deb13-amd64']"), 3U);
    EXPECT_TRUE(adds_up(document.child("testsuites")));
    EXPECT_STREQ(document.child("testsuites").attribute("time").value(), "12.000");

    run.strict = true;
    ASSERT_TRUE(document.load_string(junit(run).c_str()));
    EXPECT_EQ(count(document, "//failure[@type='changed']"), 1U);
}

TEST(Junit, AFailureCarriesItsTextsAndTheLog)
{
    pugi::xml_document document;
    ASSERT_TRUE(document.load_string(junit(sample_run()).c_str()));
    const auto failed = document.select_node("//testcase[failure]").node();
    EXPECT_STREQ(failed.attribute("name").value(), "UBLK-SAMPLE-002 a # title <of> & \"fail\"");
    EXPECT_STREQ(failed.attribute("classname").value(), "driver");
    EXPECT_STREQ(failed.attribute("time").value(), "1.500");
    EXPECT_THAT(failed.child("failure").text().get(),
                testing::HasSubstr("observed: 0 after 3 ms\nand \uFFFD[31mred\uFFFD]]>"));
    EXPECT_THAT(failed.child("failure").text().get(), testing::HasSubstr("again: ublkcheck run"));
    EXPECT_STREQ(failed.child("system-out").text().get(), "not ok 99 - a line of the log\nBUG: \uFFFD\n");
}

RC_GTEST_PROP(Junit, IsXmlThatAddsUpWhateverTheTextsHold, ())
{
    auto run = random::run();
    run.command = *random::bytes();
    const auto text = junit(run);
    for (const char c : text)
        RC_ASSERT(static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t' || c == '\r');
    // pugixml lets a reference to a forbidden character pass where a strict parser does not.
    for (auto at = text.find("&#"); at != std::string::npos; at = text.find("&#", at + 1)) {
        const auto code = std::stoul(text.substr(at + 2));
        RC_ASSERT(code >= 0x20 || code == '\n' || code == '\t' || code == '\r');
    }
    pugi::xml_document document;
    RC_ASSERT(static_cast<bool>(document.load_string(text.c_str())));
    RC_ASSERT(count(document, "//testcase") == run.planned.size());
    RC_ASSERT(adds_up(document.child("testsuites")));
    for (const auto suite : document.child("testsuites").children("testsuite"))
        RC_ASSERT(adds_up(suite));
}

} // namespace
} // namespace reports
