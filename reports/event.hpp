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
    std::string started{}, command{}, machine{};
    KernelInfo kernel{}; // source is known; release and features follow in GuestReady
    std::vector<std::string> planned{};
    bool strict = false;

    bool operator==(const RunStarted&) const = default;
};
// guest: once after boot, before the snapshot
struct GuestReady {
    KernelInfo kernel{};
    std::vector<std::string> boot_log{}; // complaints found in the kernel log before any case ran

    bool operator==(const GuestReady&) const = default;
};
struct CaseStarted {
    std::string id{};

    bool operator==(const CaseStarted&) const = default;
};
struct CaseEnded {
    CaseResult result{};

    bool operator==(const CaseEnded&) const = default;
};
// host: a measurement of the harness itself
struct TimingTaken {
    Timing timing{};

    bool operator==(const TimingTaken&) const = default;
};
// guest or host: something about the harness, not about a case
struct HarnessNote {
    std::string message{};

    bool operator==(const HarnessNote&) const = default;
};
// host: last line; its absence means that the run was cut off
struct RunEnded {
    bool complete = false;
    double seconds = 0;

    bool operator==(const RunEnded&) const = default;
};

using Event =
    std::variant<RunStarted, GuestReady, CaseStarted, CaseEnded, TimingTaken, HarnessNote, RunEnded>;

// One line of JSON without the newline, at most max_event_bytes. Invalid UTF-8 is replaced, never thrown on;
// a number that is not finite becomes 0. A case whose texts are too long keeps the ends of them (the newest
// lines of its log) and says what was cut; any other event that does not fit becomes a HarnessNote saying so.
std::string encode(const Event& event);
// Any bytes in; an event, or a sentence saying what is wrong with the line.
std::expected<Event, std::string> decode(std::string_view line);

// Folds events into a result. Total: unknown or damaged lines are counted and reported, not fatal. A second
// RunStarted resumes the run: its new ids join `planned`, `started` stays, the seconds of both add up, and
// the run is complete when the last one is.
struct Folded {
    RunResult run;
    std::vector<std::string> damaged{}; // "line 17: ..." for each line that is no event; blank lines are none
};
Folded fold(std::string_view jsonl);

// host -> guest, on the same port: run one case.
struct RunCase {
    std::string id{};
    std::int64_t timeout_ms = 0;

    bool operator==(const RunCase&) const = default;
};
std::string encode(const RunCase& command);
std::expected<RunCase, std::string> decode_command(std::string_view line);

} // namespace reports
