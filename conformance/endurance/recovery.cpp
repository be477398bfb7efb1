// Suite "endurance": kill -9 of a server of a file, over and over, at random moments, and recovery. Writers
// hold each block to its last acknowledged version, on the disk and in the file; beside them fio writes and
// verifies by MD5 without a pause.
#include "conformance/driver/driver.hpp"
#include "conformance/endurance/cases.hpp"
#include "conformance/endurance/fio_passes.hpp"
#include "conformance/server/process.hpp"
#include "conformance/server/versioned_blocks.hpp"

#include <exception>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <sys/stat.h>

namespace conformance::endurance {

namespace {

constexpr const char* backing = "/tmp/endurance.img";
constexpr std::size_t fio_bytes = 4 << 20; // behind what the writers write
constexpr unsigned cycles_between_checks = 50;

std::vector<std::string> with_file(std::initializer_list<std::string> options)
{
    std::vector<std::string> arguments{"--type", "file", "--file", backing};
    arguments.insert(arguments.end(), options);
    return arguments;
}

// A case that fails with a dead server must not wait for requests that nobody will answer.
struct StopsOnFailure {
    int before = std::uncaught_exceptions();
    StopsOnFailure() = default;
    StopsOnFailure(const StopsOnFailure&) = delete;
    StopsOnFailure& operator=(const StopsOnFailure&) = delete;
    ~StopsOnFailure()
    {
        if (std::uncaught_exceptions() > before) [[maybe_unused]]
            const auto stopped = run_program({"ublk-serve", "stop", "7"});
    }
};

class Moments {
  public:
    explicit Moments(std::uint64_t seed) : random_(seed) {}
    bool one_in(unsigned n) { return random_() % n == 0; }
    void sleep_up_to(std::chrono::microseconds most)
    {
        ::usleep(static_cast<useconds_t>(random_() % static_cast<std::uint64_t>(most.count())));
    }

  private:
    std::mt19937_64 random_;
};

// A server dies at a random moment while it serves, and now and then the next ones do while they take over.
// Returns how many of the latter.
unsigned kill_and_recover(Serving& server, Moments& moments)
{
    constexpr auto serving = 60ms, taking_over = 400ms;
    unsigned early = 0;
    moments.sleep_up_to(serving);
    server.kill();
    for (; moments.one_in(5); ++early) {
        server.begin_recovery(with_file({}));
        moments.sleep_up_to(taking_over);
        server.kill();
    }
    server.recover(with_file({}));
    return early;
}

void check_all(Writers& writers, const Serving& server, unsigned cycle)
{
    constexpr std::uint64_t some = 20; // blocks
    expect_true(writers.write_more(some), fmt::format("the load runs after cycle {}", cycle));
    const auto failed = writers.errors();
    expect_true(writers.write_more(some), fmt::format("the load runs on after cycle {}", cycle));
    expect_eq(failed, writers.errors(), "requests that failed, while there is a server");
    writers.pause();
    writers.check(server.disk(), O_RDONLY | O_DIRECT);
    writers.check(backing, O_RDONLY);
    fmt::print("after cycle {}: {} blocks written, {} requests failed\n", cycle, writers.written(), failed);
    std::fflush(stdout);
}

// What becomes of requests that are on their way while there is no server.
enum class Requests { wait, may_fail };

void kill_over_and_over(const std::string& mode, Requests requests)
{
    const auto plan = read_plan();
    if (!has_program("fio"))
        skip("needs fio: install it where ublkcheck runs");
    std::ofstream(backing, std::ios::binary).close();
    expect_ok(sys(::truncate(backing, static_cast<off_t>(versioned_bytes + fio_bytes))), "truncate");
    Serving server(with_file({"--recovery", mode, "--depth", "32"}));
    Writers writers(server.disk(), 4, plan.seed);
    FioPasses fio({.disk = server.disk(),
                   .offset = versioned_bytes,
                   .bytes = fio_bytes,
                   .requests_may_fail = requests == Requests::may_fail,
                   .seed = plan.seed});
    const StopsOnFailure stops;
    Moments moments(plan.seed);
    unsigned early = 0;
    for (unsigned cycle = 1; cycle <= plan.kills(); ++cycle) {
        early += kill_and_recover(server, moments);
        fio.go_on();
        if (cycle % cycles_between_checks == 0 || cycle == plan.kills()) {
            check_all(writers, server, cycle);
            if (cycle != plan.kills())
                writers.go_on();
        }
    }
    fio.finish();
    server.stop();
    writers.check(backing, O_RDONLY);
    expect_no_devices();
    if (requests == Requests::wait)
        expect_eq(0UL, writers.errors(), "requests that failed");
    const auto load = fmt::format("{} kills, recovery {}", plan.kills(), mode);
    record_figure(load, "kills during recovery besides", early);
    record_figure(load, "blocks written", static_cast<double>(writers.written()));
    record_figure(load, "requests failed", static_cast<double>(writers.errors()));
    record_figure(load, "passes of fio", static_cast<double>(fio.passes()));
    record_figure(load, "blocks verified by fio", static_cast<double>(fio.verified()));
}

} // namespace

CASE("ENDURANCE-RECOVER-001", contract,
     "over hundreds of kill -9 no acknowledged write is lost, where requests of the dead server may fail",
     endurance_suite, long_limit, needs(Feature::user_recovery))
{
    kill_over_and_over("wait", Requests::may_fail);
}

CASE("ENDURANCE-RECOVER-002", contract,
     "over hundreds of kill -9 no acknowledged write is lost and none fails, where requests are issued again",
     endurance_suite, long_limit, needs(Feature::user_recovery | Feature::user_recovery_reissue))
{
    kill_over_and_over("reissue", Requests::wait);
}

CASE("ENDURANCE-RECOVER-003", contract,
     "over hundreds of kill -9 no acknowledged write is lost, where requests fail until there is a server",
     endurance_suite, long_limit, needs(Feature::user_recovery_fail_io))
{
    kill_over_and_over("fail-io", Requests::may_fail);
}

} // namespace conformance::endurance
