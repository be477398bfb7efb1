#include "reports/html_page.hpp"

#include "reports/html_style.hpp"
#include "reports/text.hpp"

#include <fmt/format.h>

#include <algorithm>

#include <sstream>

namespace reports::page {
namespace {

// HTML knows no empty-element tags but for its void elements: all others need an end tag, so something
// inside.
void close_empty(Node node)
{
    for (Node child : node.children()) {
        if (child.type() != pugi::node_element)
            continue;
        if (!child.first_child() && std::string_view{child.name()} != "meta")
            child.append_child(pugi::node_pcdata);
        close_empty(child);
    }
}

void add_meta(Node head, const char* kind, const char* name, const char* content)
{
    auto meta = head.append_child("meta");
    set(meta, kind, name);
    set(meta, "content", content);
}

} // namespace

void set(Node node, const char* name, std::string_view value)
{
    node.append_attribute(name).set_value(html_text(value).c_str());
}

void add_text(Node node, std::string_view text)
{
    node.append_child(pugi::node_pcdata).set_value(html_text(text).c_str());
}

Node add(Node parent, const char* element, std::string_view text, const char* style)
{
    auto node = parent.append_child(element);
    if (style != nullptr)
        set(node, "class", style);
    if (!text.empty())
        add_text(node, text);
    return node;
}

Page::Page(std::string_view title)
{
    document_.append_child(pugi::node_doctype).set_value("html");
    auto root = document_.append_child("html");
    set(root, "lang", "en");
    auto head = root.append_child("head");
    set(head.append_child("meta"), "charset", "utf-8");
    // A second wall behind the escaping: even markup that got through could load nothing.
    add_meta(head, "http-equiv", "Content-Security-Policy",
             "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'");
    add_meta(head, "name", "viewport", "width=device-width, initial-scale=1");
    add_meta(head, "name", "color-scheme", "light dark");
    add(head, "title", title);
    add(head, "style", style_sheet);
    body_ = root.append_child("body");
    header_ = body_.append_child("header");
    add(header_, "h1", title);
    auto nav = body_.append_child("nav");
    set(nav, "aria-label", "Contents");
    contents_ = nav.append_child("ul");
    main_ = body_.append_child("main");
}

Node Page::section(const char* id, std::string_view title)
{
    auto section = main_.append_child("section");
    set(section, "id", id);
    add(section, "h2", title);
    set(add(contents_.append_child("li"), "a", title), "href", std::string{"#"} + id);
    return section;
}

void Page::add_script()
{
    add(body_, "script", filter_script);
}

std::string Page::text()
{
    if (contents_.first_child() == contents_.last_child()) // one section needs no list
        body_.remove_child("nav");
    close_empty(document_.root());
    std::ostringstream out;
    document_.save(out, "", pugi::format_raw | pugi::format_no_declaration, pugi::encoding_utf8);
    return out.str() + "\n";
}

Node add_table(Node parent, std::string_view label, std::span<const std::string_view> columns)
{
    auto scroll = add(parent, "div", {}, "scroll");
    set(scroll, "role", "region");
    set(scroll, "aria-label", label);
    set(scroll, "tabindex", "0"); // the arrow keys scroll it
    auto table = scroll.append_child("table");
    auto row = table.append_child("thead").append_child("tr");
    for (const auto column : columns)
        set(add(row, "th", column), "scope", "col");
    return table;
}

std::string link_to(std::string_view path)
{
    std::string link = "./";
    for (const char c : path) {
        const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           std::string_view{"-._~/"}.contains(c);
        link += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return link;
}

std::string grouped(double value, int decimals)
{
    auto text = fmt::format("{:.{}f}", value, decimals);
    const auto point = std::min(text.find('.'), text.size());
    const std::size_t first = text.starts_with('-') ? 1 : 0;
    for (auto at = point; at > first + 3;)
        text.insert(at -= 3, ",");
    return text;
}

std::string seconds(std::int64_t milliseconds)
{
    return grouped(static_cast<double>(milliseconds) / 1000, 3) + " s";
}

} // namespace reports::page
