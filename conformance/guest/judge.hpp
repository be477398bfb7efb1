// From what was seen of a case to its verdict. Pure, so that the harness's own judgement can be tested.
#pragma once

#include "conformance/driver/case.hpp"
#include "conformance/guest/kernel_log.hpp"
#include "reports/result.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace conformance {

inline constexpr std::size_t max_record_bytes = 256 * 1024;

struct Observation {
    // The record that the case's process wrote about its body; absent: it wrote none; unreadable: damaged.
    std::optional<Outcome> record;
    bool record_damaged = false;
    bool record_too_long = false;   // longer than max_record_bytes, and not read for that
    std::optional<int> exit_status; // exit code
    std::optional<int> signal;      // it died of this signal, which the supervisor did not send
    bool timed_out = false;
    bool unkillable = false; // still there after SIGKILL
    std::string stuck;       // where it hung: thread states and wait channels
    std::chrono::milliseconds duration{}, limit{};
    struct Logged {
        Complaint complaint;
        std::string text;
    };
    std::vector<Logged> complaints; // of the kernel log, while the case ran
    std::vector<std::string> kernel_log, output;
};

reports::CaseResult judge(const Case& c, const Observation& seen);

// The line that the case's process writes, and its reader.
std::string encode_record(const Outcome& outcome);
std::optional<Outcome> decode_record(const std::string& text);

} // namespace conformance
