// Suite "integrity": what a disk keeps when its server dies, or hands it over. The server is ublk-serve on a
// file, the load is versioned_blocks.
#include "conformance/driver/case.hpp"
#include "conformance/driver/driver.hpp"
#include "conformance/server/process.hpp"
#include "conformance/server/suite.hpp"
#include "conformance/server/versioned_blocks.hpp"

#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>

namespace conformance {

namespace {

using ublk::uapi::Feature;
using ublk::uapi::Features;

constexpr const char* recovered = "/tmp/recovered.img";

struct Recovered {
    const char* mode; // --recovery
    std::vector<std::string> options;
    int cycles;
};

std::vector<std::string> with_file(const std::vector<std::string>& options)
{
    std::vector<std::string> arguments{"--type", "file", "--file", recovered};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
}

void make_backing()
{
    std::ofstream(recovered, std::ios::binary).close();
    expect_ok(sys(::truncate(recovered, static_cast<off_t>(versioned_bytes))), "truncate");
}

// `end_server` ends the server while the load runs; how many of its requests may fail is the caller's.
template <typename EndServer>
std::uint64_t errors_of_cycles(const Recovered& how, EndServer end_server)
{
    make_backing();
    auto add = with_file(how.options);
    add.insert(add.end(), {"--recovery", how.mode, "--depth", "16"});
    Serving server(add);
    Writers writers(server.disk(), 4);
    constexpr std::uint64_t some = 20; // blocks
    for (int cycle = 0; cycle < how.cycles; ++cycle) {
        expect_true(writers.write_more(some), fmt::format("the load runs before cycle {}", cycle));
        const auto failed = writers.errors();
        expect_true(writers.write_more(some), fmt::format("the load runs on before cycle {}", cycle));
        expect_eq(failed, writers.errors(), "requests that failed, while there is a server");
        end_server(server);
        server.recover(with_file({}));
    }
    writers.pause();
    writers.check(server.disk(), O_RDONLY | O_DIRECT);
    return writers.errors();
}

constexpr int cycles = 12;

} // namespace

CASE("INTEGRITY-RECOVER-001", contract,
     "no acknowledged write is lost and none fails over kill -9 and recovery that issues requests again",
     integrity_suite, timeout(120s), needs(Feature::user_recovery | Feature::user_recovery_reissue))
{
    const auto errors = errors_of_cycles({"reissue", {}, cycles}, [](Serving& server) { server.kill(); });
    expect_eq(0UL, errors, "requests that failed");
}

CASE("INTEGRITY-RECOVER-002", contract,
     "no acknowledged write is lost over kill -9 and recovery, where requests of the dead server may fail",
     integrity_suite, timeout(120s), needs(Feature::user_recovery))
{
    errors_of_cycles({"wait", {}, cycles}, [](Serving& server) { server.kill(); });
}

CASE("INTEGRITY-RECOVER-003", contract,
     "no acknowledged write is lost over kill -9 and recovery, where requests fail until there is a server",
     integrity_suite, timeout(120s), needs(Feature::user_recovery_fail_io))
{
    errors_of_cycles({"fail-io", {}, cycles}, [](Serving& server) { server.kill(); });
}

CASE("INTEGRITY-RECOVER-004", contract, "a live upgrade by QUIESCE_DEV fails no request and loses no write",
     integrity_suite, timeout(120s), needs(Feature::user_recovery | Feature::quiesce))
{
    const auto errors = errors_of_cycles({"wait", {}, cycles}, [](Serving& server) { server.quiesce(); });
    expect_eq(0UL, errors, "requests that failed");
}

CASE("INTEGRITY-RECOVER-005", contract, "the same with zero copy, where operations are in flight",
     integrity_suite, timeout(120s), needs(Feature::user_recovery | Feature::quiesce | Feature::auto_buf_reg))
{
    const auto errors = errors_of_cycles({"wait", {"--data-path", "auto-buf"}, cycles},
                                         [](Serving& server) { server.quiesce(); });
    expect_eq(0UL, errors, "requests that failed");
}

CASE("INTEGRITY-RECOVER-006", contract, "no acknowledged write is lost over kill -9 of a server of batches",
     integrity_suite, timeout(120s), needs(Feature::user_recovery_reissue | Feature::batch_io))
{
    const auto errors =
        errors_of_cycles({"reissue", {"--batch"}, cycles}, [](Serving& server) { server.kill(); });
    expect_eq(0UL, errors, "requests that failed");
}

// Linux 7.3.4 fails what comes between QUIESCE_DEV and the close of ublkcN on such a device.
CASE("INTEGRITY-RECOVER-007", contract,
     "a live upgrade of a server of batches loses no acknowledged write, and fails none while there is a "
     "server",
     integrity_suite, timeout(120s), needs(Feature::user_recovery | Feature::quiesce | Feature::batch_io))
{
    errors_of_cycles({"wait", {"--batch"}, cycles}, [](Serving& server) { server.quiesce(); });
}

} // namespace conformance
