#include "conformance/known/known.hpp"

#include "conformance/known/compiled_in.hpp"
#include "known_json.hpp"
#include "reports/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace conformance {

using reports::Verdict;
using ublk::uapi::KernelVersion;

std::optional<KernelVersion> parse_version(std::string_view text)
{
    KernelVersion version;
    std::size_t numbers = 0;
    for (auto* number : {&version.major, &version.minor, &version.patch}) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
        if (error == std::errc::result_out_of_range)
            return std::nullopt;
        if (error != std::errc{})
            break;
        ++numbers;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (!text.starts_with('.'))
            break;
        text.remove_prefix(1);
    }
    return numbers >= 2 ? std::optional(version) : std::nullopt;
}

namespace {

KnownDefect parse_entry(const nlohmann::json& entry)
{
    KnownDefect defect{.requirement = entry.value("requirement", std::string()),
                       .complaint = entry.value("complaint", std::vector<std::string>()),
                       .reference = entry.at("reference").get<std::string>(),
                       .why = entry.at("why").get<std::string>(),
                       .race = entry.value("race", false)};
    const auto verdict = reports::verdict_from(entry.at("verdict").get<std::string>());
    if (verdict != Verdict::fail && verdict != Verdict::crash && verdict != Verdict::hang &&
        verdict != Verdict::changed)
        throw std::runtime_error("verdict is fail, crash, hang or changed");
    defect.verdict = *verdict;
    for (const auto& range : entry.at("kernels")) {
        const auto from = parse_version(range.at("from").get<std::string>());
        const auto before = parse_version(range.at("before").get<std::string>());
        if (!from || !before || !(*from < *before))
            throw std::runtime_error(
                "a kernel range is {\"from\": \"6.12\", \"before\": \"6.12.117\"}, from < before");
        defect.kernels.push_back({*from, *before});
    }
    if (defect.kernels.empty() || defect.why.empty())
        throw std::runtime_error("kernels and why must not be empty");
    if (defect.requirement.empty() == defect.complaint.empty())
        throw std::runtime_error("there is either a requirement or a complaint");
    if (std::ranges::any_of(defect.complaint, &std::string::empty))
        throw std::runtime_error("the texts of a complaint must not be empty");
    return defect;
}

bool concerns(const KnownDefect& defect, KernelVersion kernel)
{
    return std::ranges::any_of(defect.kernels,
                               [&](const KernelRange& range) { return range.contains(kernel); });
}

std::string explanation(const KnownDefect& defect)
{
    return defect.reference.empty() ? defect.why : fmt::format("{} ({})", defect.why, defect.reference);
}

bool has_line(const reports::CaseResult& result, std::string_view text)
{
    return std::ranges::any_of(result.log,
                               [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

// Whether the case failed for nothing but this complaint, which came once.
bool failed_only_for(const reports::CaseResult& result, const KnownDefect& defect)
{
    constexpr std::array<std::string_view, 4> begins{"cut here", "BUG:", "UBSAN:", "INFO:"};
    const auto complaints = std::ranges::count_if(result.log, [&](const std::string& line) {
        return std::ranges::any_of(begins, [&](auto text) { return line.find(text) != std::string::npos; });
    });
    return result.verdict == defect.verdict && result.observed.ends_with(reports::passed_by_itself) &&
           complaints == 1 && result.observed.find(defect.complaint.front()) != std::string::npos &&
           std::ranges::all_of(defect.complaint, [&](const auto& text) { return has_line(result, text); });
}

void take_back(reports::CaseResult& result, KernelVersion kernel, const std::vector<KnownDefect>& list)
{
    for (const auto& defect : list) {
        if (defect.complaint.empty() || !concerns(defect, kernel) || !failed_only_for(result, defect))
            continue;
        result.verdict = Verdict::pass;
        result.reason = "beside it the kernel complained, as listed: " + explanation(defect);
        result.expected.clear();
        result.observed.clear();
        return;
    }
}

} // namespace

std::expected<std::vector<KnownDefect>, std::string> parse_known(std::string_view json)
{
    std::vector<KnownDefect> list;
    try {
        const auto entries = nlohmann::json::parse(json);
        if (!entries.is_array())
            return std::unexpected("the list of known defects is not an array");
        for (const auto& entry : entries)
            list.push_back(parse_entry(entry));
    } catch (const std::exception& e) {
        // The JSON library quotes what it stumbled over.
        return std::unexpected(fmt::format("known defect {}: {}", list.size() + 1, reports::plain(e.what())));
    }
    return list;
}

const std::vector<KnownDefect>& known_defects()
{
    static const auto list = must_be_read(parse_known(known_json_text));
    return list;
}

void apply_known(reports::CaseResult& result, KernelVersion kernel, const std::vector<KnownDefect>& list)
{
    take_back(result, kernel, list);
    const auto listed = [&](const KnownDefect& defect) {
        return !defect.requirement.empty() && defect.requirement == result.id && concerns(defect, kernel);
    };
    auto found = std::ranges::find_if(
        list, [&](const auto& defect) { return listed(defect) && defect.verdict == result.verdict; });
    if (found == list.end())
        found = std::ranges::find_if(list, listed);
    if (found == list.end())
        return;
    const bool passed = result.verdict == Verdict::pass;
    if (passed && !found->race)
        result.verdict = Verdict::fixed;
    else if (passed || result.verdict == found->verdict)
        result.verdict = Verdict::known;
    else
        return;
    result.reason = explanation(*found);
    if (passed && found->race)
        result.reason += "; a race, which this run did not meet";
}

} // namespace conformance
