// results.json and index.json, or lines of events, from anywhere: what can be read is written and read again
// unchanged, and every rendering of it is well formed. The XML library reads JUnit back; KTAP's lines are
// counted.
#include "fuzz/input.hpp"
#include "reports/event.hpp"
#include "reports/html.hpp"
#include "reports/junit.hpp"
#include "reports/ktap.hpp"
#include "reports/results_json.hpp"
#include "reports/terminal.hpp"
#include "reports/text.hpp"

#include <pugixml.hpp>
#include <sstream>
#include <string>

namespace {

using namespace reports;
using fuzz::require;

bool is_plain(std::string_view text)
{
    return std::ranges::none_of(text,
                                [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void check_ktap(const RunResult& run)
{
    const auto text = ktap(run);
    std::istringstream lines(text);
    std::string line;
    require(std::getline(lines, line) && line == "KTAP version 1");
    const auto plan = run.cases.size() + run.missing().size();
    require(std::getline(lines, line) && line == "1.." + std::to_string(plan));
    std::size_t results = 0, bad = 0;
    while (std::getline(lines, line)) {
        require(is_plain(line));
        if (line.starts_with('#'))
            continue;
        const bool failed = line.starts_with("not ");
        const auto number = std::to_string(++results);
        require(line.starts_with((failed ? "not ok " : "ok ") + number + " "));
        bad += failed ? 1U : 0U;
    }
    require(text.ends_with('\n') && results == plan);
    require((bad != 0) == (run.has_unexpected() || !run.missing().empty()));
}

void check_junit(const RunResult& run)
{
    const auto text = junit(run);
    pugi::xml_document document;
    // Stricter than by default: parse_full and a document that is nothing but one element.
    require(document.load_buffer(text.data(), text.size(), pugi::parse_full, pugi::encoding_utf8));
    const auto root = document.document_element();
    require(std::string_view(root.name()) == "testsuites");
    std::size_t tests = 0, broken = 0;
    for (const auto suite : root.children("testsuite"))
        for (const auto test : suite.children("testcase")) {
            ++tests;
            broken += test.child("failure") || test.child("error") ? 1U : 0U;
            require(test.attribute("time").as_double(-1) >= 0);
        }
    require(tests == run.cases.size() + run.missing().size());
    require(root.attribute("tests").as_ullong() == tests);
    require(root.attribute("failures").as_ullong() + root.attribute("errors").as_ullong() == broken);
    require(root.attribute("time").as_double(-1) >= 0);
    require((broken != 0) == (run.has_unexpected() || !run.missing().empty()));
    // Nothing that XML 1.0 forbids, which the library would let through.
    require(std::ranges::none_of(text, [](char c) {
        return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
    }));
}

// The page is XML as well, and text of others is text in it: it runs nothing.
void check_html(const std::string& page)
{
    pugi::xml_document document;
    require(document.load_buffer(page.data(), page.size(), pugi::parse_full, pugi::encoding_utf8));
    require(std::string_view(document.document_element().name()) == "html");
    std::size_t scripts = 0; // the page may have one of its own
    require(!document.find_node([&](pugi::xml_node node) {
        const std::string_view name = node.name();
        scripts += name == "script" ? 1U : 0U;
        return name == "iframe" || node.attribute("onerror") || node.attribute("onclick");
    }));
    require(scripts <= 1);
}

std::string shown(const RunResult& run, TerminalStyle style)
{
    std::ostringstream out;
    Terminal terminal(out, style);
    terminal.begin(run.planned.size(), 0, run.strict);
    for (const auto& c : run.cases)
        terminal.ended(c, run.seconds);
    for (const auto& note : run.notes)
        terminal.note(note);
    terminal.timings(run);
    terminal.finish(run, "out/latest");
    return out.str();
}

void check_terminal(const RunResult& run)
{
    std::istringstream lines(shown(run, {}));
    for (std::string line; std::getline(lines, line);)
        require(is_plain(line));
    // Where it draws over its own line there are escapes of ours, at any width.
    require(!shown(run, {.live = true, .colour = true, .width = run.command.size()}).empty());
}

void check_run(const RunResult& run)
{
    const auto text = results_json(run);
    const auto again = read_results_json(text);
    require(again.has_value() && *again == run && results_json(*again) == text);
    check_ktap(run);
    check_junit(run);
    check_terminal(run);
    check_html(html(run));
    const auto entry = index_entry("x", run);
    require(entry.exit == exit_code(run));
    const auto index = read_index_json(index_json({entry, entry}));
    require(index.has_value() && *index == std::vector{entry, entry});
}

void check_text(std::string_view text)
{
    const auto valid = utf8(text);
    require(utf8(valid) == valid && is_plain(plain(text)) && plain(plain(text)) == plain(text));
    require(xml_text(xml_text(text)) == xml_text(text));
    require(columns(plain(text)) <= text.size());
    for (const auto& line : plain_lines(text))
        require(is_plain(line));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const auto text = fuzz::Input(data, size).text();
    check_text(text);
    if (const auto run = read_results_json(text))
        check_run(*run);
    else
        require(fuzz::is_sentence(run.error()));
    if (const auto index = read_index_json(text)) {
        require(read_index_json(index_json(*index)) == index);
        check_html(index_html(*index));
        require((exit_code(*index) == exit_no_run) || !index->empty());
    } else {
        require(fuzz::is_sentence(index.error()));
    }
    // Most inputs are no events either.
    if (const auto run = fold(text).run; run != RunResult{})
        check_run(run);
    return 0;
}
