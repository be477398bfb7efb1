// From the values of all rounds to measurements, ratios and conclusions.
#pragma once

#include "perf/plan.hpp"
#include "reports/result.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace perf {

using Values = std::vector<std::vector<double>>; // of each subject of the plan, one a round

inline constexpr double interval_confidence = 0.99; // of the intervals

// "IOPS", "MiB/s" or "instructions per I/O"
std::string metric(const Load& load, bool exact);
bool less_is_better(std::string_view metric);
// What is counted besides, one measurement for each subject.
inline constexpr std::string_view server_per_io = "server instructions per I/O"; // in user mode
inline constexpr std::string_view calls_per_io = "system calls per I/O";         // of the server
inline constexpr std::string_view bring_up_time = "microseconds";                // of the machine's own clock
inline constexpr std::string_view switches_per_io = "task switches per I/O";     // of everybody

// One measurement for each subject and each of plan.against (one without a ratio when there is none). A
// subject that repeats another also gets one against that: the noise of the session.
std::vector<reports::Measurement> measurements(const Plan& plan, const Load& load, const Values& values);

// How far from 1 a ratio may be by chance alone: what the interval of the A/A measurements reaches, at most
// of all of them. 0 without any.
double noise_of(const std::vector<reports::Measurement>& measured);

// Comparing a commit B with a commit A.
enum class Change { none, slower, faster };
struct Conclusion {
    Change change = Change::none;
    std::string text{}; // "no difference", "1.2 % slower"
};
// A difference is one when the interval leaves out 1 and the ratio is outside of `noise`.
Conclusion conclude_noisy(const reports::Measurement& measured, double noise);
// A difference is one when the counts, which have no noise, are further apart than unrelated changes of code
// and layout move them: `gate` for all that runs, more for the server's few instructions. Calls and switches
// are shown and not judged: what they cost is among the instructions.
Conclusion conclude_exact(const reports::Measurement& measured, double gate);

// Concludes the measurements that compare B with A, in place. The sentence about those that became slower,
// and nothing when there are none.
std::optional<std::string> conclude(const Plan& plan, const Load& load,
                                    std::vector<reports::Measurement>& measured);

// Exact mode counts A and B in two boots of the same machine, by the same plan with the same names, so that
// nothing but the server differs. From what both left: measurements of both, B against A, concluded.
std::vector<reports::Measurement> pair_up(const Load& load, std::string_view a, std::string_view b,
                                          const std::vector<reports::Measurement>& of_a,
                                          const std::vector<reports::Measurement>& of_b);

} // namespace perf
