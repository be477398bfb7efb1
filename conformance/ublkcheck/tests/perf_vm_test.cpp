// Measuring, in VMs: counts of two boots are equal to the digit, and fio measures every subject.
#include "reports/results_json.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

reports::RunResult measure(const std::string& arguments)
{
    const fs::path out = fs::temp_directory_path() / ("ublkcheck-perf-" + std::to_string(::getpid()));
    const char* kernel = std::getenv("UBLKCHECK_SELFTEST_KERNEL");
    const auto command = std::string(UBLKCHECK_PROGRAM) + " perf run " + arguments + " --out " +
                         out.string() + " --kernel " + (kernel != nullptr ? kernel : "latest");
    const int status = std::system(command.c_str());
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << command;
    std::ifstream file(out / "latest" / "results.json");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    auto result = reports::read_results_json(text);
    EXPECT_TRUE(result) << result.error();
    std::error_code ec;
    fs::remove_all(out, ec);
    return result ? std::move(*result) : reports::RunResult{};
}

double value_of(const reports::CaseResult& result, std::string_view subject, std::string_view metric)
{
    for (const auto& m : result.measurements)
        if (m.subject == subject && m.metric == metric)
            return m.values.front();
    ADD_FAILURE() << "no " << metric << " of " << subject;
    return -1;
}

TEST(PerfInVm, ExactCountsOfTwoBootsAreEqualToTheDigit)
{
    const std::string arguments = "--exact --rounds 2 --case PERF-4K-RANDREAD-QD32";
    const auto first = measure(arguments), second = measure(arguments);
    ASSERT_EQ(first.cases.size(), 1U);
    ASSERT_EQ(second.cases.size(), 1U);
    EXPECT_FALSE(first.cases[0].measurements.empty());
    const auto &of_first = first.cases[0].measurements, &of_second = second.cases[0].measurements;
    ASSERT_EQ(of_first.size(), of_second.size());
    for (std::size_t i = 0; i < of_first.size(); ++i) {
        ASSERT_EQ(of_first[i].values.size(), 2U) << of_first[i].subject;
        ASSERT_EQ(of_second[i].values.size(), 2U) << of_first[i].subject;
        for (std::size_t round = 0; round < 2; ++round) {
            const double count = of_first[i].values[round];
            if (of_first[i].metric == "instructions per I/O") {
                EXPECT_GT(count, 1000)
                    << of_first[i].subject << ": no kernel serves an I/O with fewer instructions";
            }
            EXPECT_EQ(of_second[i].values[round], count) << of_first[i].subject << ", " << of_first[i].metric;
        }
    }
    for (const char* metric : {"server instructions per I/O", "system calls per I/O"}) {
        EXPECT_GT(value_of(first.cases[0], "ublk-serve null", metric), 0) << metric;
        EXPECT_LT(value_of(first.cases[0], "ublk-serve null", metric), 1000) << metric;
        EXPECT_EQ(value_of(first.cases[0], "null_blk", metric), 0)
            << metric << ": nobody serves it in user mode";
    }
}

TEST(PerfInVm, FioMeasuresEverySubject)
{
    const auto run = measure("--rounds 1 --runtime 0.1 --case PERF-4K-MIX");
    ASSERT_EQ(run.cases.size(), 1U);
    for (const char* subject : {"null_blk", "brd", "loop", "ublk-serve null", "ublk-serve memory",
                                "ublk-serve file", "ublk-serve null, again"})
        EXPECT_TRUE(std::ranges::any_of(run.cases[0].measurements, [&](const auto& m) {
            return m.subject == subject && m.values.size() == 1 && m.values[0] > 0;
        })) << subject;
}

} // namespace
