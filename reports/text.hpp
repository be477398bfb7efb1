// Makes text that a kernel or a server wrote harmless for the place it is shown in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace reports {

// Valid UTF-8; what is none becomes U+FFFD.
std::string utf8(std::string_view text);
// UTF-8 without characters that a terminal acts on: C0 (tab and newline too), DEL and C1 become "?".
std::string plain(std::string_view text);
// The lines of `text`, each plain(), with tabs as blanks, without empty ones at the end. No text, no lines.
std::vector<std::string> plain_lines(std::string_view text);
// UTF-8 that XML 1.0 may hold: other control characters, U+FFFE and U+FFFF become U+FFFD.
std::string xml_text(std::string_view text);
// UTF-8 for HTML text and attributes, not yet escaped. Control characters become their pictures (ESC is "␛"),
// but for newline and tab, and "\r\n" is a newline; what turns the direction of the text around it becomes
// U+FFFD.
std::string html_text(std::string_view text);
// How many columns a line of UTF-8 takes, counting each code point as one.
std::size_t columns(std::string_view line);

} // namespace reports
