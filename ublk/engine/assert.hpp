// UBLK_ASSERT(condition, "format", values...): what must hold, with the values that broke it.
// On in debug and sanitizer builds, absent (and its arguments not evaluated) in others.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <fmt/core.h>
#include <string>

namespace ublk::engine {

[[noreturn]] inline void assertion_failed(const char* what, const char* file, int line,
                                          const std::string& values) noexcept
{
    std::fprintf(stderr, "%s:%d: assertion failed: %s: %s\n", file, line, what, values.c_str());
    std::abort();
}

#if !defined(NDEBUG) || defined(UBLKCHECK_SANITIZED)
#define UBLK_ASSERTIONS 1
#else
#define UBLK_ASSERTIONS 0
#endif

} // namespace ublk::engine

#define UBLK_ASSERT(condition, ...)                                                                          \
    do {                                                                                                     \
        if constexpr (UBLK_ASSERTIONS != 0) {                                                                \
            if (!(condition))                                                                                \
                ::ublk::engine::assertion_failed(#condition, __FILE__, __LINE__, fmt::format(__VA_ARGS__));  \
        }                                                                                                    \
    } while (false)
