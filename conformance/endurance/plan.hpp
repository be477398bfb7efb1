// What `ublkcheck endurance` asks of the cases of suite "endurance": the host writes it, the guest reads it.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace conformance::endurance {

inline constexpr const char* plan_path = "/etc/ublkcheck/endurance";
// Cycles of a case when nobody says how many.
inline constexpr unsigned usual_kills = 500, usual_lives = 1000;
// A cycle of processes takes as long as so many of the library.
inline constexpr unsigned lives_in_a_process = 5;

struct Plan {
    std::uint64_t seed = 1; // of the moments and the contents
    unsigned cycles = 0;    // 0: the usual ones
    unsigned kills() const { return cycles != 0 ? cycles : usual_kills; }
    unsigned lives() const { return cycles != 0 ? cycles : usual_lives; }
    unsigned process_lives() const { return (lives() + lives_in_a_process - 1) / lives_in_a_process; }
    // How much more there is to do than usually, at least a tenth: what the limits of the cases are
    // multiplied by.
    double length() const;
    bool operator==(const Plan&) const = default;
};
std::string to_text(const Plan& plan);
std::expected<Plan, std::string> parse_plan(std::string_view text);

} // namespace conformance::endurance
