#include "vm/lines.hpp"

#include <algorithm>

namespace vm {

void LineSplitter::push(std::string_view bytes)
{
    buffer_.erase(0, start_);
    scanned_ -= start_;
    start_ = 0;
    buffer_.append(bytes);
}

std::optional<Line> LineSplitter::next()
{
    const auto newline = buffer_.find('\n', scanned_);
    if (newline == std::string::npos) {
        scanned_ = buffer_.size();
        // The tail of an overlong line is worth nothing: keep its beginning, and remember that it was cut.
        if (scanned_ - start_ > max_line_bytes) {
            buffer_.resize(start_ + max_line_bytes);
            scanned_ = buffer_.size();
            dropping_ = true;
        }
        return std::nullopt;
    }
    auto length = newline - start_;
    if (length > 0 && buffer_[newline - 1] == '\r')
        --length;
    Line line{buffer_.substr(start_, std::min(length, max_line_bytes)), dropping_ || length > max_line_bytes};
    start_ = scanned_ = newline + 1;
    dropping_ = false;
    return line;
}

void LineSplitter::clear()
{
    buffer_.clear();
    start_ = scanned_ = 0;
    dropping_ = false;
}

} // namespace vm
