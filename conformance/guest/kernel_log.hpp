// The kernel log, and what in it no case may cause.
#pragma once

#include "ublk/wire/ring.hpp"

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conformance {

// How bad a line of the kernel log is.
enum class Complaint {
    warning, // WARN, lockdep, RCU stall, hung task, UBSAN, refcount, leak...: the kernel goes on
    oops,    // BUG, oops, KASAN, general protection...: the kernel is damaged
    process, // a user process died of a signal that the kernel logs (segfault, trap), or of the OOM killer
};

// What kind of complaint a message of the kernel is, if any. Knows the whole list that the watch goes by.
std::optional<Complaint> classify(std::string_view message);

// Keeps the beginning and the end of what may be a flood. Bounded in lines and in bytes.
class BoundedLog {
  public:
    void add(std::string line);
    // Bytes as they come from a pipe; cut into lines.
    void add_bytes(std::string_view bytes);
    std::vector<std::string> lines() const; // with a line in the middle that says how much was left out
    bool empty() const { return head_.empty() && partial_.empty(); }

  private:
    std::string_view skip_flood(std::string_view bytes);

    static constexpr std::size_t head_lines = 60, tail_lines = 140, max_line = 400;
    std::vector<std::string> head_;
    std::deque<std::string> tail_;
    std::size_t dropped_ = 0;
    std::string partial_;
};

// Reads /dev/kmsg from where it was last left.
class KernelLog {
  public:
    KernelLog(); // at the present end of the log

    int fd() const { return fd_.get(); }
    struct Line {
        std::string text;
        std::optional<Complaint> complaint; // only for messages that the kernel itself wrote
    };
    // Next message; nullopt when none is there. Messages that the ring buffer has lost since are said as a
    // line.
    std::optional<Line> next();
    void skip_to_end();

  private:
    ublk::wire::Fd fd_;
};

} // namespace conformance
