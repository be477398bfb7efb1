#include "conformance/driver/case.hpp"

#include "conformance/driver/driver.hpp"
#include "conformance/driver/expect.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace conformance {

namespace {

std::vector<Case>& registry()
{
    static std::vector<Case> cases;
    return cases;
}

// One case runs in a process at a time, and only its main thread makes expectations.
Outcome current;
const std::function<void(const Outcome&)>* failure_hook = nullptr;

void check_gate(const Case& c)
{
    if (c.needs.empty() && c.since == ublk::uapi::KernelVersion{})
        return;
    const auto offered = kernel_features();
    const auto missing = c.needs.without(offered);
    if (!missing.empty())
        skip(fmt::format("needs {}, which this kernel does not offer", ublk::uapi::to_string(missing)));
    if (kernel_version() < c.since)
        skip(gate_text(c));
}

} // namespace

std::string gate_text(const Case& c)
{
    std::string text;
    if (!c.needs.empty())
        text = "needs " + ublk::uapi::to_string(c.needs);
    if (c.since != ublk::uapi::KernelVersion{})
        text += fmt::format("{}needs Linux {}.{}{}", text.empty() ? "" : ", ", c.since.major, c.since.minor,
                            c.since.patch != 0 ? fmt::format(".{}", c.since.patch) : "");
    return text;
}

CaseOption needs(ublk::uapi::Features features)
{
    return [features](Case& c) { c.needs |= features; };
}

CaseOption since(unsigned major, unsigned minor, unsigned patch)
{
    return [=](Case& c) { c.since = {major, minor, patch}; };
}

CaseOption timeout(std::chrono::milliseconds limit)
{
    return [limit](Case& c) { c.timeout = limit; };
}

CaseOption in_suite(std::string name, bool hidden)
{
    return [name = std::move(name), hidden](Case& c) {
        c.suite = name;
        c.hidden = hidden;
    };
}

CaseRegistration::CaseRegistration(std::string id, reports::Level level, std::string title,
                                   std::function<void()> body, std::initializer_list<CaseOption> options)
{
    Case c{.id = std::move(id), .level = level, .title = std::move(title), .body = std::move(body)};
    for (const auto& option : options)
        option(c);
    registry().push_back(std::move(c));
}

std::span<const Case> all_cases()
{
    static const bool sorted = [] {
        std::ranges::sort(registry(), {}, &Case::id);
        const auto twice = std::ranges::adjacent_find(registry(), {}, &Case::id);
        if (twice != registry().end()) {
            std::fprintf(stderr, "two cases have the id %s\n", twice->id.c_str());
            std::abort();
        }
        return true;
    }();
    static_cast<void>(sorted);
    return registry();
}

const Case* find_case(std::string_view id)
{
    const auto cases = all_cases();
    const auto found = std::ranges::find(cases, id, &Case::id);
    return found == cases.end() ? nullptr : &*found;
}

namespace {

void guarded(const std::function<void()>& body, const std::function<void(const Outcome&)>& on_failure)
{
    current = {};
    failure_hook = &on_failure;
    try {
        body();
    } catch (const CaseSkipped& skipped) {
        current.kind = Outcome::Kind::skipped;
        current.reason = skipped.reason;
    } catch (const CaseFailed&) {
        // fail() has filled `current`.
    } catch (const std::exception& e) {
        current.kind = Outcome::Kind::failed;
        current.expected = "no exception in the case";
        current.observed = e.what();
        on_failure(current);
    }
    failure_hook = nullptr;
}

} // namespace

Outcome run_body(const Case& c, const std::function<void(const Outcome&)>& on_failure)
{
    guarded(
        [&] {
            check_gate(c);
            c.body();
            if (current.checks == 0)
                fail("at least one expectation", "the case ended without checking anything");
        },
        on_failure);
    return current;
}

void record_measurement(reports::Measurement measurement)
{
    if (!reports::is_finite(measurement))
        throw std::invalid_argument(
            fmt::format("a measurement of {} under {} holds a figure that is not finite", measurement.subject,
                        measurement.load));
    current.measurements.push_back(std::move(measurement));
}

void run_in_child(const std::function<void()>& body, const std::function<void(const Outcome&)>& on_failure)
{
    guarded(body, on_failure);
}

// ---- expectations ----

void fail(std::string expected, std::string observed, Where where)
{
    const char* file = std::strrchr(where.file_name(), '/');
    current.kind = Outcome::Kind::failed;
    current.expected = std::move(expected);
    current.observed =
        fmt::format("{} ({}:{})", observed, file != nullptr ? file + 1 : where.file_name(), where.line());
    if (failure_hook != nullptr)
        (*failure_hook)(current);
    throw CaseFailed{};
}

void skip(std::string reason)
{
    throw CaseSkipped{std::move(reason)};
}

void count_check()
{
    ++current.checks;
}

std::string errno_text(int err)
{
    const char* name = ::strerrorname_np(err);
    return name != nullptr ? name : fmt::format("errno {}", err);
}

std::string result_text(long res)
{
    return res < 0 && res > -4096 ? fmt::format("-{} ({})", errno_text(static_cast<int>(-res)), res)
                                  : fmt::format("{}", res);
}

namespace {

std::string about(std::string_view what)
{
    return what.empty() ? "" : fmt::format("{}: ", what);
}

} // namespace

void expect_ok(long res, std::string_view what, Where where)
{
    if (res == 0)
        return count_check();
    fail(about(what) + "0", about(what) + result_text(res), where);
}

void expect_not_negative(long res, std::string_view what, Where where)
{
    if (res >= 0)
        return count_check();
    fail(about(what) + "success", about(what) + result_text(res), where);
}

void expect_error(int err, long res, std::string_view what, Where where)
{
    if (res == -err)
        return count_check();
    fail(about(what) + result_text(-err), about(what) + result_text(res), where);
}

void expect_any_error(std::initializer_list<int> errs, long res, std::string_view what, Where where)
{
    std::string wanted;
    for (const int err : errs) {
        if (res == -err)
            return count_check();
        wanted += (wanted.empty() ? "" : " or ") + result_text(-err);
    }
    fail(about(what) + wanted, about(what) + result_text(res), where);
}

void expect_true(bool holds, std::string_view what, Where where)
{
    if (holds)
        return count_check();
    fail(std::string(what), "it does not hold", where);
}

} // namespace conformance
