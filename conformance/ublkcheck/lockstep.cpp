// `ublkcheck lockstep`: random sequences on a kernel's driver and on the model at once.
#include "conformance/lockstep/rules.hpp"
#include "conformance/lockstep/scenario.hpp"
#include "conformance/lockstep/shares.hpp"
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/judge_kernels.hpp"
#include "reports/rundir.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;

struct LockstepOptions {
    RunOptions run;
    lockstep::Plan plan;
    unsigned steps = 2000;
    std::string scenario; // a file
    bool seed_given = false;
};

Expected<void> read_scenario(LockstepOptions& o)
{
    std::ifstream file(o.scenario, std::ios::binary);
    if (!file)
        return failed(
            reports::exit_usage,
            fmt::format("--scenario {}: it cannot be read; name a file of commands, such as those in "
                        "conformance/lockstep/scenarios",
                        o.scenario));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    auto scenario = lockstep::parse_scenario(text);
    if (!scenario)
        return failed(reports::exit_usage, fmt::format("--scenario {}: {}", o.scenario, scenario.error()));
    if (scenario->empty())
        return failed(reports::exit_usage, fmt::format("--scenario {}: it has no command in it", o.scenario));
    o.plan.scenario = std::move(*scenario);
    return {};
}

// Cases are many short shares, so that a kernel that hangs or crashes costs one of them.
void share_out(LockstepOptions& o)
{
    const bool one = !o.plan.scenario.empty();
    const unsigned wanted = (o.steps + lockstep::steps_of_a_share - 1) / lockstep::steps_of_a_share;
    const unsigned cases = one ? 1 : std::clamp(wanted, 1U, lockstep::shares);
    o.plan.steps = one ? 0 : (o.steps + cases - 1) / cases;
    o.run.length = std::max(1.0, static_cast<double>(o.plan.steps) / lockstep::steps_of_a_share);
    if (!o.run.plan.cases.empty())
        return;
    for (unsigned share = 0; share < cases; ++share)
        o.run.plan.cases.push_back(lockstep::share_id(share));
}

// The last sequence that a case has printed, which is the shortest.
std::string sequence_of(const reports::CaseResult& result)
{
    std::string text;
    bool listening = false;
    const auto mark = fmt::format("case: {}", lockstep::scenario_mark);
    for (const auto& line : result.log) {
        if (line.starts_with(fmt::format("case: {}", lockstep::shortest_heading)))
            listening = true, text.clear();
        else if (listening && line.starts_with(mark))
            text += line.substr(mark.size()) + "\n";
    }
    return text;
}

void write_scenarios(const fs::path& folder, const reports::RunResult& run, reports::Terminal& terminal)
{
    for (const auto& result : run.cases) {
        const auto sequence = sequence_of(result);
        if (sequence.empty())
            continue;
        const auto file = folder / (result.id + ".scenario");
        const auto text = fmt::format("# Linux {}\n# expected {}\n# observed {}\n{}", run.kernel.release,
                                      result.expected, result.observed, sequence);
        if (auto written = reports::write_whole(file, text); !written)
            terminal.note(written.error());
        else
            terminal.status("scenario", fmt::format("ublkcheck lockstep --scenario {}", file.string()));
    }
}

Expected<int> run_lockstep(LockstepOptions o)
{
    const auto asked = std::chrono::steady_clock::now();
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    catch_signals();
    if (auto json = check_json(o.run.json); !json)
        return std::unexpected(json.error());
    if (!o.scenario.empty())
        if (auto read = read_scenario(o); !read)
            return std::unexpected(read.error());
    if (!lockstep::rules_for(ublk::model::reference_version, o.plan.planted))
        return failed(
            reports::exit_usage,
            fmt::format("--planted {}: no rule and no trait of the model has that name", o.plan.planted));
    if (!o.seed_given)
        o.plan.seed = std::random_device{}();
    share_out(o);
    o.run.plan.suites = {"lockstep"};
    const auto cases = plan_cases(o.run.plan);
    if (!cases)
        return failed(reports::exit_usage, cases.error());
    o.run.arguments = o.scenario.empty() ? std::vector<std::string>{"--seed", std::to_string(o.plan.seed),
                                                                    "--steps", std::to_string(o.steps)}
                                         : std::vector<std::string>{"--scenario", o.scenario};
    if (!o.plan.planted.empty())
        o.run.arguments.insert(o.run.arguments.end(), {"--planted", o.plan.planted});
    terminal.status("lockstep", o.scenario.empty()
                                    ? fmt::format("{} steps from seed {}", o.steps, o.plan.seed)
                                    : fmt::format("{} steps of {}", o.plan.scenario.size(), o.scenario));
    o.run.after = [&](const fs::path& folder, const reports::RunResult& run) {
        write_scenarios(folder, run, terminal);
    };
    return judge_kernels_with({"lockstep", lockstep::to_text(o.plan), std::string(lockstep::plan_path)},
                              o.run, *cases, terminal, asked);
}

} // namespace

void add_lockstep_command(CLI::App& app, int& exit_code)
{
    auto o = std::make_shared<LockstepOptions>();
    auto* command = app.add_subcommand("lockstep", "random sequences on a driver and on its model at once");
    o->run.program = "lockstep";
    add_kernel_options(*command, o->run);
    auto* seed = add_seed_option(*command, o->plan.seed, "the same sequences again; default: a new one");
    command->add_option("--steps", o->steps, "commands to send, in all")
        ->check(CLI::Range(1U, 10'000'000U))
        ->capture_default_str();
    command->add_option("--scenario", o->scenario, "send the commands of this file instead");
    command->add_option("--case", o->run.plan.cases, "only these shares of the steps: LOCKSTEP-003")
        ->take_all();
    command->add_option("--planted", o->plan.planted)->group(""); // the proof that a wrong rule is found
    command->callback([o, seed, &exit_code] {
        o->seed_given = seed->count() != 0;
        o->run.command = command_line();
        exit_code = conclude("lockstep", run_lockstep(*o));
    });
}

} // namespace conformance
