// Lines out of a byte stream that nobody vouches for: bounded memory, whatever comes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace vm {

inline constexpr std::size_t max_line_bytes = std::size_t{256} * 1024;

struct Line {
    std::string text;      // without the newline, and without a carriage return before it
    bool overlong = false; // text holds the first max_line_bytes, the rest was dropped
    auto operator<=>(const Line&) const = default;
};

// Not thread-safe. Holds at most what was pushed since the last empty next(), plus one cut line: a caller
// that takes lines before it pushes more keeps it below max_line_bytes plus one push.
class LineSplitter {
  public:
    void push(std::string_view bytes);
    std::optional<Line> next(); // the next whole line; a line without its newline is not one yet
    void clear();
    std::size_t buffered() const { return buffer_.size() - start_; }

  private:
    std::string buffer_;
    std::size_t start_ = 0;   // where the next line begins
    std::size_t scanned_ = 0; // no newline before this
    bool dropping_ = false;   // inside an overlong line: the bytes until its newline are not kept
};

} // namespace vm
