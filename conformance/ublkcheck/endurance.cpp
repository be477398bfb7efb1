// `ublkcheck endurance`: kill -9 and recovery by the hundreds, and lives of devices by the thousand.
#include "conformance/endurance/plan.hpp"
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/judge_kernels.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <random>
#include <unistd.h>

namespace conformance {

namespace {

struct EnduranceOptions {
    RunOptions run;
    endurance::Plan plan;
    bool seed_given = false;
};

void show_figures(const reports::RunResult& run, reports::Terminal& terminal)
{
    for (const auto& result : run.cases) {
        std::string text;
        for (const auto& figure : result.measurements) {
            text += text.empty() ? fmt::format("{}: ", figure.load) : ", ";
            for (const auto value : figure.values)
                text += fmt::format("{} {:.0f}", figure.metric, value);
        }
        if (!text.empty())
            terminal.status("figures", fmt::format("{}, {}", result.id, text));
    }
}

Expected<int> run_endurance(EnduranceOptions o)
{
    const auto asked = std::chrono::steady_clock::now();
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    catch_signals();
    if (auto json = check_json(o.run.json); !json)
        return std::unexpected(json.error());
    if (!o.seed_given)
        o.plan.seed = std::random_device{}();
    o.run.plan.suites = {"endurance"};
    const auto cases = plan_cases(o.run.plan);
    if (!cases)
        return failed(reports::exit_usage, cases.error());
    o.run.arguments = {"--seed", std::to_string(o.plan.seed)};
    if (o.plan.cycles != 0)
        o.run.arguments.insert(o.run.arguments.end(), {"--cycles", std::to_string(o.plan.cycles)});
    o.run.length = o.plan.length();
    terminal.status("endurance",
                    fmt::format("{} kills of a server in each mode of recovery, {} devices made "
                                "and deleted, {} by processes, from seed {}",
                                o.plan.kills(), o.plan.lives(), o.plan.process_lives(), o.plan.seed));
    o.run.after = [&](const std::filesystem::path&, const reports::RunResult& run) {
        show_figures(run, terminal);
    };
    return judge_kernels_with({"endurance", endurance::to_text(o.plan), endurance::plan_path}, o.run, *cases,
                              terminal, asked);
}

} // namespace

void add_endurance_command(CLI::App& app, int& exit_code)
{
    auto o = std::make_shared<EnduranceOptions>();
    auto* command = app.add_subcommand(
        "endurance", "kill -9 of servers and recovery, and lives of devices, over and over");
    o->run.program = "endurance";
    add_kernel_options(*command, o->run);
    auto* seed =
        add_seed_option(*command, o->plan.seed, "the same moments and contents again; default: a new one");
    command
        ->add_option("--cycles", o->plan.cycles,
                     fmt::format("of each case, and a fifth of it where they are of processes; default: {} "
                                 "kills, {} devices",
                                 endurance::usual_kills, endurance::usual_lives))
        ->check(CLI::Range(1U, 1'000'000U));
    command
        ->add_option("--case", o->run.plan.cases, "only ids that match this glob; may be given several times")
        ->take_all();
    command->callback([o, seed, &exit_code] {
        o->seed_given = seed->count() != 0;
        o->run.command = command_line();
        exit_code = conclude("endurance", run_endurance(*o));
    });
}

} // namespace conformance
