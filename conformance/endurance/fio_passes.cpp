#include "conformance/endurance/fio_passes.hpp"

#include "conformance/driver/driver.hpp"
#include "conformance/server/process.hpp"

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

namespace conformance::endurance {

namespace {

constexpr const char* report_file = "/tmp/fio.json";

// The report of one job; a note of fio may stand before it.
nlohmann::json read_report()
{
    std::ifstream file(report_file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto begin = text.find('{');
    const auto report =
        nlohmann::json::parse(text.substr(begin == std::string::npos ? 0 : begin), nullptr, false);
    if (report.is_discarded() || !report.contains("jobs") || report["jobs"].empty())
        fail("a report of fio", text.substr(0, 200));
    return report["jobs"][0];
}

} // namespace

FioPasses::FioPasses(FioPassOptions options, Where where) : options_(std::move(options))
{
    begin(where);
}

FioPasses::~FioPasses()
{
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        eventually([this] { return ::waitpid(pid_, nullptr, WNOHANG) == pid_; }, 2s);
    }
}

void FioPasses::begin(Where where)
{
    std::vector<std::string> command{
        "fio", "--name=verify", "--filename=" + options_.disk, fmt::format("--offset={}", options_.offset),
        fmt::format("--size={}", options_.bytes), "--ioengine=libaio", "--direct=1", "--rw=randwrite",
        "--bs=4k", "--iodepth=8",
        // Another order each time: what an earlier pass wrote is then wrong.
        "--randrepeat=0", fmt::format("--randseed={}", options_.seed + passes_), "--verify=md5",
        "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--output-format=json",
        fmt::format("--output={}", report_file)};
    if (options_.requests_may_fail)
        command.insert(command.end(), {"--continue_on_error=io", "--error_dump=0",
                                       fmt::format("--ignore_error={0}:{1},{0}:{1}", EIO, EREMOTEIO)});
    pid_ = spawn_program(command, where);
}

bool FioPasses::ended(Where where)
{
    int raw = 0;
    if (::waitpid(pid_, &raw, WNOHANG) != pid_)
        return false;
    pid_ = -1;
    expect_true(
        WIFEXITED(raw) && WEXITSTATUS(raw) == 0,
        fmt::format("fio's pass {} reads back what it wrote: it ends with 0 and not with {}", passes_, raw),
        where);
    const auto job = read_report();
    const int first_error = job.at("error").get<int>();
    if (!options_.requests_may_fail || (first_error != EIO && first_error != EREMOTEIO))
        expect_eq(0, first_error, "fio's error", where);
    verified_ += job.at("read").at("total_ios").get<std::uint64_t>();
    ++passes_;
    return true;
}

void FioPasses::go_on(Where where)
{
    if (ended(where))
        begin(where);
}

void FioPasses::finish(Where where)
{
    constexpr auto most = 60s;
    expect_true(eventually([&] { return ended(where); }, most), "the last pass of fio ends", where);
    expect_true(verified_ > 0, "fio verified something", where);
}

} // namespace conformance::endurance
