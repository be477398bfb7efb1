#include "reports/text.hpp"

#include "reports/codec.hpp"

#include <algorithm>

namespace reports {
namespace {

constexpr std::string_view replacement = "\uFFFD";

// Bytes of the code point at the start of valid UTF-8.
std::size_t length_of(std::string_view valid)
{
    const auto lead = static_cast<unsigned char>(valid[0]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    return std::min(length, valid.size());
}

// C1, what HTML calls noncharacters of the basic plane, and marks that reorder the text after them.
bool is_harmful(std::string_view point)
{
    return (point >= "\xc2\x80" && point <= "\xc2\x9f") || (point >= "\uFDD0" && point <= "\uFDEF") ||
           (point >= "\u202A" && point <= "\u202E") || (point >= "\u2066" && point <= "\u2069") ||
           point == "\uFFFE" || point == "\uFFFF";
}

template <typename Keep>
std::string replaced(std::string_view text, std::string_view by, Keep keep)
{
    const auto valid = utf8(text);
    std::string result;
    result.reserve(valid.size());
    for (std::string_view rest = valid; !rest.empty();) {
        const auto point = rest.substr(0, length_of(rest));
        result += keep(point) ? point : by;
        rest.remove_prefix(point.size());
    }
    return result;
}

} // namespace

std::string utf8(std::string_view text)
{
    // The JSON library checks UTF-8 while it writes and reads a string: no second decoder here.
    const auto json = codec::parse(codec::dump(codec::Json(text)));
    return json ? json->get<std::string>() : std::string{};
}

std::string plain(std::string_view text)
{
    return replaced(text, "?", [](std::string_view point) {
        const auto first = static_cast<unsigned char>(point[0]);
        if (point.size() == 1)
            return first >= 0x20 && first != 0x7f;
        return first != 0xc2 || static_cast<unsigned char>(point[1]) >= 0xa0;
    });
}

std::vector<std::string> plain_lines(std::string_view text)
{
    std::vector<std::string> lines;
    while (!text.empty()) {
        const auto end = text.find('\n');
        std::string line{text.substr(0, end)};
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (line.ends_with('\r'))
            line.pop_back();
        std::ranges::replace(line, '\t', ' ');
        lines.push_back(plain(line));
    }
    while (!lines.empty() && lines.back().empty())
        lines.pop_back();
    return lines;
}

std::string xml_text(std::string_view text)
{
    return replaced(text, replacement, [](std::string_view point) {
        if (point.size() == 1)
            return static_cast<unsigned char>(point[0]) >= 0x20 || point == "\t" || point == "\n" ||
                   point == "\r";
        return point != "\uFFFE" && point != "\uFFFF";
    });
}

std::string html_text(std::string_view text)
{
    const auto valid = utf8(text);
    std::string result;
    result.reserve(valid.size());
    for (std::string_view rest = valid; !rest.empty();) {
        const auto point = rest.substr(0, length_of(rest));
        rest.remove_prefix(point.size());
        const auto first = static_cast<unsigned char>(point[0]);
        if (point == "\r" && rest.starts_with('\n'))
            continue;
        if (first == 0x7f)
            result += "␡";
        else if (first < 0x20 && point != "\n" && point != "\t")
            result += {'\xe2', '\x90', static_cast<char>(0x80 + first)}; // U+2400 and on
        else
            result += is_harmful(point) ? replacement : point;
    }
    return result;
}

std::size_t columns(std::string_view line)
{
    return static_cast<std::size_t>(
        std::ranges::count_if(line, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

} // namespace reports
