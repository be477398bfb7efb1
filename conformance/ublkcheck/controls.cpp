// `ublkcheck controls`: the cases on kernels that are known to be wrong, and on ones that are mended.
#include "conformance/known/controls.hpp"
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/judge_kernels.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iostream>
#include <memory>
#include <ostream>
#include <unistd.h>

namespace conformance {

namespace {

struct ControlsOptions {
    RunOptions run;
    bool list = false; // only print them
};

// Those that are asked for; a kernel or an id that no control names is an error, and not an empty list.
Expected<std::vector<Control>> choose(const RunOptions& options)
{
    const auto asked = [](const std::vector<std::string>& names, const std::string& name) {
        return names.empty() || std::ranges::find(names, name) != names.end();
    };
    const auto check = [](const std::vector<std::string>& names, const char* option,
                          std::string Control::* member) -> Expected<void> {
        for (const auto& name : names)
            if (std::ranges::find(controls(), name, member) == controls().end())
                return failed(reports::exit_usage,
                              fmt::format("{} {}: no control is about it; `ublkcheck controls --list` says "
                                          "which there are",
                                          option, name));
        return {};
    };
    if (auto good = check(options.kernels, "--kernel", &Control::kernel); !good)
        return std::unexpected(good.error());
    if (auto good = check(options.plan.cases, "--case", &Control::requirement); !good)
        return std::unexpected(good.error());
    std::vector<Control> chosen;
    std::ranges::copy_if(controls(), std::back_inserter(chosen), [&](const Control& control) {
        return asked(options.kernels, control.kernel) && asked(options.plan.cases, control.requirement);
    });
    if (chosen.empty())
        return failed(reports::exit_usage, "no control is about these cases on these kernels");
    return chosen;
}

// The controls of one kernel, each case once.
std::vector<ControlResult> try_kernel(RunOptions options, std::span<const Control> chosen,
                                      reports::Terminal& terminal)
{
    options.kernels = {chosen.front().kernel};
    options.plan.cases.clear();
    for (const auto& control : chosen)
        options.plan.cases.push_back(control.requirement);
    options.json.clear();
    options.raw = true;
    terminal.status("kernel",
                    fmt::format("{}: {}", chosen.front().kernel, fmt::join(options.plan.cases, ", ")));
    std::vector<reports::CaseResult> cases;
    options.after = [&](const std::filesystem::path&, const reports::RunResult& run) { cases = run.cases; };
    // Its failures are what is wanted: they are shown in the table only.
    std::ostream nowhere(nullptr);
    reports::Terminal silent(nowhere, {});
    const auto plan = plan_cases(options.plan);
    const auto code = plan ? judge_kernels(options, *plan, silent, std::chrono::steady_clock::now())
                           : failed(reports::exit_usage, plan.error());
    if (!code)
        conclude("controls", code);
    std::vector<ControlResult> results;
    for (const auto& control : chosen) {
        const auto found = std::ranges::find(cases, control.requirement, &reports::CaseResult::id);
        results.push_back(judge(control, found == cases.end() ? nullptr : &*found));
    }
    return results;
}

Expected<int> run_controls(const ControlsOptions& o)
{
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    catch_signals();
    if (auto json = check_json(o.run.json); !json)
        return std::unexpected(json.error());
    const auto chosen = choose(o.run);
    if (!chosen)
        return std::unexpected(chosen.error());
    std::vector<ControlResult> results;
    for (auto rest = std::span<const Control>(*chosen); !rest.empty();) {
        const auto end = std::ranges::find_if_not(
            rest, [&](const Control& control) { return control.kernel == rest.front().kernel; });
        const auto of_kernel = rest.first(static_cast<std::size_t>(end - rest.begin()));
        rest = rest.subspan(of_kernel.size());
        if (o.list || interrupted)
            for (const auto& control : of_kernel)
                results.push_back(judge(control, nullptr));
        else
            std::ranges::move(try_kernel(o.run, of_kernel, terminal), std::back_inserter(results));
    }
    fmt::print("{}", table(results));
    if (auto written = write_json(o.run.json, controls_json(results)); !written)
        return std::unexpected(written.error());
    return o.list ? reports::exit_expected : interrupted ? reports::exit_unexpected : exit_code(results);
}

} // namespace

void add_controls_command(CLI::App& app, int& exit_code)
{
    auto o = std::make_shared<ControlsOptions>();
    auto* command =
        app.add_subcommand("controls", "prove the cases on released kernels that are known to be wrong");
    o->run.program = "controls";
    add_kernel_options(*command, o->run);
    command->get_option("--kernel")
        ->description("only the controls of this kernel, as --list names it; may be given several times")
        ->delimiter(' ');
    command->add_option("--case", o->run.plan.cases, "only this requirement; may be given several times")
        ->take_all();
    command->add_flag("--list", o->list, "print the controls, and run none");
    command->callback([o, &exit_code] {
        o->run.command = command_line();
        exit_code = conclude("controls", run_controls(*o));
    });
}

} // namespace conformance
