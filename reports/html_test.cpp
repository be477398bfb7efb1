#include "reports/html.hpp"

#include "reports/html_page.hpp"
#include "reports/html_style.hpp"
#include "reports/random_result.hpp"
#include "reports/sample_run.hpp"
#include "reports/text.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pugixml.hpp>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

namespace reports {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr auto parse_flags = pugi::parse_full | pugi::parse_ws_pcdata;

// Calls `visit` for each element, attribute-bearing or not, in document order.
void each_element(pugi::xml_node node, const std::function<void(pugi::xml_node)>& visit)
{
    for (const auto child : node.children()) {
        if (child.type() == pugi::node_element)
            visit(child);
        each_element(child, visit);
    }
}

std::string text_of(pugi::xml_node node)
{
    std::string text = node.type() == pugi::node_pcdata ? node.value() : "";
    for (const auto child : node.children())
        text += text_of(child);
    return text;
}

struct Parsed {
    std::string html;
    pugi::xml_document document;
    pugi::xml_parse_result result;

    explicit Parsed(std::string text) : html(std::move(text))
    {
        result = document.load_buffer(html.data(), html.size(), parse_flags, pugi::encoding_utf8);
    }
    std::string text() const { return text_of(document); }
    pugi::xml_node by_id(const std::string& id) const
    {
        return document.find_node([&](pugi::xml_node n) { return id == n.attribute("id").value(); });
    }
};

// All texts of a run that somebody else wrote, as they have to appear.
std::vector<std::string> texts_of(const RunResult& run)
{
    std::vector<std::string> texts{run.kernel.release, run.kernel.version, run.kernel.source,
                                   run.started,        run.machine,        run.command};
    const auto add = [&](const std::vector<std::string>& more) {
        texts.insert(texts.end(), more.begin(), more.end());
    };
    for (const auto* list : {&run.kernel.feature_names, &run.boot_log, &run.notes, &run.planned})
        add(*list);
    for (const auto& timing : run.timings)
        texts.push_back(timing.what);
    for (const auto& c : run.cases) {
        add({c.id, c.suite, c.title});
        add(c.log);
        if (c.verdict != Verdict::pass && c.verdict != Verdict::skip)
            add({c.expected, c.observed, c.again});
        if (c.verdict != Verdict::pass)
            add({c.reason});
        for (const auto& m : c.measurements)
            add({m.subject, m.load, m.metric, m.against, m.conclusion});
    }
    return texts;
}

// What the writer itself may write; a run's text must never add to it.
void expect_only_ours(const Parsed& page)
{
    static const std::set<std::string> elements{
        "html",    "head",    "meta",  "title", "style", "body",   "header", "nav",   "main",
        "section", "article", "h1",    "h2",    "h3",    "p",      "dl",     "dt",    "dd",
        "ul",      "li",      "a",     "code",  "pre",   "strong", "span",   "div",   "details",
        "summary", "table",   "thead", "tbody", "tr",    "th",     "td",     "script"};
    static const std::set<std::string> attributes{"lang",  "charset", "http-equiv", "content",    "name",
                                                  "class", "id",      "href",       "aria-label", "role",
                                                  "scope", "colspan", "tabindex"};
    std::size_t scripts = 0;
    each_element(page.document, [&](pugi::xml_node node) {
        RC_ASSERT(elements.contains(node.name()));
        if (std::string_view{node.name()} == "script")
            ++scripts;
        for (const auto attribute : node.attributes()) {
            RC_ASSERT(attributes.contains(attribute.name()));
            if (std::string_view{attribute.name()} == "href") {
                const std::string_view link{attribute.value()};
                RC_ASSERT(link.starts_with("#") || link.starts_with("./"));
            }
        }
    });
    RC_ASSERT(scripts <= 1U);
}

RC_GTEST_PROP(Html, IsWellFormedAndHoldsNoElementThatARunBroughtIn, ())
{
    const Parsed page(html(random::run()));
    RC_ASSERT(page.result.status == pugi::status_ok);
    expect_only_ours(page);
}

RC_GTEST_PROP(Html, EveryTextOfTheRunIsFoundAgainAsText, ())
{
    const auto run = random::run();
    const Parsed page(html(run));
    const auto text = page.text();
    for (const auto& wanted : texts_of(run))
        RC_ASSERT(text.find(html_text(wanted)) != std::string::npos);
}

RC_GTEST_PROP(Html, AnyBytesOfALogStayText, ())
{
    RunResult run;
    run.planned = {"UBLK-X-001"};
    run.cases = {{.id = "UBLK-X-001", .verdict = Verdict::fail}};
    run.cases[0].log = {*random::bytes()};
    const Parsed page(html(run));
    RC_ASSERT(page.result.status == pugi::status_ok);
    expect_only_ours(page);
    RC_ASSERT(page.text().find(html_text(run.cases[0].log[0])) != std::string::npos);
}

TEST(Html, HostileTextEndsNoElement)
{
    auto run = sample_run();
    const std::string hostile =
        "</pre></script></style><script>alert(1)</script><!--<img src=x>]]>&amp;\x1b[2J\0";
    run.kernel.release = run.command = run.cases[1].id = run.cases[1].title = hostile;
    run.cases[1].log = {hostile};
    const Parsed page(html(run));
    EXPECT_THAT(page.html, Not(HasSubstr("<script>alert")));
    EXPECT_THAT(page.html, Not(HasSubstr("<!--")));
    EXPECT_THAT(page.html, Not(HasSubstr("\x1b")));
    EXPECT_THAT(text_of(page.by_id("case-2")),
                HasSubstr("</pre></script></style><script>alert(1)</script><!--"
                          "<img src=x>]]>&amp;␛[2J"));
}

// What XML and HTML read differently must not be in the page: empty elements, and escapes in style and
// script.
TEST(Html, IsTheSameToAnHtmlParserAsToAnXmlParser)
{
    const Parsed page(html(sample_run()));
    EXPECT_THAT(page.html,
                testing::StartsWith("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\""));
    for (std::size_t at = 0; (at = page.html.find("/>", at)) != std::string::npos; ++at) {
        const auto open = page.html.rfind('<', at);
        EXPECT_EQ(page.html.substr(open, 6), "<meta ");
    }
    for (const std::string_view ours : {page::style_sheet, page::filter_script})
        EXPECT_EQ(ours.find_first_of("<>&"), std::string_view::npos);
}

TEST(Html, NeedsNothingFromElsewhere)
{
    const auto page = html(sample_run());
    for (const auto* outside : {"http:", "https:", "src=", "url(", "@import", "<link", "<img"})
        EXPECT_THAT(page, Not(HasSubstr(outside)));
    EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(Html, EveryLinkLeadsToAPlaceOnThePageAndEachPlaceIsThereOnce)
{
    const Parsed page(html(sample_run()));
    std::multiset<std::string> places;
    std::set<std::string> links;
    each_element(page.document, [&](pugi::xml_node node) {
        if (const auto id = node.attribute("id"))
            places.insert(id.value());
        if (const auto href = node.attribute("href"))
            links.insert(href.value());
    });
    EXPECT_GT(links.size(), 10U);
    for (const auto& link : links)
        EXPECT_EQ(places.count(link.substr(1)), 1U) << link;
}

TEST(Html, UnexpectedCasesComeFirstWithAllThatIsNeeded)
{
    const auto run = sample_run();
    const Parsed page(html(run));
    std::vector<std::string> sections;
    for (const auto section : page.document.child("html").child("body").child("main").children("section"))
        sections.emplace_back(section.attribute("id").value());
    EXPECT_THAT(sections,
                ElementsAre("summary", "unexpected", "unfinished", "changed", "known", "fixed", "remarks",
                            "measurements", "cases", "skips", "timings", "notes", "boot"));
    const auto unexpected = page.by_id("unexpected");
    std::size_t articles = 0;
    for (std::size_t i = 0; i < run.cases.size(); ++i) {
        const auto& c = run.cases[i];
        if (!is_unexpected(c.verdict, run.strict))
            continue;
        const auto article =
            unexpected.find_child_by_attribute("article", "id", fmt::format("case-{}", i + 1).c_str());
        const auto text = text_of(article);
        for (const auto& wanted : {c.id, c.title, c.expected, c.observed, c.again, c.log[0], c.log[1],
                                   std::string{to_string(c.verdict)}})
            EXPECT_THAT(text, HasSubstr(html_text(wanted))) << c.id;
        ++articles;
    }
    EXPECT_EQ(articles, 3U);
    EXPECT_THAT(text_of(page.by_id("unfinished")), HasSubstr("UBLK-SAMPLE-099"));
    auto strict = run;
    strict.strict = true;
    EXPECT_THAT(text_of(Parsed(html(strict)).by_id("unexpected")), HasSubstr("Unexpected (4)"));
}

TEST(Html, ALongLogShowsItsFirstLinesAndFoldsTheRest)
{
    auto run = sample_run();
    run.cases[1].log.clear();
    for (int i = 0; i < 100; ++i)
        run.cases[1].log.push_back(fmt::format("line {}.", i));
    const Parsed page(html(run));
    const auto article = page.by_id("case-2");
    EXPECT_THAT(text_of(article.child("pre")), HasSubstr("line 0.\nline 1."));
    EXPECT_THAT(text_of(article.child("details").child("summary")), HasSubstr("92 more lines"));
    EXPECT_THAT(text_of(article.child("details")), HasSubstr("line 99."));
    for (int i = 0; i < 100; ++i)
        EXPECT_THAT(text_of(article), HasSubstr(fmt::format("line {}.", i)));
}

std::vector<std::string> cells(pugi::xml_node row)
{
    std::vector<std::string> texts;
    for (const auto cell : row.children())
        texts.push_back(text_of(cell));
    return texts;
}

TEST(Html, EachMeasurementIsARow)
{
    const Parsed page(html(sample_run()));
    const auto body = page.by_id("measurements").child("div").child("table").child("tbody");
    std::vector<std::vector<std::string>> rows;
    for (const auto row : body.children("tr"))
        rows.push_back(cells(row));
    EXPECT_THAT(rows,
                ElementsAre(ElementsAre("4k random read, QD 1: IOPS"),
                            ElementsAre("ublk-serve <memory>", "12,000", "11,000 – 13,000", "3", "0.1250",
                                        "0.1200 – 0.1300", "null_blk & co", "87.5 % slower"),
                            ElementsAre("null_blk & co", "96,000", "88,000 – 104,000", "3", "", "", "", "")));
}

RC_GTEST_PROP(Html, ThereAreAsManyMeasurementRowsAsMeasurements, ())
{
    const auto run = random::run();
    std::size_t wanted = 0, rows = 0;
    for (const auto& c : run.cases)
        wanted += c.measurements.size();
    const Parsed page(html(run));
    each_element(page.by_id("measurements"), [&](pugi::xml_node node) {
        if (std::string_view{node.name()} == "td" && !node.next_sibling())
            ++rows;
    });
    RC_ASSERT(rows == wanted);
}

TEST(Html, TheCountsAndTheTableAgreeWithTheRun)
{
    const auto run = sample_run();
    const Parsed page(html(run));
    std::vector<std::string> counts;
    for (const auto item : page.by_id("summary").child("ul").children("li"))
        counts.push_back(text_of(item));
    EXPECT_THAT(counts,
                ElementsAre("1pass", "1fail", "1changed", "1skip", "1crash", "1hang", "1known", "1fixed"));
    std::size_t rows = 0;
    for (const auto body : page.by_id("all-cases").children("tbody"))
        for (const auto row : body.children("tr"))
            if (std::string_view{row.attribute("class").value()} != "group")
                ++rows;
    EXPECT_EQ(rows, run.planned.size());
    EXPECT_THAT(text_of(page.by_id("skips")), HasSubstr("no feature & <none> (1)"));
}

TEST(Html, APageOf250CasesIsSmall)
{
    auto run = sample_run();
    const auto cases = run.cases;
    while (run.cases.size() < 250)
        run.cases.insert(run.cases.end(), cases.begin(), cases.end());
    EXPECT_LT(html(run).size(), 400'000U);
}

TEST(Html, AnEmptyRunIsAPageToo)
{
    const Parsed page(html(RunResult{}));
    EXPECT_EQ(page.result.status, pugi::status_ok);
    EXPECT_THAT(page.text(), HasSubstr("no kernel"));
    EXPECT_THAT(page.text(), HasSubstr("cut off"));
}

TEST(IndexHtml, LinksToEachRunAndSaysHowItEnded)
{
    auto entry = index_entry("2026-11-23T101500-7.3.4", sample_run());
    const auto row_of = [](const std::vector<IndexEntry>& runs) {
        const Parsed page(index_html(runs));
        EXPECT_EQ(page.result.status, pugi::status_ok);
        return cells(page.by_id("kernels").child("div").child("table").child("tbody").child("tr"));
    };
    EXPECT_THAT(row_of({entry}),
                ElementsAre("7.3.4+deb13-amd64", "unexpected", "10", "1", "1", "1", "1", "1", "1", "1", "1"));
    EXPECT_THAT(index_html({entry}), HasSubstr("href=\"./2026-11-23T101500-7.3.4/index.html\""));
    entry.folder = "javascript:alert(1)//\"><script>";
    EXPECT_THAT(index_html({entry}),
                HasSubstr("href=\"./javascript%3Aalert%281%29//%22%3E%3Cscript%3E/index.html\""));
}

TEST(Grouped, PutsACommaBeforeEachThreeDigits)
{
    EXPECT_EQ(page::grouped(0, 0), "0");
    EXPECT_EQ(page::grouped(999, 0), "999");
    EXPECT_EQ(page::grouped(1000, 0), "1,000");
    EXPECT_EQ(page::grouped(-999.5, 1), "-999.5");
    EXPECT_EQ(page::grouped(-1234567.25, 2), "-1,234,567.25");
}

} // namespace
} // namespace reports
