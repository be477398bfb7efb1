#include "conformance/known/known.hpp"

#include "known_json.hpp"
#include "reports/text.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
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
    KnownDefect defect{.requirement = entry.at("requirement").get<std::string>(),
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
    return defect;
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
    static const auto list = [] {
        auto parsed = parse_known(known_json);
        if (!parsed) { // a test parses it; a program built around it cannot go on
            std::fprintf(stderr, "ublkcheck: %s\n", parsed.error().c_str());
            std::abort();
        }
        return std::move(*parsed);
    }();
    return list;
}

void apply_known(reports::CaseResult& result, KernelVersion kernel, const std::vector<KnownDefect>& list)
{
    const auto found = std::ranges::find_if(list, [&](const KnownDefect& defect) {
        return defect.requirement == result.id &&
               std::ranges::any_of(defect.kernels,
                                   [&](const KernelRange& range) { return range.contains(kernel); });
    });
    if (found == list.end())
        return;
    const bool passed = result.verdict == Verdict::pass;
    if (passed && !found->race)
        result.verdict = Verdict::fixed;
    else if (passed || result.verdict == found->verdict)
        result.verdict = Verdict::known;
    else
        return;
    result.reason =
        found->reference.empty() ? found->why : fmt::format("{} ({})", found->why, found->reference);
    if (passed && found->race)
        result.reason += "; a race, which this run did not meet";
}

} // namespace conformance
