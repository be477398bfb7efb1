// From the command that adds a device to the first block that was read from it. On a machine whose clock
// counts instructions, so that it is the work and the waiting of server and kernel, and not the host's.
#include "conformance/driver/case.hpp"
#include "conformance/driver/expect.hpp"
#include "conformance/server/process.hpp"
#include "perf/comparison.hpp"
#include "perf/guest/device.hpp"
#include "perf/guest/plan.hpp"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <unistd.h>

namespace perf {

namespace {

using namespace std::chrono_literals;

constexpr unsigned depths[] = {1, 32, 128, 1024};
constexpr unsigned bring_up_id = 99; // no device of a plan has it

void read_first_block(const std::string& disk)
{
    constexpr std::size_t bytes = 4096;
    const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(bytes, bytes), &std::free);
    const int fd = ::open(disk.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    const auto read = fd < 0 ? -1 : ::pread(fd, block.get(), bytes, 0);
    const int error = errno;
    if (fd >= 0)
        ::close(fd);
    if (read != static_cast<ssize_t>(bytes))
        conformance::fail(fmt::format("the first block of {} is read", disk), conformance::errno_text(error));
}

double bring_up(const Subject& subject, unsigned queues, unsigned depth)
{
    const auto id = std::to_string(bring_up_id);
    const auto start = std::chrono::steady_clock::now();
    conformance::must_run(add_command(subject, {.id = id, .queues = queues, .depth = depth}));
    read_first_block("/dev/ublkb" + id);
    const auto taken = std::chrono::steady_clock::now() - start;
    conformance::must_run(delete_command(subject, id));
    return std::chrono::duration<double, std::micro>(taken).count();
}

CASE("PERF-BRING-UP", conformance::contract, "A device of every depth comes up",
     conformance::in_suite("perf", true), conformance::timeout(5min))
{
    const auto plan = read_plan();
    if (!plan.exact)
        conformance::skip("is measured with --exact");
    for (const auto& subject : plan.subjects) {
        const bool server = subject.kind == Subject::Kind::server || subject.kind == Subject::Kind::kublk;
        if (!server || subject.backend != "null" || !subject.options.empty())
            continue;
        for (const unsigned depth : depths) {
            reports::Measurement measurement{.subject = fmt::format("{}, depth {}", subject.name, depth),
                                             .load = "from the command to the first block",
                                             .metric = std::string(bring_up_time)};
            for (unsigned round = 0; round < plan.rounds; ++round)
                measurement.values.push_back(bring_up(subject, plan.queues, depth));
            conformance::record_measurement(std::move(measurement));
        }
    }
    conformance::expect_true(!plan.subjects.empty(), "the plan names a subject");
}

} // namespace

} // namespace perf
