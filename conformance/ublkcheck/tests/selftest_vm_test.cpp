// The harness judged, in a VM: each misbehaving case of the suite "selftest" gets exactly its verdict, the
// cases after it are unharmed, and the totals say that what was planned was run.
#include "reports/results_json.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sys/wait.h>

namespace {

namespace fs = std::filesystem;
using reports::Verdict;

const std::map<std::string, Verdict> expected{
    {"SELF-001", Verdict::fail},    // exits 1 in silence
    {"SELF-002", Verdict::fail},    // prints PASS and exits 1
    {"SELF-003", Verdict::fail},    // exits 0 without a record
    {"SELF-004", Verdict::fail},    // passes, but the kernel warned
    {"SELF-005", Verdict::hang},    // in user space
    {"SELF-006", Verdict::hang},    // in the kernel
    {"SELF-007", Verdict::crash},   // panics the kernel
    {"SELF-008", Verdict::crash},   // kills init
    {"SELF-009", Verdict::pass},    // prints 50 MB and passes
    {"SELF-010", Verdict::fail},    // prints 50 MB and fails
    {"SELF-011", Verdict::fail},    // writes half a record
    {"SELF-012", Verdict::crash},   // uses up the memory
    {"SELF-013", Verdict::fail},    // checks nothing
    {"SELF-014", Verdict::crash},   // dies of a signal
    {"SELF-015", Verdict::fail},    // passes, but a process of its own segfaulted
    {"SELF-016", Verdict::changed}, // a behaviour that differs
    {"SELF-017", Verdict::skip},    // does not apply
    {"SELF-018", Verdict::pass},    // leaves a daemon behind
    {"SELF-019", Verdict::pass},    // the plain one after all the others
    {"SELF-020", Verdict::fail},    // one wrong sector, found by fio
    {"SELF-021", Verdict::fail},    // one wrong byte, found by MD5
    {"SELF-022", Verdict::pass},    // leaves nothing behind
    {"SELF-023", Verdict::fail},    // leaves a descriptor in each cycle
    {"SELF-024", Verdict::fail},    // leaves heap
    {"SELF-025", Verdict::fail},    // leaves a page mapped
    {"SELF-026", Verdict::fail},    // leaves memory of the kernel
    {"SELF-030", Verdict::pass},    // measures and passes
    {"SELF-031", Verdict::fail},    // measures more than a record holds
};

struct Ran {
    int exit_code = -1;
    reports::RunResult result;
    std::string terminal;
};

Ran run_selftest(const std::string& isolation)
{
    const fs::path out =
        fs::temp_directory_path() / ("ublkcheck-selftest-" + isolation + std::to_string(::getpid()));
    const char* kernel = std::getenv("UBLKCHECK_SELFTEST_KERNEL");
    const auto command = std::string(UBLKCHECK_PROGRAM) + " run --suite selftest --isolation " + isolation +
                         " --jobs 1 --out " + out.string() + " --kernel " +
                         (kernel != nullptr ? kernel : "latest") + " 2>&1";
    Ran ran;
    std::FILE* pipe = ::popen(command.c_str(), "r");
    char bytes[4096];
    while (pipe != nullptr && std::fgets(bytes, sizeof(bytes), pipe) != nullptr)
        ran.terminal += bytes;
    const int status = pipe != nullptr ? ::pclose(pipe) : -1;
    ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    std::ifstream file(out / "latest" / "results.json");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    if (auto result = reports::read_results_json(text))
        ran.result = std::move(*result);
    else
        ADD_FAILURE() << result.error() << "\n" << ran.terminal;
    std::error_code ec;
    fs::remove_all(out, ec);
    return ran;
}

void expect_verdicts(const Ran& ran)
{
    EXPECT_EQ(ran.exit_code, reports::exit_unexpected) << ran.terminal;
    EXPECT_TRUE(ran.result.complete);
    EXPECT_EQ(ran.result.planned.size(), expected.size()) << "planned N";
    EXPECT_EQ(ran.result.cases.size(), expected.size()) << "got N";
    std::set<std::string> seen;
    for (const auto& result : ran.result.cases) {
        const auto wanted = expected.find(result.id);
        ASSERT_NE(wanted, expected.end()) << result.id << " has no expected verdict here";
        EXPECT_EQ(reports::to_string(result.verdict), reports::to_string(wanted->second))
            << result.id << ": " << result.observed;
        EXPECT_LT(result.log.size(), 500U) << result.id;
        seen.insert(result.id);
    }
    EXPECT_EQ(seen.size(), expected.size());
}

const reports::CaseResult* find(const Ran& ran, const std::string& id)
{
    for (const auto& result : ran.result.cases) {
        if (result.id == id)
            return &result;
    }
    return nullptr;
}

TEST(SelftestInVm, EachMisbehaviourGetsItsVerdict)
{
    const auto ran = run_selftest("case");
    expect_verdicts(ran);
    const auto* hang = find(ran, "SELF-006");
    ASSERT_NE(hang, nullptr);
    EXPECT_NE(hang->observed.find("state D"), std::string::npos) << hang->observed;
    const auto* panic = find(ran, "SELF-007");
    ASSERT_NE(panic, nullptr);
    EXPECT_NE(panic->observed.find("Kernel panic"), std::string::npos) << panic->observed;
    EXPECT_FALSE(panic->log.empty());
    const auto* skipped = find(ran, "SELF-017");
    ASSERT_NE(skipped, nullptr);
    EXPECT_EQ(skipped->reason, "needs a feature that nobody has");
    const auto* measured = find(ran, "SELF-030");
    ASSERT_NE(measured, nullptr);
    EXPECT_EQ(measured->measurements.size(), 2000U);
    const auto* flood = find(ran, "SELF-031");
    ASSERT_NE(flood, nullptr);
    EXPECT_NE(flood->expected.find("a record of at most"), std::string::npos) << flood->expected;
}

// Without the saved state between them, only crashes and hangs bring it back: the supervisor alone must keep
// the cases apart.
TEST(SelftestInVm, VerdictsAreTheSameInOneKernel)
{
    expect_verdicts(run_selftest("none"));
}

} // namespace
