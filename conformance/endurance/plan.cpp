#include "conformance/endurance/plan.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace conformance::endurance {

double Plan::length() const
{
    constexpr double least = 0.1;
    return cycles == 0 ? 1 : std::max(least, static_cast<double>(cycles) / usual_kills);
}

std::string to_text(const Plan& plan)
{
    return nlohmann::json{{"schema", 1}, {"seed", plan.seed}, {"cycles", plan.cycles}}.dump() + "\n";
}

std::expected<Plan, std::string> parse_plan(std::string_view text)
{
    try {
        const auto json = nlohmann::json::parse(text);
        return Plan{.seed = json.at("seed").get<std::uint64_t>(),
                    .cycles = json.at("cycles").get<unsigned>()};
    } catch (const nlohmann::json::exception& e) {
        return std::unexpected(e.what());
    }
}

} // namespace conformance::endurance
