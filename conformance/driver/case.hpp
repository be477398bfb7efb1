// What a requirement case is: one id, one rule, one gate, a few lines of steps.
//
//   CASE("UBLK-CTRL-ADD-004", contract, "ADD_DEV takes 1 to 4096 tags for each queue, and nothing else")
//   {
//       Driver driver;
//       for (auto depth : {0, 4097, 65535})
//           expect_error(EINVAL, driver.add({.queue_depth = depth}));
//   }
//
// Options follow the rule: needs(Feature::quiesce), since(7, 0), timeout(60s).
#pragma once

#include "reports/result.hpp"
#include "ublk/uapi/features.hpp"

#include <chrono>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conformance {

struct Case {
    std::string id;
    std::string suite = "driver";
    reports::Level level = reports::Level::contract;
    std::string title;
    std::function<void()> body;
    ublk::uapi::Features needs;      // GET_FEATURES must offer all of them
    ublk::uapi::KernelVersion since; // only where no feature tells; 0.0.0: any
    std::chrono::milliseconds timeout{20'000};
    bool hidden = false; // not in a run unless its suite is named
};

// The gate as a sentence ("needs BATCH_IO", "needs Linux 7.0"); empty: none.
std::string gate_text(const Case& c);

// Options of CASE(); each is a function applied to the case.
using CaseOption = std::function<void(Case&)>;
CaseOption needs(ublk::uapi::Features features);
CaseOption since(unsigned major, unsigned minor, unsigned patch = 0);
CaseOption timeout(std::chrono::milliseconds limit);
CaseOption in_suite(std::string name, bool hidden = false);

// All cases linked into this program, in the order of their ids; ids are unique (checked at start).
std::span<const Case> all_cases();
const Case* find_case(std::string_view id);

struct CaseRegistration {
    CaseRegistration(std::string id, reports::Level level, std::string title, std::function<void()> body,
                     std::initializer_list<CaseOption> options);
};

inline constexpr auto contract = reports::Level::contract;
inline constexpr auto behaviour = reports::Level::behaviour;

#define UBLKCHECK_JOIN2(a, b) a##b
#define UBLKCHECK_JOIN(a, b) UBLKCHECK_JOIN2(a, b)
#define UBLKCHECK_CASE(number, id, level, title, ...)                                                        \
    static void UBLKCHECK_JOIN(case_body_, number)();                                                        \
    static const ::conformance::CaseRegistration UBLKCHECK_JOIN(case_registration_, number)(                 \
        id, level, title, &UBLKCHECK_JOIN(case_body_, number), {__VA_ARGS__});                               \
    static void UBLKCHECK_JOIN(case_body_, number)()
// Numbered by a counter, because several files may be compiled as one.
#define CASE(id, level, title, ...) UBLKCHECK_CASE(__COUNTER__, id, level, title, __VA_ARGS__)

// ---- inside a case ----

// How the body ended, before the kernel log and the process's exit are looked at.
struct Outcome {
    enum class Kind { passed, failed, skipped } kind = Kind::passed;
    std::string expected, observed; // failed
    std::string reason;             // skipped
    std::vector<reports::Measurement> measurements{};
    int checks = 0; // expectations that were evaluated; a pass without any is a failure
};

// Runs gate and body in this process. Whatever the body throws ends here. `on_failure` is called at the
// moment of the first failure, before the stack unwinds: what unwinding hangs on must not lose the reason.
Outcome run_body(const Case& c, const std::function<void(const Outcome&)>& on_failure);
// Leaves a measurement in the result of the case that runs in this process, whatever its verdict becomes.
// What is recorded after the first failure is lost. Throws std::invalid_argument for a figure that is not
// finite.
void record_measurement(reports::Measurement measurement);
// The same guard around the body of a child process: whatever it throws ends here.
void run_in_child(const std::function<void()>& body, const std::function<void(const Outcome&)>& on_failure);

} // namespace conformance
