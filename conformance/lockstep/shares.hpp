// How the steps of a run are shared out to cases, and what a case leaves for the host to pick up.
#pragma once

#include <chrono>
#include <fmt/format.h>
#include <string>
#include <string_view>

namespace conformance::lockstep {

inline constexpr unsigned shares = 100;           // at most; each is a case
inline constexpr unsigned steps_of_a_share = 500; // of a run that is not longer than shares * this
inline constexpr std::chrono::minutes share_limit{
    3}; // for that many steps, on a busy machine, and for shrinking
inline constexpr std::chrono::seconds shrink_limit{60};

inline std::string share_id(unsigned share)
{
    return fmt::format("LOCKSTEP-{:03}", share + 1);
}

// The lines of a diverging case that are its sequence, and the heading above the shortest one.
inline constexpr std::string_view scenario_mark = "  ", shortest_heading = "shortest";

} // namespace conformance::lockstep
