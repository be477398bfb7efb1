// Sizes as people write and read them.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace ublk::serve {

// "4096", "512K", "256M", "1.5" is none. Suffixes K, M, G, T, P in either case, also as KiB, MiB, …, are
// powers of 1024. Bytes out; the error is the reason, without the input: "is not a size: …".
std::expected<std::uint64_t, std::string> parse_size(std::string_view text);

// "256 MiB" if it is a whole number of the largest unit that fits, else "1000 bytes".
std::string format_size(std::uint64_t bytes);

} // namespace ublk::serve
