// Suite "lockstep", hidden: each case is a share of the steps of `ublkcheck lockstep`, on a kernel of its
// own.
#include "conformance/driver/case.hpp"
#include "conformance/lockstep/duel.hpp"
#include "conformance/lockstep/generate.hpp"
#include "conformance/lockstep/shares.hpp"

#include <fmt/format.h>
#include <fstream>
#include <iterator>

namespace conformance::lockstep {

namespace model = ublk::model;

namespace {

constexpr unsigned shortest_sequence = 20, sequence_spread = 30;

Plan read_plan()
{
    std::ifstream file{std::string(plan_path), std::ios::binary};
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    if (text.empty())
        skip("needs a plan: `ublkcheck lockstep` brings one along");
    auto plan = parse_plan(text);
    if (!plan)
        fail("the plan can be read", plan.error());
    return *std::move(plan);
}

// For the host, which keeps the last that it hears of.
void print(std::string_view heading, const Scenario& scenario)
{
    fmt::print("{}, {} steps:\n", heading, scenario.size());
    for (const auto& command : scenario)
        fmt::print("{}{}\n", scenario_mark, model::to_string(command));
    std::fflush(stdout);
}

// What is left of devices shows that the kernel is stuck: then nothing more can be tried on it.
bool is_clean()
{
    constexpr std::uint32_t most_devices = 4;
    Driver driver;
    for (std::uint32_t id = 0; id < most_devices; ++id) {
        if (!eventually([&] { return is_free_id(driver, id); }, 2s))
            return false;
    }
    return true;
}

[[noreturn]] void tell(Played shortest, const Rules& rules)
{
    constexpr Millis limit = 3s; // a kernel that is slower makes the shortest sequence a little longer
    print(fmt::format("{} so far", shortest_heading), shortest.done);
    bool stuck = false;
    const auto diverges = [&](const Scenario& candidate) {
        stuck = stuck || !is_clean();
        if (stuck)
            return false;
        auto again = replay(candidate, rules, limit);
        const bool differs = again.divergence.has_value();
        if (differs)
            shortest = std::move(again);
        return differs;
    };
    shrink(shortest.done, diverges, shrink_limit);
    print(shortest_heading, shortest.done);
    fail(shortest.divergence->expected, shortest.divergence->observed);
}

void run_scenario(const Scenario& scenario, const Rules& rules)
{
    const auto played = replay(scenario, rules);
    if (played.divergence) {
        print(shortest_heading, played.done);
        fail(played.divergence->expected, played.divergence->observed);
    }
    count_check();
}

// One sequence from a clean state to a clean state, or to where the two differ.
Played play(const Rules& rules, const Chance& chance)
{
    Duel duel(rules);
    const auto length = shortest_sequence + chance(sequence_spread);
    try {
        for (unsigned i = 0; i < length && !duel.divergence(); ++i)
            duel.go(choose_group(duel.state(), rules.kernel, chance));
        duel.end();
    } catch (const CaseFailed&) { // something that is not the driver's: a process that does not answer
        print(shortest_heading, duel.done());
        throw;
    }
    return {duel.done(), duel.divergence()};
}

// Of a device that is not there.
bool takes_numbers()
{
    const CtrlCmd none{.dev_id = ublk::uapi::max_dev_id};
    return Driver().control(ublk::uapi::legacy_opcode(CtrlNr::get_dev_info), none) != -EOPNOTSUPP;
}

// Bits that a kernel sets for good, one of them when it warns.
std::string taint()
{
    std::ifstream file("/proc/sys/kernel/tainted");
    std::string bits;
    std::getline(file, bits);
    return bits;
}

void run_share(unsigned share)
{
    const auto plan = read_plan();
    auto rules = rules_for(kernel_version(), plan.planted);
    if (!rules)
        fail("a rule that can be planted", plan.planted);
    rules->kernel.bare_numbers = takes_numbers();
    expect_eq(rules->kernel.features.raw(), kernel_features().raw(), "the features that GET_FEATURES tells");
    if (!plan.scenario.empty())
        return run_scenario(plan.scenario, *rules);
    const auto untouched = taint();
    SeededChance seeds(plan.seed * shares + share);
    for (unsigned steps = 0; steps < plan.steps;) {
        SeededChance chance((std::uint64_t{seeds(~0U)} << 32) | seeds(~0U));
        auto played = play(*rules, chance);
        steps += static_cast<unsigned>(played.done.size());
        if (played.divergence)
            tell(std::move(played), *rules);
        if (taint() != untouched) { // which it says once: nothing to shrink by
            print(shortest_heading, played.done);
            fail("the kernel takes a sequence without a warning", "it warned, see its log");
        }
        count_check();
    }
}

const bool registered = [] {
    static std::vector<std::unique_ptr<CaseRegistration>> keep;
    for (unsigned share = 0; share < shares; ++share)
        keep.push_back(std::make_unique<CaseRegistration>(
            share_id(share), contract, "driver and model agree on every step of random sequences",
            [share] { run_share(share); },
            std::initializer_list<CaseOption>{in_suite("lockstep", true), timeout(share_limit)}));
    return true;
}();

} // namespace

} // namespace conformance::lockstep
