// The list of known defects and the kernel versions in it: any text gives a list or a sentence, and a version
// is read only from a text that begins with one.
#include "conformance/known/known.hpp"
#include "fuzz/input.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace {

using namespace conformance;
using fuzz::require;

// MAJOR.MINOR[.PATCH] with digits only, each below 2^32, and anything behind.
std::optional<ublk::uapi::KernelVersion> version_by_hand(std::string_view text)
{
    std::vector<std::uint64_t> numbers;
    for (std::size_t at = 0; numbers.size() < 3; ++at) {
        const auto digits = std::min(text.find_first_not_of("0123456789", at), text.size()) - at;
        if (digits == 0)
            break;
        numbers.push_back(0);
        for (const char c : text.substr(at, digits)) {
            numbers.back() = numbers.back() * 10 + static_cast<std::uint64_t>(c - '0');
            if (numbers.back() > UINT32_MAX)
                return std::nullopt;
        }
        at += digits;
        if (at >= text.size() || text[at] != '.')
            break;
    }
    if (numbers.size() < 2)
        return std::nullopt;
    numbers.resize(3);
    const auto number = [&](std::size_t i) { return static_cast<unsigned>(numbers[i]); };
    return ublk::uapi::KernelVersion{number(0), number(1), number(2)};
}

void check_defect(const KnownDefect& defect, const std::vector<KnownDefect>& list)
{
    require(!defect.kernels.empty() && !defect.why.empty());
    for (const auto& range : defect.kernels) {
        require(range.from < range.before && range.contains(range.from) && !range.contains(range.before));
        for (const auto verdict : reports::all_verdicts) {
            reports::CaseResult result{.id = defect.requirement, .verdict = verdict};
            apply_known(result, range.from, list);
            // A listed defect never makes a case worse, and never hides one that is not listed.
            const bool same = result.verdict == verdict;
            require(same || !result.reason.empty());
            require(same ||
                    (verdict == reports::Verdict::pass ? result.verdict == reports::Verdict::fixed
                                                       : reports::is_unexpected(verdict, true) &&
                                                             result.verdict == reports::Verdict::known));
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const auto text = fuzz::Input(data, size).text();
    require(parse_version(text) == version_by_hand(text));
    const auto list = parse_known(text);
    if (!list) {
        require(fuzz::is_sentence(list.error()));
        return 0;
    }
    for (const auto& defect : *list)
        check_defect(defect, *list);
    return 0;
}
