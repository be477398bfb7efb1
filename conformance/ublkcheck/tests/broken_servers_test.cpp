// The judge of servers, judged: each broken ublk-serve is caught by the case that is meant to catch it, and
// the verdict names what is wrong. Takes minutes and boots a machine for each: `make servers-broken`, not
// `make test`.
#include "reports/results_json.hpp"

#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <map>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

enum class Backing { memory, disk, read_only };

struct Row {
    std::string fault;
    Backing backing;
    std::string id;   // of the case that has to fail
    std::string says; // is in what it observed
};

const std::vector<Row> table{
    {"lose-write", Backing::memory, "SERVER-DATA-001", "lost: "},
    {"drop-flush", Backing::disk, "SERVER-FLUSH-004", "lost: "},
    {"drop-fua", Backing::disk, "SERVER-FLUSH-005", "lost: "},
    {"swap-tags", Backing::memory, "SERVER-CONC-001", "misplaced: "},
    {"short-as-full", Backing::memory, "SERVER-DATA-004", "torn: "},
    {"sector-off", Backing::memory, "SERVER-DATA-003", "misplaced: "},
    {"acknowledge-early", Backing::memory, "SERVER-DATA-005", "stale: "},
    {"forget-tag", Backing::disk, "SERVER-ERROR-001", "unanswered: "},
    {"hide-errors", Backing::disk, "SERVER-ERROR-001", "hidden: "},
    {"ignore-discard", Backing::memory, "SERVER-DISCARD-002", "data left: the discarded range"},
    {"discard-too-much", Backing::memory, "SERVER-DISCARD-001", "reads as zeroes"},
    {"leave-data-on-zeroes", Backing::memory, "SERVER-ZERO-001", "data left: the zeroed range"},
    {"tear-large-write", Backing::memory, "SERVER-DATA-001", "torn: "},
    {"corrupt-byte", Backing::memory, "SERVER-DATA-001", "corrupt: "},
    {"stale-read", Backing::memory, "SERVER-DATA-005", "stale: "},
    {"too-large", Backing::memory, "SERVER-SIZE-001", "reading 65536 bytes at 67047424 gave"},
    {"ignore-read-only", Backing::read_only, "SERVER-RO-001", "written through: "},
    {"crash", Backing::memory, "SERVER-DATA-003", "it died of SIGSEGV"},
    {"exit-early", Backing::memory, "SERVER-DATA-003", "it exited with status 0"},
    {"exit-with-error", Backing::memory, "SERVER-LIFE-001", "it exited with status 3"},
    {"leave-device", Backing::memory, "SERVER-LIFE-001", "/dev/ublkc0 is left behind"},
    {"ignore-sigterm", Backing::memory, "SERVER-LIFE-001", "it is still there after"},
};

std::string arguments_of(Backing backing)
{
    switch (backing) {
    case Backing::memory:
        return "add --type memory --size 64M";
    case Backing::disk:
        return "add --type file --direct --file '{disk}'";
    case Backing::read_only:
        return "add --type memory --size 64M --read-only";
    }
    return "";
}

struct Ran {
    int exit_code = -1;
    std::string terminal;
    reports::RunResult result;
};

Ran judge(const Row& row)
{
    const fs::path out = fs::temp_directory_path() / fmt::format("ublkcheck-broken-{}", ::getpid());
    const char* kernel = std::getenv("UBLKCHECK_SELFTEST_KERNEL");
    const auto command = fmt::format("{} server --kernel {} --jobs 1 --out {} --case {} --end-time 5 "
                                     "--discard-zeroes {} -- {} --break {} {} 2>&1",
                                     UBLKCHECK_PROGRAM, kernel != nullptr ? kernel : "latest", out.string(),
                                     row.id, row.backing == Backing::read_only ? "--read-only" : "",
                                     BROKEN_PROGRAM, row.fault, arguments_of(row.backing));
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
    std::error_code ec;
    fs::remove_all(out, ec);
    return ran;
}

class BrokenServer : public testing::TestWithParam<Row> {};

TEST_P(BrokenServer, IsCaughtAndNamed)
{
    const auto& row = GetParam();
    const auto ran = judge(row);
    EXPECT_EQ(ran.exit_code, reports::exit_unexpected) << ran.terminal;
    ASSERT_EQ(ran.result.cases.size(), 1U) << ran.terminal;
    const auto& verdict = ran.result.cases.front();
    EXPECT_EQ(verdict.verdict, reports::Verdict::fail) << ran.terminal;
    EXPECT_THAT(verdict.observed, testing::HasSubstr(row.says));
    fmt::print("{:21} {:19} {}\n", row.fault, row.id, verdict.observed);
}

INSTANTIATE_TEST_SUITE_P(Each, BrokenServer, testing::ValuesIn(table), [](const auto& row) {
    std::string name = row.param.fault;
    std::erase(name, '-');
    return name;
});

} // namespace
