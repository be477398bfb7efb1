// The judge of servers, judged: each broken ublk-serve is caught by the case that is meant to catch it, and
// the verdict names what is wrong; so is what is no server. Takes minutes and boots a machine for each: `make
// servers-broken`, not `make test`.
#include "reports/results_json.hpp"

#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <ostream>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Row {
    std::string name;
    std::string id;               // of the case that has to fail
    std::string says;             // is in what it observed; empty: the case passes
    std::string command, options; // of ublkcheck server
};

void PrintTo(const Row& row, std::ostream* out) // GoogleTest looks for it by this name
{
    *out << row.name;
}

std::string words_of(const std::string& fault)
{
    return fmt::format("{} --break {} add ", BROKEN_PROGRAM, fault);
}
Row memory(const std::string& fault, std::string id, std::string says)
{
    return {fault, std::move(id), std::move(says), words_of(fault) + "--type memory --size 64M",
            "--discard-zeroes"};
}
Row disk(const std::string& fault, std::string id, std::string says)
{
    return {fault, std::move(id), std::move(says), words_of(fault) + "--type file --direct --file '{disk}'",
            ""};
}
Row read_only(const std::string& fault, std::string id, std::string says)
{
    return {fault, std::move(id), std::move(says), words_of(fault) + "--type memory --size 64M --read-only",
            "--read-only"};
}

const std::vector<Row> broken{
    memory("lose-write", "SERVER-DATA-001", "lost: "),
    disk("drop-flush", "SERVER-FLUSH-004", "lost: "),
    disk("drop-fua", "SERVER-FLUSH-005", "lost: "),
    memory("swap-tags", "SERVER-CONC-001", "misplaced: "),
    memory("short-as-full", "SERVER-DATA-004", "torn: "),
    memory("sector-off", "SERVER-DATA-003", "misplaced: "),
    memory("acknowledge-early", "SERVER-DATA-005", "stale: "),
    disk("forget-tag", "SERVER-ERROR-001", "unanswered: the read of 4096 bytes"),
    disk("hide-errors", "SERVER-ERROR-001", "hidden: "),
    memory("ignore-discard", "SERVER-DISCARD-002", "data left: the discarded range"),
    memory("discard-too-much", "SERVER-DISCARD-001", "8 did not; 512 bytes at 16384 reads as zeroes"),
    memory("leave-data-on-zeroes", "SERVER-ZERO-001", "data left: the zeroed range"),
    memory("tear-large-write", "SERVER-DATA-001", "torn: "),
    memory("corrupt-byte", "SERVER-DATA-001", "corrupt: "),
    memory("stale-read", "SERVER-DATA-005", "stale: "),
    memory("too-large", "SERVER-SIZE-001", "gave"),
    read_only("ignore-read-only", "SERVER-RO-001", "written through: "),
    memory("crash", "SERVER-DATA-003", "it died of SIGSEGV"),
    memory("exit-early", "SERVER-DATA-003", "it exited with status 0"),
    memory("exit-with-error", "SERVER-LIFE-001", "it exited with status 3"),
    memory("leave-device", "SERVER-LIFE-001", "/dev/ublkc0 is left behind"),
    memory("ignore-sigterm", "SERVER-LIFE-001", "it is still there after"),
};

// What is no server at all, and what only behaves oddly around being one.
const std::vector<Row> odd{
    {"ends-at-once", "SERVER-LIFE-001", "it exited with status 0 and left no process", "true", ""},
    {"fails-at-once", "SERVER-LIFE-001", "it exited with status 1, before there was one", "false", ""},
    {"dies-at-once", "SERVER-LIFE-001", "it died of SIGSEGV, before there was one", "sh -c 'kill -SEGV $$'",
     ""},
    {"daemon-that-fails", "SERVER-LIFE-001", "of the daemon that it left: it exited with status 4",
     "sh -c '(sleep 1; exit 4) & exit 0'", "--program sleep"},
    {"never-a-device", "SERVER-LIFE-001", "there is none after 5 s, and the server still runs", "sleep 1000",
     ""},
    {"prints-for-ever", "SERVER-LIFE-001", "there is none after 5 s, and the server still runs", "yes", ""},
    {"prints-a-gigabyte", "SERVER-LIFE-001", "",
     "sh -c 'head -c 1G /dev/zero; exec ublk-serve add --type null'",
     fmt::format("--start-time 500 --timeout-scale 4 --no-data --program head --program {}", SERVE_PROGRAM)},
    {"becomes-a-daemon", "SERVER-LIFE-*", "", fmt::format("{} add --type memory --daemon", SERVE_PROGRAM),
     ""},
};

struct Ran {
    int exit_code = -1;
    std::string terminal;
    reports::RunResult result;
};

Ran judge(const Row& row)
{
    const fs::path out = fs::temp_directory_path() / fmt::format("ublkcheck-broken-{}", ::getpid());
    const char* kernel = std::getenv("UBLKCHECK_SELFTEST_KERNEL");
    const auto* start = row.options.contains("--start-time") ? "" : "--start-time 5";
    const auto command =
        fmt::format("{} server --kernel {} --jobs 1 --out {} --case '{}' --end-time 5 {} {} -- {} 2>&1",
                    UBLKCHECK_PROGRAM, kernel != nullptr ? kernel : "latest", out.string(), row.id, start,
                    row.options, row.command);
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

class Server : public testing::TestWithParam<Row> {};

TEST_P(Server, GetsItsVerdict)
{
    const auto& row = GetParam();
    const auto ran = judge(row);
    const bool passes = row.says.empty();
    EXPECT_EQ(ran.exit_code, passes ? reports::exit_expected : reports::exit_unexpected) << ran.terminal;
    ASSERT_FALSE(ran.result.cases.empty()) << ran.terminal;
    for (const auto& verdict : ran.result.cases) {
        EXPECT_EQ(verdict.verdict, passes ? reports::Verdict::pass : reports::Verdict::fail) << ran.terminal;
        EXPECT_THAT(verdict.observed, testing::HasSubstr(row.says));
        EXPECT_LT(verdict.log.size(), 500U);
        fmt::print("{:21} {:19} {}\n", row.name, verdict.id, passes ? "pass" : verdict.observed);
    }
}

std::string name_of(const testing::TestParamInfo<Row>& row)
{
    auto name = row.param.name;
    std::erase(name, '-');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Broken, Server, testing::ValuesIn(broken), name_of);
INSTANTIATE_TEST_SUITE_P(Odd, Server, testing::ValuesIn(odd), name_of);

} // namespace
