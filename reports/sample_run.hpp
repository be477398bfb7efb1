// A run with each verdict once, two gaps, and text that renderers stumble over; for tests only.
#pragma once

#include "reports/result.hpp"

namespace reports {

inline RunResult sample_run()
{
    RunResult run;
    run.kernel = {.release = "7.3.4+deb13-amd64",
                  .version = "#1 SMP",
                  .features = 0x3ffff,
                  .feature_names = {"USER_COPY", "ZONED"},
                  .source = "packaged, verified by apt"};
    run.started = "2026-11-23T10:15:00Z";
    run.machine = "QEMU 7.2, TCG, 2 workers";
    run.command = "ublkcheck run --kernel 7.3";
    run.seconds = 61.25;
    run.timings = {{.what = "boot", .seconds = 3.5}, {.what = "restore (median)", .seconds = 0.25}};
    run.boot_log = {"WARNING: at boot"};
    run.notes = {"one worker was restarted"};
    for (const Verdict verdict : all_verdicts) {
        CaseResult c;
        c.id = "UBLK-SAMPLE-00" + std::to_string(run.cases.size() + 1);
        c.suite = run.cases.size() % 3 == 0 ? "integrity" : "driver";
        c.title = "a # title <of> & \"" + std::string{to_string(verdict)} + "\"";
        c.verdict = verdict;
        c.level = verdict == Verdict::changed ? Level::behaviour : Level::contract;
        c.duration_ms = 1500;
        c.worker = 1;
        if (verdict != Verdict::pass) {
            c.expected = "EINVAL";
            c.observed = "0 after 3 ms\nand \x1b[31mred\x01]]>";
            c.again = "ublkcheck run --kernel 7.3 --case " + c.id;
            c.log = {"not ok 99 - a line of the log", "BUG: \xff"};
            c.reason = "no feature & <none>";
        }
        if (verdict == Verdict::pass)
            c.measurements = {{.subject = "ublk-serve <memory>",
                               .load = "4k random read, QD 1",
                               .metric = "IOPS",
                               .values = {12'000.5, 11'000, 13'000},
                               .against = "null_blk & co",
                               .ratio = 0.125,
                               .low = 0.12,
                               .high = 0.13,
                               .conclusion = "87.5 % slower"},
                              {.subject = "null_blk & co",
                               .load = "4k random read, QD 1",
                               .metric = "IOPS",
                               .values = {96'000, 88'000, 104'000}}};
        run.planned.push_back(c.id);
        run.cases.push_back(std::move(c));
    }
    run.planned.insert(run.planned.begin(), "UBLK-SAMPLE-000");
    run.planned.emplace_back("UBLK-SAMPLE-099");
    return run;
}

} // namespace reports
