#include "vm/kernel_version.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace vm {
namespace {

// Takes a decimal number off the front; numbers too large for a kernel version are no numbers.
std::optional<unsigned> take_number(std::string_view& text)
{
    unsigned value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || value > 999'999)
        return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return value;
}

} // namespace

std::optional<KernelVersion> KernelVersion::parse(std::string_view text)
{
    KernelVersion version;
    while (true) {
        const auto number = take_number(text);
        if (!number)
            return std::nullopt;
        version.parts.push_back(*number);
        if (text.empty() || text.front() != '.')
            break;
        text.remove_prefix(1);
    }
    if (version.parts.size() < 2 || version.parts.size() > 4)
        return std::nullopt;
    // Debian writes a release candidate of 7.3 both as 7.3~rc7 (package version) and 7.3-rc7 (release).
    if (text.starts_with("-rc") || text.starts_with("~rc")) {
        text.remove_prefix(3);
        version.release_candidate = take_number(text);
        if (!version.release_candidate)
            return std::nullopt;
    }
    if (!text.empty() && text.front() != '+' && text.front() != '-' && text.front() != '~')
        return std::nullopt;
    return version;
}

std::string KernelVersion::line() const
{
    return fmt::format("{}.{}", parts.at(0), parts.at(1));
}

std::string KernelVersion::text() const
{
    auto text = fmt::format("{}", fmt::join(parts, "."));
    if (release_candidate)
        text += fmt::format("-rc{}", *release_candidate);
    return text;
}

bool KernelVersion::has_prefix(const KernelVersion& prefix) const
{
    if (release_candidate != prefix.release_candidate || parts.size() < prefix.parts.size())
        return false;
    return std::equal(prefix.parts.begin(), prefix.parts.end(), parts.begin());
}

std::strong_ordering KernelVersion::operator<=>(const KernelVersion& other) const
{
    const auto longest = std::max(parts.size(), other.parts.size());
    for (std::size_t i = 0; i < longest; ++i) {
        const auto mine = i < parts.size() ? parts[i] : 0U;
        const auto theirs = i < other.parts.size() ? other.parts[i] : 0U;
        if (mine != theirs)
            return mine <=> theirs;
    }
    // The candidates of a release come before it.
    const auto none = 1'000'000U;
    return release_candidate.value_or(none) <=> other.release_candidate.value_or(none);
}

} // namespace vm
