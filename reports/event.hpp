// Events: one JSON object a line. The guest writes them to the virtio-serial port, the host to events.jsonl;
// both through this file, so that writer and reader cannot drift. Every line has "event" and is bounded.
#pragma once

#include "reports/result.hpp"

#include <expected>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace reports {

inline constexpr std::size_t max_event_bytes = 256 * 1024; // a longer line is not an event

// host: first line of events.jsonl
struct RunStarted {
    std::string started, command, machine;
    KernelInfo kernel; // source is known; release and features follow in GuestReady
    std::vector<std::string> planned;
    bool strict = false;
};
// guest: once after boot, before the snapshot
struct GuestReady {
    KernelInfo kernel;
    std::vector<std::string> boot_log; // complaints found in the kernel log before any case ran
};
struct CaseStarted {
    std::string id;
};
struct CaseEnded {
    CaseResult result;
};
// host: a measurement of the harness itself
struct TimingTaken {
    Timing timing;
};
// guest or host: something about the harness, not about a case
struct HarnessNote {
    std::string message;
};
// host: last line; its absence means that the run was cut off
struct RunEnded {
    bool complete = false;
    double seconds = 0;
};

using Event =
    std::variant<RunStarted, GuestReady, CaseStarted, CaseEnded, TimingTaken, HarnessNote, RunEnded>;

// One line of JSON without the newline. Invalid UTF-8 in strings is replaced, never thrown on.
std::string encode(const Event& event);
// Any bytes in; an event, or a sentence saying what is wrong with the line.
std::expected<Event, std::string> decode(std::string_view line);

// Folds events into a result. Total: unknown or damaged lines are counted and reported, not fatal.
struct Folded {
    RunResult run;
    std::vector<std::string> damaged; // "line 17: ..." for each line that is no event
};
Folded fold(std::string_view jsonl);

// host -> guest, on the same port: run one case.
struct RunCase {
    std::string id;
    std::int64_t timeout_ms = 0;
};
std::string encode(const RunCase& command);
std::expected<RunCase, std::string> decode_command(std::string_view line);

} // namespace reports
