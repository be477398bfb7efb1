// The vocabulary of results: what a case is, how it ended, what a run adds up to. One schema for every suite.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reports {

inline constexpr int schema_version = 1; // of events.jsonl and results.json; raised when a reader would break

// contract: documented or plainly intended, breaking it is a failure.
// behaviour: how released kernels behave, a difference is reported and fails nothing unless --strict.
enum class Level { contract, behaviour };

enum class Verdict {
    pass,
    fail,
    changed, // a behaviour rule differs
    skip,    // not applicable here; `reason` names what is missing
    crash,   // the kernel oopsed or panicked, the guest or the case process died of a signal
    hang,    // no end within the time limit
    known,   // failed as listed in conformance/known for this kernel
    fixed,   // listed as failing for this kernel, but passed
};
inline constexpr std::array all_verdicts{Verdict::pass,  Verdict::fail, Verdict::changed, Verdict::skip,
                                         Verdict::crash, Verdict::hang, Verdict::known,   Verdict::fixed};

std::string_view to_string(Verdict verdict);
std::string_view to_string(Level level);
std::optional<Verdict> verdict_from(std::string_view text);
std::optional<Level> level_from(std::string_view text);

// Ends `observed` of a case that failed only for what happened around it.
inline constexpr std::string_view passed_by_itself = "; the case itself thought that it passed";

// Fails the run: fail, crash and hang; with `strict` also changed. `fixed` does not fail a run: it asks for
// the list of known defects to be shortened.
bool is_unexpected(Verdict verdict, bool strict);

// What a case measured of one subject under one load. A case may leave several, whatever its verdict.
struct Measurement {
    std::string subject{};        // what was measured: "ublk-serve memory", "null_blk", "A 1a2b3c4"
    std::string load{};           // "4k random read, QD 1"
    std::string metric{};         // with its unit: "IOPS", "MiB/s", "instructions per I/O"
    std::vector<double> values{}; // one a round, in the order of the rounds; finite
    std::string against{};        // the subject that `ratio` is to; empty: none, and the ratio says nothing
    double ratio = 0;             // median of the ratios round by round
    double low = 0, high = 0;     // its confidence interval
    std::string conclusion{};     // "no difference", "4.1 % slower"

    bool operator==(const Measurement&) const = default;
};
bool is_finite(const Measurement& measurement); // every figure in it

// The braces after members without a default keep compilers quiet about designated initializers.
struct CaseResult {
    std::string id{};    // UBLK-<AREA>-<NNN>
    std::string suite{}; // "driver", "integrity", "selftest"
    std::string title{}; // the rule as one sentence
    Level level = Level::contract;
    Verdict verdict = Verdict::fail;
    std::int64_t duration_ms = 0;       // guest time from start of the case's process to its end
    std::string expected{}, observed{}; // set on anything but pass and skip
    std::string
        reason{}; // skip: the missing feature; known/fixed: the list's explanation; pass: a listed complaint
    std::vector<std::string> log{}; // kernel log and output of the case, newest last; bounded
    std::string again{};            // command that repeats just this case; set by the host
    std::vector<Measurement> measurements{};
    int worker = -1; // which machine ran it

    bool operator==(const CaseResult&) const = default;
};

struct KernelInfo {
    std::string release{};      // uname -r
    std::string version{};      // uname -v
    std::uint64_t features = 0; // GET_FEATURES
    std::vector<std::string> feature_names{};
    std::string source{}; // where the kernel came from and how it was verified

    bool operator==(const KernelInfo&) const = default;
};

struct Timing {
    std::string what{}; // "build initramfs", "boot", "restore (median)", "first verdict", ...
    double seconds = 0;

    bool operator==(const Timing&) const = default;
};

// A run over one kernel, folded from its events.
struct RunResult {
    KernelInfo kernel{};
    std::string started{};              // UTC, ISO 8601
    std::string machine{};              // accelerator and size, as the terminal's `machine` line
    std::string command{};              // as typed
    std::vector<std::string> planned{}; // ids, in order
    // In order of `planned`; a case that was run twice appears once, last wins.
    std::vector<CaseResult> cases{};
    std::vector<Timing> timings{};
    bool strict = false;
    bool complete = false; // false: interrupted; planned cases may be missing
    double seconds = 0;
    std::vector<std::string> boot_log{}; // complaints of the kernel before any case ran
    std::vector<std::string> notes{};    // what the harness had to say about itself

    int count(Verdict verdict) const;
    bool has_unexpected() const;
    std::vector<std::string> missing() const;   // planned, but without a verdict
    std::vector<std::string> unplanned() const; // with a verdict, but never planned

    bool operator==(const RunResult&) const = default;
};

// What a process exits with.
inline constexpr int exit_expected = 0;   // every planned case has a verdict, and none is unexpected
inline constexpr int exit_unexpected = 1; // an unexpected verdict, or a run that is cut off or has gaps
inline constexpr int exit_usage = 2;
inline constexpr int exit_no_run = 3; // the harness judged nothing

// exit_expected, exit_unexpected or exit_no_run. A run with fewer verdicts than planned is never 0.
int exit_code(const RunResult& run);

} // namespace reports
