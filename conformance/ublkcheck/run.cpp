// `ublkcheck run`: judges kernels.
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/judge_kernels.hpp"
#include "conformance/ublkcheck/kselftest.hpp"
#include "reports/results_json.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iostream>
#include <memory>
#include <set>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

Expected<std::vector<const Case*>> plan_of(const fs::path& folder, const reports::RunResult& run)
{
    std::vector<const Case*> plan;
    for (const auto& id : run.planned) {
        const auto* c = find_case(id);
        if (c == nullptr)
            return failed(
                reports::exit_usage,
                fmt::format(
                    "--resume {}: it planned {}, which this build of ublkcheck does not have; run anew",
                    folder.string(), id));
        plan.push_back(c);
    }
    if (plan.empty())
        return failed(reports::exit_usage,
                      fmt::format("--resume {}: no run was begun in it; run anew", folder.string()));
    return plan;
}

Expected<int> resume(const RunOptions& now, reports::Terminal& terminal, Clock::time_point asked)
{
    const fs::path folder = now.resume.empty() ? fs::path(now.out) / "latest" : fs::path(now.resume);
    reports::Folded so_far;
    auto dir = reports::RunDir::resume(folder, so_far);
    if (!dir)
        return failed(reports::exit_usage, dir.error());
    auto options = saved_options(folder, now);
    if (!options)
        return std::unexpected(options.error());
    if (std::ranges::any_of(so_far.run.planned, is_kselftest)) {
        const auto scripts = get_kselftests(so_far.run.kernel.release, &terminal);
        if (!scripts)
            return std::unexpected(scripts.error());
        if (auto carried = carry_kselftests(*scripts, *options); !carried)
            return std::unexpected(carried.error());
    }
    const auto plan = plan_of(folder, so_far.run);
    if (!plan)
        return std::unexpected(plan.error());
    vm::Kernel kernel{.release = so_far.run.kernel.release, .source = so_far.run.kernel.source};
    if (!so_far.run.missing().empty()) { // else there is nothing to boot
        auto store = vm::KernelStore::open(options->packages, show_progress(terminal));
        if (!store)
            return failed(store.error());
        const auto specs = store->resolve(options->kernels.front());
        if (!specs)
            return failed(specs.error());
        auto found = store->fetch(specs->front());
        if (!found)
            return failed(found.error());
        if (found->release != kernel.release)
            return failed(reports::exit_usage,
                          fmt::format("--resume {}: it judged {}, and {} is {} now; run anew",
                                      folder.string(), kernel.release, options->kernels.front(),
                                      found->release));
        kernel = std::move(*found);
    }
    terminal.status("kernel", fmt::format("{}, {}", kernel.release, kernel.source));
    KernelRun run(*options, kernel, std::move(*dir), terminal, asked);
    const auto result = run.run(*plan, so_far);
    if (!result)
        return std::unexpected(result.error());
    if (auto written = write_json(now.json, reports::results_json(*result)); !written)
        return std::unexpected(written.error());
    return reports::exit_code(*result);
}

// The scripts of the kernel that is to be judged, which must be known for that.
Expected<void> prepare_kselftests(RunOptions& options, reports::Terminal& terminal)
{
    const auto kernel = fetch_kernel(options, terminal,
                                     "each has selftests of its own: judge one a run with suite kselftest");
    if (!kernel)
        return std::unexpected(kernel.error());
    const auto scripts = get_kselftests(kernel->release, &terminal);
    return scripts ? carry_kselftests(*scripts, options) : std::unexpected(scripts.error());
}

Expected<int> judge(RunOptions& options, reports::Terminal& terminal, Clock::time_point asked)
{
    if (options.kernels.empty())
        options.kernels = {"latest"};
    if (wants_kselftests(options.plan))
        if (auto prepared = prepare_kselftests(options, terminal); !prepared)
            return std::unexpected(prepared.error());
    const auto plan = plan_cases(options.plan);
    if (!plan)
        return failed(reports::exit_usage, plan.error());
    return judge_kernels(options, *plan, terminal, asked);
}

int run_command(RunOptions options)
{
    const auto asked = Clock::now();
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    catch_signals();
    Expected<int> code = 0;
    if (auto json = check_json(options.json); !json) {
        code = std::unexpected(json.error());
    } else if (options.resuming) {
        code = resume(options, terminal, asked);
    } else {
        code = judge(options, terminal, asked);
    }
    return conclude("run", code);
}

} // namespace

void add_run_command(CLI::App& app, int& exit_code)
{
    auto o = std::make_shared<RunOptions>();
    auto* run = app.add_subcommand("run", "judge kernels in a virtual machine");
    add_kernel_options(*run, *o);
    run->add_option("--case", o->plan.cases, "only ids that match this glob; may be given several times")
        ->take_all();
    run->add_option("--suite", o->plan.suites,
                    "only this suite; may be given several times; kselftest: the kernel's own selftests")
        ->take_all();
    run->add_option("--shard", o->plan.shard, "i/n: the i-th of n equal parts of the plan");
    run->add_option("--driver", o->driver, "a ublk_drv.ko that takes the place of the kernel's own");
    run->add_option("--isolation", o->isolation,
                    "case: each case from the saved state; none: one after the other")
        ->check(CLI::IsMember({"case", "none"}))
        ->capture_default_str();
    auto* resume_option =
        run->add_option("--resume", o->resume, "go on with an interrupted run; default: the latest")
            ->expected(0, 1);
    run->add_flag("--strict", o->strict, "a behaviour that differs fails the run");
    run->callback([o, run, resume_option, &exit_code] {
        static const std::set<std::string> allowed_with_resume{"--resume", "--out", "--json", "--timings"};
        o->resuming = resume_option->count() > 0;
        if (o->resuming)
            for (const auto* option : run->get_options())
                if (option->count() > 0 && !allowed_with_resume.contains(option->get_name())) {
                    fmt::print(stderr,
                               "ublkcheck run: --resume goes on with what the run was asked for; leave "
                               "{} out\n",
                               option->get_name());
                    exit_code = reports::exit_usage;
                    return;
                }
        o->command = command_line();
        exit_code = run_command(*o);
    });
}

} // namespace conformance
