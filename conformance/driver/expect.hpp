// Expectations. The first one that does not hold ends the case.
#pragma once

#include <cerrno>
#include <fmt/format.h>
#include <initializer_list>
#include <source_location>
#include <string>
#include <string_view>

namespace conformance {

using Where = std::source_location;

// Thrown by what follows; caught by run_body() only.
struct CaseFailed {};
struct CaseSkipped {
    std::string reason;
};

[[noreturn]] void fail(std::string expected, std::string observed, Where where = Where::current());
// Ends the case as not applicable. `reason` names what is missing.
[[noreturn]] void skip(std::string reason);
// Notes that a check was made and held; for helpers that build their own expectations.
void count_check();

// "0", "-EINVAL (-22)", "7"
std::string result_text(long res);
// "EINVAL" or "errno 524"
std::string errno_text(int err);

// A command's result: `res` is a CQE's res, negative errno on failure.
void expect_ok(long res, std::string_view what = "", Where where = Where::current());           // res == 0
void expect_not_negative(long res, std::string_view what = "", Where where = Where::current()); // res >= 0
void expect_error(int err, long res, std::string_view what = "", Where where = Where::current());
void expect_any_error(std::initializer_list<int> errs, long res, std::string_view what = "",
                      Where where = Where::current());
// A system call's result: ret < 0 with errno (already captured by the caller as -errno) == err.
void expect_true(bool holds, std::string_view what, Where where = Where::current());

template <typename A, typename B>
void expect_eq(const A& expected, const B& observed, std::string_view what, Where where = Where::current())
{
    if (expected == observed)
        return count_check();
    fail(fmt::format("{} = {}", what, expected), fmt::format("{} = {}", what, observed), where);
}

// -errno if ret is -1, else ret: makes a system call look like a command's result.
inline long sys(long ret)
{
    return ret == -1 ? -errno : ret;
}

} // namespace conformance
