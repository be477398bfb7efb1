#include "conformance/lockstep/scenario.hpp"

#include <charconv>
#include <fmt/format.h>
#include <sstream>

namespace conformance::lockstep {

namespace {

std::string_view trimmed(std::string_view line)
{
    line = line.substr(0, line.find('#'));
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos)
        return {};
    return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

// "seed 7" -> 7
template <typename T>
bool read_setting(std::string_view line, std::string_view name, T& value)
{
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ' ')
        return false;
    line.remove_prefix(name.size() + 1);
    if constexpr (std::is_same_v<T, std::string>) {
        value = line;
        return true;
    } else {
        const auto [end, err] = std::from_chars(line.data(), line.data() + line.size(), value);
        return err == std::errc{} && end == line.data() + line.size();
    }
}

} // namespace

std::string to_text(std::span<const ublk::model::Command> commands)
{
    std::string text;
    for (const auto& command : commands)
        text += ublk::model::to_string(command) + "\n";
    return text;
}

std::string to_text(const Plan& plan)
{
    return fmt::format("seed {}\nsteps {}\n{}{}", plan.seed, plan.steps,
                       plan.planted.empty() ? "" : fmt::format("planted {}\n", plan.planted),
                       to_text(plan.scenario));
}

std::expected<Plan, std::string> parse_plan(std::string_view text)
{
    Plan plan;
    std::istringstream stream{std::string(text)};
    unsigned number = 0;
    for (std::string whole; std::getline(stream, whole);) {
        ++number;
        const auto line = trimmed(whole);
        if (line.empty() || read_setting(line, "seed", plan.seed) ||
            read_setting(line, "steps", plan.steps) || read_setting(line, "planted", plan.planted))
            continue;
        const auto command = ublk::model::parse_command(line);
        if (!command)
            return std::unexpected(fmt::format("line {}: {}", number, command.error()));
        plan.scenario.push_back(*command);
    }
    return plan;
}

std::expected<Scenario, std::string> parse_scenario(std::string_view text)
{
    auto plan = parse_plan(text);
    if (!plan)
        return std::unexpected(plan.error());
    return std::move(plan->scenario);
}

} // namespace conformance::lockstep
