// Times as a run reports them.
#pragma once

#include <chrono>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <string>

namespace conformance {

inline double seconds_since(std::chrono::steady_clock::time_point start)
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Now, in UTC to the second: "2026-01-31T12:00:00Z".
inline std::string now_text()
{
    const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now)));
}

} // namespace conformance
