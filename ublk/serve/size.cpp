#include "ublk/serve/size.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <fmt/core.h>

namespace ublk::serve {

namespace {
constexpr std::string_view unit_letters = "KMGTP";
}

std::expected<std::uint64_t, std::string> parse_size(std::string_view text)
{
    constexpr auto form = "is not a size: give a number with K, M, G, T or P behind it, or none for bytes";
    std::uint64_t number = 0;
    const auto [rest, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code == std::errc::result_out_of_range)
        return std::unexpected("is too large: it does not fit 64 bits");
    if (code != std::errc())
        return std::unexpected(form);
    std::string_view suffix(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
    if (suffix.empty())
        return number;
    const auto unit =
        unit_letters.find(static_cast<char>(std::toupper(static_cast<unsigned char>(suffix[0]))));
    if (unit == std::string_view::npos || (suffix.size() != 1 && suffix.substr(1) != "iB"))
        return std::unexpected(form);
    const auto shift = 10 * (unit + 1);
    if (number > (UINT64_MAX >> shift))
        return std::unexpected("is too large: it does not fit 64 bits");
    return number << shift;
}

std::string format_size(std::uint64_t bytes)
{
    for (std::size_t unit = unit_letters.size(); unit > 0; --unit) {
        const std::uint64_t one = std::uint64_t{1} << (10 * unit);
        if (bytes >= one && bytes % one == 0)
            return fmt::format("{} {}iB", bytes / one, unit_letters[unit - 1]);
    }
    return fmt::format("{} bytes", bytes);
}

} // namespace ublk::serve
