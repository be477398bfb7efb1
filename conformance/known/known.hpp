// Known defects of released kernels: what a kernel fails by a defect that has a name. A failure that is
// listed is `known`; a listed one that passes is `fixed`, and the list is to be shortened. A race that was
// not met proves nothing and stays `known`.
//
// The list is conformance/known/known.json, an array of
//   {"requirement": "UBLK-CDEV-MMAP-006",                      id of the case
//    "kernels": [{"from": "6.12", "before": "6.12.117"}, ...], ranges; from counts, before does not
//    "verdict": "fail",            fail, crash, hang or changed: what the case gives
//    "race": true,                 it does not show in every run; may be left out
//    "reference": "CVE-...",       CVE or upstream subject; may be empty
//    "why": "one line"}
// A defect that shows now in one way and now in another has an entry for each.
// An entry about what the kernel says beside any case, by a race that none provokes on purpose, has no
// requirement, and
//    "complaint": ["WARNING: drivers/block/ublk_drv.c", "io_ring_exit_work"]
// each of which stands in the one complaint that the log has. It is not laid at the case's door: a case that
// failed for nothing else passes, and says so in its reason.
#pragma once

#include "reports/result.hpp"
#include "ublk/uapi/features.hpp"

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conformance {

struct KernelRange {
    ublk::uapi::KernelVersion from, before; // from <= v < before
    bool contains(ublk::uapi::KernelVersion v) const { return from <= v && v < before; }
};

struct KnownDefect {
    std::string requirement;            // empty: see `complaint`
    std::vector<std::string> complaint; // texts in the kernel log
    std::vector<KernelRange> kernels;
    reports::Verdict verdict = reports::Verdict::fail;
    std::string reference, why;
    bool race = false;
};

// "6.12.107+deb13-cloud-amd64" -> 6.12.107; nullopt if it does not begin with two numbers.
std::optional<ublk::uapi::KernelVersion> parse_version(std::string_view text);

// Total: any text gives a list or a sentence that says which entry is wrong and how.
std::expected<std::vector<KnownDefect>, std::string> parse_known(std::string_view json);

const std::vector<KnownDefect>& known_defects(); // the compiled-in list

// Turns a listed failure into `known`, and a listed pass into `fixed`, or `known` if it is a race. A failure
// of another kind than the listed one stays what it is. Before that, a failure for a listed complaint alone
// is taken back.
void apply_known(reports::CaseResult& result, ublk::uapi::KernelVersion kernel,
                 const std::vector<KnownDefect>& list);

} // namespace conformance
