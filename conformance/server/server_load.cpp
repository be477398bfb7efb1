// Suite "server": many at once. fio verifies by MD5; writers of our own name what went wrong.
#include "conformance/server/load.hpp"
#include "conformance/server/process.hpp"
#include "conformance/server/suite.hpp"

#include <nlohmann/json.hpp>

namespace conformance {

namespace {

struct Job {
    const char* id;
    const char* pattern; // --rw of the writing pass
    const char* sizes;   // --bs or --bsrange
    unsigned depth;
    bool direct;
};

// A pass that writes, or one that reads back and verifies past the page cache.
void fio(const Subject& subject, const Job& job, bool verifying)
{
    const auto size = std::min<std::uint64_t>(subject.size(), 12ULL << 20) / 4096 * 4096;
    const bool range = std::string_view(job.sizes).contains('-');
    const std::vector<std::string> command{"fio",
                                           "--name=verify",
                                           "--filename=" + subject.disk(),
                                           fmt::format("--size={}", size),
                                           "--ioengine=libaio",
                                           fmt::format("--rw={}", job.pattern),
                                           fmt::format("--iodepth={}", job.depth),
                                           fmt::format("{}={}", range ? "--bsrange" : "--bs", job.sizes),
                                           "--randrepeat=1",
                                           "--allrandrepeat=1",
                                           "--verify=md5",
                                           "--verify_fatal=1",
                                           "--verify_state_save=0",
                                           "--group_reporting",
                                           "--output-format=json",
                                           "--end_fsync=1",
                                           verifying || job.direct ? "--direct=1" : "--direct=0",
                                           verifying ? "--verify_only=1" : "--do_verify=0"};
    Finished finished;
    {
        const Waiting waiting(subject, "run of fio", 0, 0, 90s);
        finished = run_program(command);
    }
    const auto& output = finished.output;
    if (finished.status != 0) {
        // A line such as "verify: bad header offset ..." says more than the exit status.
        const auto complaint = output.find("verify:");
        const auto text = output.substr(complaint == std::string::npos ? 0 : complaint);
        subject.fail("fio reads back what it wrote",
                     fmt::format("fio exited with {}: {}", finished.status, text.substr(0, text.find('\n'))));
    }
    const auto begin = output.find('{');
    const auto report =
        nlohmann::json::parse(output.substr(begin == std::string::npos ? 0 : begin), nullptr, false);
    if (report.is_discarded())
        subject.fail("a report of fio", output.substr(0, 200));
    const auto& result = report.at("jobs").at(0);
    expect_eq(0, result.at("error").get<int>(), "fio's error");
    expect_true(result.at(verifying ? "read" : "write").at("total_ios").get<std::uint64_t>() > 0,
                "fio did something");
}

void fio_case(const Job& job)
{
    needs_data();
    if (!has_program("fio"))
        skip("needs fio: install it where ublkcheck runs");
    Subject subject;
    needs_writable(subject);
    fio(subject, job, false);
    drop_caches();
    fio(subject, job, true);
    subject.finish();
}

constexpr Job jobs[] = {
    {"SERVER-FIO-001", "randwrite", "4k", 1, true},   {"SERVER-FIO-002", "randwrite", "4k", 32, true},
    {"SERVER-FIO-003", "write", "128k", 32, true},    {"SERVER-FIO-004", "randwrite", "4k-256k", 32, true},
    {"SERVER-FIO-005", "write", "4k-128k", 1, false}, {"SERVER-FIO-006", "randwrite", "4k", 32, false},
};

const bool fio_cases = [] {
    static std::vector<std::unique_ptr<CaseRegistration>> keep;
    for (const auto& job : jobs)
        keep.push_back(std::make_unique<CaseRegistration>(
            job.id, contract,
            fmt::format("fio reads back by MD5 what it wrote: {} {}, depth {}, {}", job.pattern, job.sizes,
                        job.depth, job.direct ? "direct" : "buffered"),
            [&job] { fio_case(job); }, std::initializer_list<CaseOption>{server_suite}));
    return true;
}();

// Until so many requests were answered.
void run_writers(unsigned writers, std::uint64_t requests, bool flushing)
{
    needs_data();
    Subject subject;
    needs_writable(subject);
    Ledger ledger(subject, 16ULL << 20);
    const DiskIo io(subject);
    ledger.write_all(io);
    {
        Load load(subject, ledger, writers, true);
        while (load.running() == writers && load.done() < requests) {
            if (flushing)
                io.flush();
            ::usleep(20'000);
        }
        load.stop();
    }
    ledger.check_all(io);
    subject.finish();
}

} // namespace

CASE("SERVER-CONC-001", contract, "each of 8 writers at once reads what it wrote last", server_suite)
{
    run_writers(8, 6000, false);
}

CASE("SERVER-CONC-002", contract,
     "each of 24 writers at once reads what it wrote last, while another flushes", server_suite)
{
    run_writers(24, 6000, true);
}

} // namespace conformance
