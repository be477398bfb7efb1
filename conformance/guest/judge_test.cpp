#include "conformance/guest/judge.hpp"

#include "conformance/driver/expect.hpp"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>
#include <limits>
#include <optional>

namespace conformance {
namespace {

using reports::Level;
using reports::Verdict;
using namespace std::chrono_literals;

Case a_case(Level level = Level::contract)
{
    return {.id = "UBLK-X-001", .level = level, .title = "the rule"};
}

Outcome passed()
{
    return {.checks = 1};
}

Outcome failed()
{
    return {.kind = Outcome::Kind::failed, .expected = "0", .observed = "-EINVAL (-22)", .checks = 1};
}

Observation ended(std::optional<Outcome> record, int status)
{
    Observation seen;
    seen.record = std::move(record);
    seen.exit_status = status;
    return seen;
}

TEST(Judge, PassesOnlyWithARecordAnExitStatusOf0AndASilentKernel)
{
    EXPECT_EQ(judge(a_case(), ended(passed(), 0)).verdict, Verdict::pass);
    EXPECT_EQ(judge(a_case(), ended(std::nullopt, 0)).verdict, Verdict::fail);
    EXPECT_EQ(judge(a_case(), ended(passed(), 1)).verdict, Verdict::fail);
    auto damaged = ended(std::nullopt, 0);
    damaged.record_damaged = true;
    EXPECT_EQ(judge(a_case(), damaged).verdict, Verdict::fail);
}

TEST(Judge, AFailedExpectationIsAFailureOrAChangeByTheLevelOfTheRule)
{
    const auto contract_result = judge(a_case(), ended(failed(), 1));
    EXPECT_EQ(contract_result.verdict, Verdict::fail);
    EXPECT_EQ(contract_result.expected, "0");
    EXPECT_EQ(contract_result.observed, "-EINVAL (-22)");
    EXPECT_EQ(judge(a_case(Level::behaviour), ended(failed(), 1)).verdict, Verdict::changed);
}

TEST(Judge, AWarningFailsACaseOfEitherLevelThatThoughtItPassed)
{
    for (const auto level : {Level::contract, Level::behaviour}) {
        auto seen = ended(passed(), 0);
        seen.complaints.push_back({Complaint::warning, "WARNING: CPU: 0 PID: 1 at x.c:1"});
        const auto result = judge(a_case(level), seen);
        EXPECT_EQ(result.verdict, Verdict::fail);
        EXPECT_NE(result.observed.find("WARNING: CPU"), std::string::npos);
    }
}

TEST(Judge, AnOopsIsACrashEvenIfTheCaseAlsoHungOrFailed)
{
    auto seen = ended(failed(), 1);
    seen.timed_out = true;
    seen.complaints.push_back({Complaint::oops, "BUG: kernel NULL pointer dereference"});
    const auto result = judge(a_case(), seen);
    EXPECT_EQ(result.verdict, Verdict::crash);
    EXPECT_NE(result.observed.find("NULL pointer"), std::string::npos);
    EXPECT_NE(result.observed.find("-EINVAL"), std::string::npos) << "what the case itself found is kept";
}

TEST(Judge, TheTimeLimitIsAHangAndSaysWhere)
{
    Observation seen;
    seen.timed_out = true;
    seen.limit = 20s;
    seen.stuck = "state D in io_schedule";
    auto result = judge(a_case(), seen);
    EXPECT_EQ(result.verdict, Verdict::hang);
    EXPECT_NE(result.observed.find("state D in io_schedule"), std::string::npos);
    seen.unkillable = true;
    EXPECT_NE(judge(a_case(), seen).observed.find("hangs in the kernel"), std::string::npos);
    EXPECT_EQ(judge(a_case(), seen).expected, "the case ends within 20 s");
}

TEST(Judge, ACaseThatHangsAfterItsFailureIsAHangThatNamesTheFailure)
{
    auto seen = ended(failed(), 1);
    seen.timed_out = true;
    seen.limit = 20s;
    seen.duration = 12s;
    const auto result = judge(a_case(), seen);
    EXPECT_EQ(result.verdict, Verdict::hang);
    EXPECT_EQ(result.expected, "a case that has failed ends soon after");
    EXPECT_NE(result.observed.find("-EINVAL"), std::string::npos);
}

TEST(Judge, AReportThatCannotExitIsAHang)
{
    Observation seen;
    seen.record = passed();
    seen.unkillable = true;
    EXPECT_EQ(judge(a_case(), seen).verdict, Verdict::hang);
}

TEST(Judge, ASignalIsACrash)
{
    Observation seen;
    seen.signal = SIGABRT;
    EXPECT_EQ(judge(a_case(), seen).verdict, Verdict::crash);
}

TEST(Judge, ASegfaultOfAnotherProcessFailsTheCase)
{
    auto seen = ended(passed(), 0);
    seen.complaints.push_back({Complaint::process, "ublk-serve[7]: segfault at 0"});
    EXPECT_EQ(judge(a_case(), seen).verdict, Verdict::fail);
}

TEST(Judge, ASkipHasItsReasonAndNoLog)
{
    Outcome skipped;
    skipped.kind = Outcome::Kind::skipped;
    skipped.reason = "needs BATCH_IO";
    auto seen = ended(skipped, 0);
    seen.output = {"some output"};
    const auto result = judge(a_case(), seen);
    EXPECT_EQ(result.verdict, Verdict::skip);
    EXPECT_EQ(result.reason, "needs BATCH_IO");
    EXPECT_TRUE(result.log.empty());
}

reports::Measurement a_measurement()
{
    return {.subject = "ublk-serve memory",
            .load = "4k random read, QD 1",
            .metric = "IOPS",
            .values = {101.5, 99, 100.25},
            .against = "null_blk",
            .ratio = 0.5,
            .low = 0.4375,
            .high = 0.5625,
            .conclusion = "50.0 % slower"};
}

Case measuring(bool fails, bool checks = true)
{
    auto c = a_case();
    c.body = [=] {
        record_measurement(a_measurement());
        if (checks)
            expect_true(!fails, "the body is content");
    };
    return c;
}

TEST(Measurements, AreKeptOnAPassAndOnAFailureAndReachTheResult)
{
    for (const bool fails : {false, true}) {
        std::string written;
        const auto c = measuring(fails);
        const auto outcome = run_body(c, [&](const Outcome& failed) { written = encode_record(failed); });
        EXPECT_EQ(written.empty(), !fails);
        const auto record = decode_record(fails ? written : encode_record(outcome));
        ASSERT_TRUE(record.has_value());
        const auto result = judge(c, ended(record, fails ? 1 : 0));
        EXPECT_EQ(result.verdict, fails ? Verdict::fail : Verdict::pass);
        EXPECT_EQ(result.measurements, std::vector{a_measurement()});
    }
}

TEST(Measurements, OfOneCaseAreNotSeenInTheNextAndAreNoCheck)
{
    const auto none = [](const Outcome&) {};
    EXPECT_EQ(run_body(measuring(false), none).measurements.size(), 1U);
    const auto next = run_body(measuring(false, false), none);
    EXPECT_EQ(next.measurements.size(), 1U);
    EXPECT_EQ(next.kind, Outcome::Kind::failed) << "to measure is not to check";
}

TEST(Measurements, AFigureThatIsNotFiniteFailsTheCase)
{
    auto c = a_case();
    c.body = [] {
        auto odd = a_measurement();
        odd.values.push_back(std::numeric_limits<double>::quiet_NaN());
        expect_true(true, "a check");
        record_measurement(std::move(odd));
    };
    const auto outcome = run_body(c, [](const Outcome&) {});
    EXPECT_EQ(outcome.kind, Outcome::Kind::failed);
    EXPECT_NE(outcome.observed.find("not finite"), std::string::npos) << outcome.observed;
    EXPECT_TRUE(outcome.measurements.empty());
}

TEST(Judge, ARecordThatIsTooLongFailsTheCase)
{
    auto seen = ended(std::nullopt, 0);
    seen.record_too_long = true;
    const auto result = judge(a_case(), seen);
    EXPECT_EQ(result.verdict, Verdict::fail);
    EXPECT_NE(result.expected.find("256 KiB"), std::string::npos);
}

TEST(Record, WithADamagedMeasurementIsRefused)
{
    auto outcome = passed();
    outcome.measurements.push_back(a_measurement());
    auto text = encode_record(outcome);
    ASSERT_TRUE(decode_record(text).has_value());
    const auto values = text.find("101.5");
    text.replace(values, 5, "true ");
    EXPECT_FALSE(decode_record(text).has_value());
}

TEST(Record, RoundTripsAndRefusesWhatIsNotWhole)
{
    const auto text = encode_record(failed());
    const auto back = decode_record(text);
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(back->kind, Outcome::Kind::failed);
    EXPECT_EQ(back->observed, "-EINVAL (-22)");
    for (std::size_t cut = 0; cut < text.size(); ++cut)
        EXPECT_FALSE(decode_record(text.substr(0, cut)).has_value()) << cut;
    EXPECT_FALSE(
        decode_record("{\"kind\":7,\"expected\":\"\",\"observed\":\"\",\"reason\":\"\",\"checks\":1}\n")
            .has_value());
    EXPECT_TRUE(
        decode_record(encode_record({.kind = Outcome::Kind::failed, .observed = "\xff\xfe"})).has_value());
}

TEST(KernelLog, KnowsEachKindOfComplaint)
{
    // As real kernels print them.
    EXPECT_EQ(classify("WARNING: CPU: 1 PID: 100 at drivers/block/ublk_drv.c:1234 ublk_x+0x1/0x2 [ublk_drv]"),
              Complaint::warning);
    EXPECT_EQ(classify("WARNING: possible circular locking dependency detected"), Complaint::warning);
    EXPECT_EQ(classify("INFO: task fio:123 blocked for more than 30 seconds."), Complaint::warning);
    EXPECT_EQ(classify("rcu: INFO: rcu_preempt self-detected stall on CPU"), Complaint::warning);
    EXPECT_EQ(classify("UBSAN: shift-out-of-bounds in drivers/block/ublk_drv.c:2972:27"), Complaint::warning);
    EXPECT_EQ(classify("refcount_t: underflow; use-after-free."), Complaint::warning);
    EXPECT_EQ(classify("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [fio:1]"), Complaint::warning);
    EXPECT_EQ(classify("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"),
              Complaint::warning);
    EXPECT_EQ(classify("BUG: kernel NULL pointer dereference, address: 0000000000000008"), Complaint::oops);
    EXPECT_EQ(classify("Oops: 0000 [#1] PREEMPT SMP NOPTI"), Complaint::oops);
    EXPECT_EQ(classify("BUG: KASAN: slab-use-after-free in ublk_queue_rq+0x1/0x2"), Complaint::oops);
    EXPECT_EQ(classify("kernel BUG at block/blk-mq.c:1!"), Complaint::oops);
    EXPECT_EQ(classify("ublk-serve[99]: segfault at 8 ip 0000 sp 0000 error 4"), Complaint::process);
    EXPECT_EQ(classify("Out of memory: Killed process 100 (init) total-vm:1kB"), Complaint::process);
}

TEST(KernelLog, OrdinaryMessagesAreNoComplaints)
{
    for (const char* line :
         {"NMI watchdog: Perf NMI watchdog permanently disabled", "EXT4-fs (ublkb7): mounted filesystem r/w",
          "block ublkb0: the capability attribute has been deprecated.",
          "tsc: Unable to calibrate against PIT", "hpet: Lost 8 RTC interrupts",
          "Buffer I/O error on dev ublkb0, logical block 0, async page read",
          "I/O error, dev ublkb0, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0"})
        EXPECT_EQ(classify(line), std::nullopt) << line;
}

TEST(BoundedLog, KeepsBothEndsOfAFlood)
{
    BoundedLog log;
    for (int i = 0; i < 100'000; ++i)
        log.add_bytes("line " + std::to_string(i) + "\n");
    const auto lines = log.lines();
    EXPECT_LT(lines.size(), 300U);
    EXPECT_EQ(lines.front(), "line 0");
    EXPECT_EQ(lines.back(), "line 99999");
    BoundedLog endless;
    for (int i = 0; i < 10'000; ++i)
        endless.add_bytes(std::string(1000, 'x'));
    ASSERT_EQ(endless.lines().size(), 1U);
    EXPECT_LT(endless.lines().front().size(), 1000U);
}

// What is passed over must be what would have been pushed out, however the flood is cut.
TEST(BoundedLog, KeepsTheSameOfAFloodInLargePieces)
{
    std::string flood;
    for (int i = 0; i < 5000; ++i)
        flood += "line " + std::to_string(i) + "\n";
    flood += "an unfinished one";
    BoundedLog by_line;
    for (std::size_t at = 0; at < flood.size();) {
        const auto end = std::min(flood.find('\n', at), flood.size() - 1) + 1;
        by_line.add_bytes(std::string_view(flood).substr(at, end - at));
        at = end;
    }
    for (const std::size_t piece : {1UL, 7UL, 1000UL, 1234UL, 16384UL, 65536UL}) {
        BoundedLog in_pieces;
        for (std::size_t at = 0; at < flood.size(); at += piece)
            in_pieces.add_bytes(std::string_view(flood).substr(at, piece));
        EXPECT_EQ(in_pieces.lines(), by_line.lines()) << piece;
    }
}

} // namespace
} // namespace conformance
