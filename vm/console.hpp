// The guest's kernel console: bounded memory, and the one thing that must be seen in it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vm {

class Console {
  public:
    static constexpr std::size_t head_bytes = std::size_t{64} * 1024;
    static constexpr std::size_t tail_bytes = std::size_t{192} * 1024;

    void push(std::string_view bytes);
    void clear();
    // Everything, or the first head_bytes and the last tail_bytes with a note of what was left out between.
    std::string text() const;
    std::size_t total_bytes() const { return total_; }

    // The line with which the kernel gave up ("Kernel panic - not syncing: ..."), without its time stamp;
    // empty while it has not.
    const std::string& panic() const { return panic_; }
    bool panic_complete() const { return panic_complete_; } // the kernel has said its last line

  private:
    void watch(std::string_view line);

    std::string head_, tail_, line_;
    std::size_t total_ = 0;
    std::string panic_;
    bool panic_complete_ = false;
};

} // namespace vm
