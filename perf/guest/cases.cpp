// Suite "perf", hidden: one case for each load. It measures every subject of the plan in turn, round after
// round, so that what changes with time meets all of them alike.
#include "conformance/driver/case.hpp"
#include "conformance/driver/expect.hpp"
#include "conformance/server/process.hpp"
#include "perf/comparison.hpp"
#include "perf/fio.hpp"
#include "perf/guest/device.hpp"
#include "perf/guest/plan.hpp"
#include "perf/guest/run_load.hpp"

#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <memory>

namespace perf {

namespace {

using conformance::expect_true;
using conformance::fail;

std::string content_of(const std::string& file)
{
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

struct PerIo {
    double instructions, switches;
};

PerIo count(const Load& load, const Device& device)
{
    const auto warm_up = load.exact_ios / 4;
    const auto counted = run_load(device.disk(), {.random = load.random,
                                                  .write_percent = load.write_percent,
                                                  .block = load.block,
                                                  .depth = load.depth,
                                                  .span = working_set,
                                                  .warm_up = warm_up,
                                                  .ios = load.exact_ios,
                                                  .marked = true});
    expect_true(counted.idle_nanoseconds == 0,
                "the CPU is never idle, or idle time would count as instructions");
    return {static_cast<double>(counted.ticks) / load.exact_ios,
            static_cast<double>(counted.switches) / (warm_up + load.exact_ios)};
}

double throughput(const Load& load, const Device& device, double runtime)
{
    const std::string report = "/tmp/fio.json";
    // A job goes by the clock, and a host that stalls for as long as it runs leaves it without an I/O.
    constexpr int attempts = 3;
    for (int attempt = 1;; ++attempt) {
        conformance::must_run(fio_command(load, device.disk(), runtime, report));
        const auto result = read_fio_report(content_of(report));
        if (!result)
            fail(fmt::format("fio measures {}", device.disk()), result.error());
        if (result->ios > 0)
            return load.random ? result->iops : result->mib_per_s;
        if (attempt == attempts)
            fail(fmt::format("fio measures {}", device.disk()),
                 fmt::format("{} jobs in a row did no I/O", attempts));
    }
}

void measure(const Load& load)
{
    const auto plan = read_plan();
    std::vector<std::unique_ptr<Device>> devices;
    for (const auto& subject : plan.subjects)
        devices.push_back(
            std::make_unique<Device>(subject, static_cast<unsigned>(devices.size()), plan.queues));
    Values values(devices.size()), switches(devices.size());
    for (unsigned round = 0; round < plan.rounds; ++round)
        for (std::size_t i = 0; i < devices.size(); ++i) {
            const auto turn = in_turn(plan, round, i);
            if (!plan.exact) {
                values[turn].push_back(throughput(load, *devices[turn], plan.runtime));
                continue;
            }
            const auto counted = count(load, *devices[turn]);
            values[turn].push_back(counted.instructions);
            switches[turn].push_back(counted.switches);
        }
    for (const auto& device : devices)
        device->end();
    auto measured = measurements(plan, load, values);
    const auto slower = conclude(plan, load, measured);
    for (auto& measurement : measured)
        conformance::record_measurement(std::move(measurement));
    for (std::size_t i = 0; plan.exact && i < devices.size(); ++i)
        conformance::record_measurement({.subject = plan.subjects[i].name,
                                         .load = std::string(load.title),
                                         .metric = std::string(switches_per_io),
                                         .values = switches[i]});
    expect_true(!devices.empty(), "the plan names a subject");
    if (slower)
        fail("B is not slower than A by more than the noise", *slower);
}

const bool registered = [] {
    static std::vector<std::unique_ptr<conformance::CaseRegistration>> keep;
    for (const auto& load : loads())
        keep.push_back(std::make_unique<conformance::CaseRegistration>(
            case_id(load), conformance::contract,
            fmt::format("every subject of the plan serves {}", load.title), [&load] { measure(load); },
            std::initializer_list<conformance::CaseOption>{conformance::in_suite("perf", true),
                                                           conformance::timeout(std::chrono::minutes(5))}));
    return true;
}();

} // namespace

Plan read_plan()
{
    const auto text = content_of(std::string(plan_file));
    if (text.empty())
        conformance::skip("needs a plan: `ublkcheck perf` brings one along");
    auto plan = plan_from_json(text);
    if (!plan)
        fail("the plan can be read", plan.error());
    return *std::move(plan);
}

} // namespace perf
