// RapidCheck generators for the vocabulary of results; for tests only.
#pragma once

#include "reports/event.hpp"

#include <rapidcheck.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace reports::random {

// Text in valid UTF-8, with the characters that renderers stumble over.
inline rc::Gen<std::string> text()
{
    const std::vector<std::string> pieces{"a",    "Z", " ", "\n",  "\t",   "\r", "\"",   "\\",
                                          "<",    ">", "&", "]]>", "#",    "'",  "\x01", "\x1b",
                                          "\x7f", "é", "→", "😀",  "ok 1", "U+", "--",   "not ok 7 - x"};
    return rc::gen::map(rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(pieces)),
                        [](const std::vector<std::string>& parts) {
                            std::string joined;
                            for (const auto& part : parts)
                                joined += part;
                            return joined;
                        });
}

// Any bytes, mostly no UTF-8.
inline rc::Gen<std::string> bytes()
{
    return rc::gen::container<std::string>(rc::gen::arbitrary<char>());
}

inline rc::Gen<std::vector<std::string>> texts()
{
    return rc::gen::container<std::vector<std::string>>(text());
}

// A figure that survives being written and read without a thought about rounding.
inline double figure()
{
    return *rc::gen::inRange(-1'000'000, 1'000'000) / 64.0;
}

inline Measurement measurement()
{
    Measurement m;
    m.subject = *text();
    m.load = *text();
    m.metric = *text();
    for (auto n = *rc::gen::inRange(0, 6); n > 0; --n)
        m.values.push_back(figure());
    m.against = *text();
    if (!m.against.empty()) {
        m.ratio = figure();
        m.low = figure();
        m.high = figure();
    }
    m.conclusion = *text();
    return m;
}

inline CaseResult case_result(std::string id)
{
    CaseResult c;
    c.id = std::move(id);
    c.suite = *rc::gen::element<std::string>("driver", "integrity", "self test");
    c.title = *text();
    c.level = *rc::gen::element(Level::contract, Level::behaviour);
    c.verdict = *rc::gen::elementOf(all_verdicts);
    c.duration_ms = *rc::gen::inRange<std::int64_t>(0, 1'000'000'000'000);
    c.expected = *text();
    c.observed = *text();
    c.reason = *text();
    c.log = *texts();
    c.again = *text();
    for (auto n = *rc::gen::inRange(0, 3); n > 0; --n)
        c.measurements.push_back(measurement());
    c.worker = *rc::gen::inRange(-1, 64);
    return c;
}

inline KernelInfo kernel()
{
    return {.release = *text(),
            .version = *text(),
            .features = *rc::gen::arbitrary<std::uint64_t>(),
            .feature_names = *texts(),
            .source = *text()};
}

inline Timing timing()
{
    return {.what = *text(), .seconds = *rc::gen::inRange(0, 1'000'000) / 64.0};
}

// Consistent, as fold() makes it: cases in the order of the plan, each id once.
inline RunResult run()
{
    RunResult r;
    r.kernel = kernel();
    r.started = *text();
    r.machine = *text();
    r.command = *text();
    const auto size = *rc::gen::inRange(0, 12);
    for (int i = 0; i < size; ++i) {
        const auto id = "UBLK-RANDOM-" + std::to_string(i);
        r.planned.push_back(id);
        if (*rc::gen::inRange(0, 8) != 0)
            r.cases.push_back(case_result(id));
    }
    for (auto n = *rc::gen::inRange(0, 4); n > 0; --n)
        r.timings.push_back(timing());
    r.strict = *rc::gen::arbitrary<bool>();
    r.complete = *rc::gen::arbitrary<bool>();
    r.seconds = *rc::gen::inRange(0, 1'000'000) / 64.0;
    r.boot_log = *texts();
    r.notes = *texts();
    return r;
}

inline Event event()
{
    switch (*rc::gen::inRange(0, 7)) {
    case 0:
        return RunStarted{.started = *text(),
                          .command = *text(),
                          .machine = *text(),
                          .kernel = kernel(),
                          .planned = *texts(),
                          .strict = *rc::gen::arbitrary<bool>()};
    case 1:
        return GuestReady{.kernel = kernel(), .boot_log = *texts()};
    case 2:
        return CaseStarted{.id = *text()};
    case 3:
        return CaseEnded{.result = case_result("UBLK-RANDOM-001")};
    case 4:
        return TimingTaken{.timing = timing()};
    case 5:
        return HarnessNote{.message = *text()};
    default:
        return RunEnded{.complete = *rc::gen::arbitrary<bool>(),
                        .seconds = *rc::gen::inRange(0, 1'000'000) / 64.0};
    }
}

} // namespace reports::random
