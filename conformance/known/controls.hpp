// Positive controls: what the cases must find on released kernels that are known to be wrong, and where they
// must find nothing. A suite that passes everywhere may just be blind.
//
// The list is conformance/known/controls.json, an array of
//   {"requirement": "UBLK-SIZE-002",
//    "verdict": "crash",                 fail, crash or hang: what the case gives, before known.json is asked
//    "kernels": ["6.16.12", "6.17.8"],   exact versions, each of which was seen to give it
//    "shows": "NULL pointer dereference", in what was observed or in the kernel log: a case that fails for
//                                         another reason than the defect has not found it
//    "mended": ["7.3.4"],                 where the same case passes; may be left out
//    "reference": "CVE-...",              may be empty
//    "why": "one line"}
#pragma once

#include "reports/result.hpp"

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conformance {

struct Control {
    std::string kernel, requirement;
    reports::Verdict expected = reports::Verdict::pass;
    std::string shows; // empty for a pass
    std::string reference, why;
};

// One for each kernel and requirement, by kernel version. Total: any text gives a list or a sentence that
// says which entry is wrong and how.
std::expected<std::vector<Control>, std::string> parse_controls(std::string_view json);

const std::vector<Control>& controls(); // the compiled-in list

struct ControlResult {
    Control control;
    std::optional<reports::Verdict> got; // none: the kernel was not to be had, or the run was cut off
    bool shown = false;                  // the sign of the defect was there, or none is asked for

    bool as_expected() const { return got == control.expected && shown; }
};

// `result` is that of the control's requirement, as the case gave it.
ControlResult judge(const Control& control, const reports::CaseResult* result);

// exit_unexpected if one was found to be otherwise; else exit_no_run if one could not be tried.
int exit_code(const std::vector<ControlResult>& results);

// "6.16.12  UBLK-SIZE-002  expected crash  got crash  UPDATE_SIZE dereferences ... (CVE-...)"
std::string table(const std::vector<ControlResult>& results);
std::string controls_json(const std::vector<ControlResult>& results);

} // namespace conformance
