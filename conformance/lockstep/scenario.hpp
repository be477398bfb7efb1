// A sequence of commands as a text file: one command a line, empty lines and # comments between.
#pragma once

#include "ublk/model/command.hpp"

#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conformance::lockstep {

using Scenario = std::vector<ublk::model::Command>;

std::string to_text(std::span<const ublk::model::Command> commands);
// Error: "line 3: ...".
std::expected<Scenario, std::string> parse_scenario(std::string_view text);

// What a run does, as the host gives it to the guest: the file below.
inline constexpr std::string_view plan_path = "/etc/ublkcheck/lockstep";
struct Plan {
    std::uint64_t seed = 1;
    unsigned steps = 0;    // of each case; 0: the scenario is what is done
    std::string planted{}; // rules.hpp
    Scenario scenario{};   // done by the first case
    bool operator==(const Plan&) const = default;
};
std::string to_text(const Plan& plan);
std::expected<Plan, std::string> parse_plan(std::string_view text);

} // namespace conformance::lockstep
