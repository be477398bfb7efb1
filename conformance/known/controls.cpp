#include "conformance/known/controls.hpp"

#include "conformance/known/compiled_in.hpp"
#include "conformance/known/known.hpp"
#include "controls_json.hpp"
#include "reports/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace conformance {

using reports::Verdict;

namespace {

void add_controls(const nlohmann::json& entry, std::vector<Control>& list)
{
    const auto verdict = reports::verdict_from(entry.at("verdict").get<std::string>());
    if (verdict != Verdict::fail && verdict != Verdict::crash && verdict != Verdict::hang)
        throw std::runtime_error("verdict is fail, crash or hang");
    Control control{.kernel = {},
                    .requirement = entry.at("requirement").get<std::string>(),
                    .expected = *verdict,
                    .shows = entry.at("shows").get<std::string>(),
                    .reference = entry.at("reference").get<std::string>(),
                    .why = entry.at("why").get<std::string>()};
    const auto kernels = entry.at("kernels").get<std::vector<std::string>>();
    if (control.requirement.empty() || control.shows.empty() || control.why.empty() || kernels.empty())
        throw std::runtime_error("requirement, kernels, shows and why must not be empty");
    const auto add = [&](const std::string& kernel) {
        if (!parse_version(kernel))
            throw std::runtime_error(fmt::format("'{}' is no kernel version", kernel));
        control.kernel = kernel;
        if (std::ranges::any_of(list, [&](const Control& other) {
                return other.kernel == kernel && other.requirement == control.requirement;
            }))
            throw std::runtime_error(
                fmt::format("{} on {} is there a second time", control.requirement, kernel));
        list.push_back(control);
    };
    std::ranges::for_each(kernels, add);
    control.expected = Verdict::pass;
    control.shows.clear();
    std::ranges::for_each(entry.value("mended", std::vector<std::string>()), add);
}

std::string got_text(const ControlResult& result)
{
    if (!result.got)
        return "not run";
    const bool wrong_reason = result.got == result.control.expected && !result.shown;
    return fmt::format("{}{}", reports::to_string(*result.got), wrong_reason ? " (otherwise)" : "");
}

} // namespace

std::expected<std::vector<Control>, std::string> parse_controls(std::string_view json)
{
    std::vector<Control> list;
    std::size_t number = 1;
    try {
        const auto entries = nlohmann::json::parse(json);
        if (!entries.is_array())
            return std::unexpected("the list of controls is not an array");
        for (const auto& entry : entries) {
            add_controls(entry, list);
            ++number;
        }
    } catch (const std::exception& e) {
        // The JSON library quotes what it stumbled over.
        return std::unexpected(fmt::format("controls, entry {}: {}", number, reports::plain(e.what())));
    }
    std::ranges::stable_sort(list, {}, [](const Control& control) { return *parse_version(control.kernel); });
    return list;
}

const std::vector<Control>& controls()
{
    static const auto list = must_be_read(parse_controls(controls_json_text));
    return list;
}

ControlResult judge(const Control& control, const reports::CaseResult* result)
{
    if (result == nullptr)
        return {.control = control};
    const auto has = [&](const std::string& text) { return text.find(control.shows) != std::string::npos; };
    return {.control = control,
            .got = result->verdict,
            .shown = has(result->observed) || std::ranges::any_of(result->log, has)};
}

int exit_code(const std::vector<ControlResult>& results)
{
    if (std::ranges::any_of(results, [](const auto& r) { return r.got && !r.as_expected(); }))
        return reports::exit_unexpected;
    const bool all = std::ranges::all_of(results, [](const auto& r) { return r.got.has_value(); });
    return all && !results.empty() ? reports::exit_expected : reports::exit_no_run;
}

std::string table(const std::vector<ControlResult>& results)
{
    auto text = fmt::format("{:<2}{:<9} {:<22} {:<8} {:<17} {}\n", "", "kernel", "requirement", "expected",
                            "got", "why");
    for (const auto& result : results) {
        const auto& control = result.control;
        text +=
            fmt::format("{:<2}{:<9} {:<22} {:<8} {:<17} {}{}{}\n",
                        !result.got            ? "?"
                        : result.as_expected() ? ""
                                               : "!",
                        control.kernel, control.requirement, reports::to_string(control.expected),
                        got_text(result), control.expected == Verdict::pass ? "mended: " : "", control.why,
                        control.reference.empty() ? "" : fmt::format(" ({})", control.reference));
    }
    return text;
}

std::string controls_json(const std::vector<ControlResult>& results)
{
    auto rows = nlohmann::json::array();
    for (const auto& result : results) {
        rows.push_back({{"kernel", result.control.kernel},
                        {"requirement", result.control.requirement},
                        {"expected", reports::to_string(result.control.expected)},
                        {"got", result.got ? nlohmann::json(reports::to_string(*result.got)) : nullptr},
                        {"as_expected", result.as_expected()},
                        {"reference", result.control.reference},
                        {"why", result.control.why}});
    }
    return nlohmann::json{{"schema", reports::schema_version}, {"controls", rows}}.dump(2) + "\n";
}

} // namespace conformance
