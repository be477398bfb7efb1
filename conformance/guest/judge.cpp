#include "conformance/guest/judge.hpp"

#include "reports/codec.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <limits>

namespace conformance {

using reports::Verdict;

namespace {

const Observation::Logged* worst(const Observation& seen, Complaint kind)
{
    const auto found = std::ranges::find(seen.complaints, kind, &Observation::Logged::complaint);
    return found == seen.complaints.end() ? nullptr : &*found;
}

std::string sentence(const std::optional<Outcome>& record)
{
    if (!record)
        return "";
    switch (record->kind) {
    case Outcome::Kind::failed:
        return fmt::format("; before that the case itself failed: expected {}, got {}", record->expected,
                           record->observed);
    case Outcome::Kind::passed:
        return std::string(reports::passed_by_itself);
    case Outcome::Kind::skipped:
        return "";
    }
    return "";
}

struct Judged {
    Verdict verdict;
    std::string expected, observed;
};

// What the process and the kernel log say, whatever the case itself thought.
std::optional<Judged> judge_surroundings(const Case& c, const Observation& seen)
{
    if (const auto* oops = worst(seen, Complaint::oops))
        return Judged{Verdict::crash, "a kernel that survives the case",
                      "kernel log: " + oops->text + sentence(seen.record)};
    if (seen.timed_out) {
        const auto what = seen.unkillable ? "it cannot be killed, it hangs in the kernel" : "killed";
        const bool early = seen.record && seen.duration < seen.limit;
        return Judged{Verdict::hang,
                      early ? "a case that has failed ends soon after"
                            : fmt::format("the case ends within {} s", seen.limit.count() / 1000),
                      fmt::format("still running, {}: {}{}", what, seen.stuck, sentence(seen.record))};
    }
    if (seen.unkillable)
        return Judged{Verdict::hang, "the case's process ends",
                      "it reported, but hangs in the kernel: " + seen.stuck + sentence(seen.record)};
    if (seen.signal) {
        const auto* logged = worst(seen, Complaint::process);
        return Judged{Verdict::crash, "the case's process exits by itself",
                      fmt::format("it died of SIG{}{}{}",
                                  ::sigabbrev_np(*seen.signal) ? ::sigabbrev_np(*seen.signal) : "?",
                                  logged != nullptr ? "; kernel log: " + logged->text : "",
                                  sentence(seen.record))};
    }
    if (seen.record_too_long)
        return Judged{Verdict::fail, fmt::format("a record of at most {} KiB", max_record_bytes / 1024),
                      "a longer one: the case leaves too many measurements, or too long texts"};
    if (seen.record_damaged)
        return Judged{Verdict::fail, "a whole record of how the case ended", "half a record"};
    if (!seen.record)
        return Judged{Verdict::fail, "a record of how the case ended",
                      fmt::format("none, and exit status {}", seen.exit_status.value_or(-1))};
    const bool failed = seen.record->kind == Outcome::Kind::failed;
    if (!failed && seen.exit_status != 0)
        return Judged{Verdict::fail, "exit status 0",
                      fmt::format("exit status {}{}", seen.exit_status.value_or(-1), sentence(seen.record))};
    const auto* logged = worst(seen, Complaint::warning);
    if (logged == nullptr)
        logged = worst(seen, Complaint::process);
    if (logged != nullptr)
        return Judged{Verdict::fail, "no complaint in the kernel log",
                      "kernel log: " + logged->text + sentence(seen.record)};
    if (failed)
        return Judged{c.level == reports::Level::contract ? Verdict::fail : Verdict::changed,
                      seen.record->expected, seen.record->observed};
    return std::nullopt;
}

} // namespace

reports::CaseResult judge(const Case& c, const Observation& seen)
{
    reports::CaseResult result{.id = c.id, .suite = c.suite, .title = c.title, .level = c.level};
    result.duration_ms = seen.duration.count();
    if (auto judged = judge_surroundings(c, seen)) {
        result.verdict = judged->verdict;
        result.expected = std::move(judged->expected);
        result.observed = std::move(judged->observed);
    } else if (seen.record->kind == Outcome::Kind::skipped) {
        result.verdict = Verdict::skip;
        result.reason = seen.record->reason;
    } else {
        result.verdict = Verdict::pass;
    }
    if (seen.record)
        result.measurements = seen.record->measurements;
    if (result.verdict != Verdict::pass && result.verdict != Verdict::skip) {
        for (const auto& line : seen.output)
            result.log.push_back("case: " + line);
        for (const auto& line : seen.kernel_log)
            result.log.push_back("kernel: " + line);
    }
    return result;
}

// ---- record ----

using reports::codec::Json;

std::string encode_record(const Outcome& outcome)
{
    Json record = Json::object();
    record["kind"] = static_cast<int>(outcome.kind);
    record["expected"] = outcome.expected;
    record["observed"] = outcome.observed;
    record["reason"] = outcome.reason;
    record["checks"] = outcome.checks;
    if (!outcome.measurements.empty())
        record["measurements"] = reports::codec::to_json(outcome.measurements);
    return reports::codec::dump(record) + "\n";
}

std::optional<Outcome> decode_record(const std::string& text)
{
    // Whole means: ends with the newline that is written last.
    if (text.empty() || text.back() != '\n')
        return std::nullopt;
    const auto json = reports::codec::parse(text);
    if (!json)
        return std::nullopt;
    reports::codec::Members record{*json, "the record"};
    Outcome outcome;
    outcome.kind =
        static_cast<Outcome::Kind>(record.integer("kind", 0, static_cast<int>(Outcome::Kind::skipped)));
    outcome.expected = record.text("expected");
    outcome.observed = record.text("observed");
    outcome.reason = record.text("reason");
    outcome.checks = static_cast<int>(record.integer("checks", 0, std::numeric_limits<int>::max()));
    outcome.measurements = reports::codec::read_measurements(record);
    if (!record.error().empty())
        return std::nullopt;
    return outcome;
}

} // namespace conformance
