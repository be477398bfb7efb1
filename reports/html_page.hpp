// What the HTML pages are made of. The tree is pugixml's, which escapes whatever is put into it. Internal to
// reports.
#pragma once

#include <pugixml.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace reports::page {

using Node = pugi::xml_node;

// Attributes are ours or made by link_to(); hostile text goes into text nodes only.
void set(Node node, const char* name, std::string_view value);
void add_text(Node node, std::string_view text); // through html_text()
// A new last child; `style` is its class.
Node add(Node parent, const char* element, std::string_view text = {}, const char* style = nullptr);

// A page with title, style sheet and an empty body of header, nav and main.
class Page {
  public:
    explicit Page(std::string_view title);

    Node header() { return header_; }
    Node main() { return main_; }
    // A section of main with its heading and its entry in the list of contents.
    Node section(const char* id, std::string_view title);
    void add_script(); // the filter over the table "all-cases"; the page is whole without it
    std::string text();

  private:
    pugi::xml_document document_;
    Node body_, header_, contents_, main_;
};

// A table that scrolls by itself where the window is narrow; `label` names it to a screen reader.
Node add_table(Node parent, std::string_view label, std::span<const std::string_view> columns);
// A percent-encoded relative reference: nothing in `path` can make it a scheme or another host.
std::string link_to(std::string_view path);

std::string grouped(double value, int decimals); // "12,000.5"
std::string seconds(std::int64_t milliseconds);  // "1.500 s"

} // namespace reports::page
