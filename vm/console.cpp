#include "vm/console.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace vm {
namespace {
constexpr std::string_view panic_words = "Kernel panic - not syncing";
constexpr std::string_view last_words = "---[ end Kernel panic";
constexpr std::size_t watched_line_bytes = 1024; // kernel lines are shorter; a longer one is no panic
} // namespace

void Console::push(std::string_view bytes)
{
    total_ += bytes.size();
    for (std::size_t at = 0; at < bytes.size();) {
        const auto newline = std::min(bytes.find('\n', at), bytes.size());
        if (line_.size() < watched_line_bytes)
            line_.append(bytes.substr(at, newline - at), 0, watched_line_bytes - line_.size());
        if (newline == bytes.size())
            break;
        watch(line_);
        line_.clear();
        at = newline + 1;
    }

    const auto to_head = std::min(bytes.size(), head_bytes - head_.size());
    head_.append(bytes.substr(0, to_head));
    tail_.append(bytes.substr(to_head));
    if (tail_.size() > 2 * tail_bytes) // not at every byte: erasing the front moves everything
        tail_.erase(0, tail_.size() - tail_bytes);
}

void Console::watch(std::string_view line)
{
    if (line.ends_with('\r'))
        line.remove_suffix(1);
    panic_complete_ = panic_complete_ || line.contains(last_words);
    if (const auto at = line.find(panic_words); at != std::string_view::npos && panic_.empty())
        panic_ = line.substr(at);
}

void Console::clear()
{
    *this = Console();
}

std::string Console::text() const
{
    const auto shown = std::min(tail_.size(), tail_bytes);
    const auto left_out = total_ - head_.size() - shown;
    if (left_out == 0)
        return head_ + tail_;
    return fmt::format("{}\n[... {} bytes left out ...]\n{}", head_, left_out,
                       std::string_view(tail_).substr(tail_.size() - shown));
}

} // namespace vm
