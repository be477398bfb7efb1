// `ublkcheck perf run`: ublk-serve beside the kernel's own drivers.
#include "conformance/ublkcheck/perf.hpp"

#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/exact_run.hpp"
#include "conformance/ublkcheck/judge_kernels.hpp"
#include "conformance/ublkcheck/temporary_file.hpp"
#include "perf/counts.hpp"
#include "perf/table.hpp"
#include "reports/results_json.hpp"
#include "vm/initramfs.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <unistd.h>

namespace conformance {

namespace {

using Clock = std::chrono::steady_clock;

std::vector<std::string> modules_of(const perf::Plan& plan)
{
    std::vector<std::string> modules;
    for (const auto& subject : plan.subjects) {
        if (subject.kind == perf::Subject::Kind::null_blk)
            modules.emplace_back("null_blk");
        if (subject.kind == perf::Subject::Kind::brd)
            modules.emplace_back("brd");
        if (subject.kind == perf::Subject::Kind::loop)
            modules.emplace_back("loop");
    }
    return modules;
}

// The plan waits in `files` until the guest's image holds it.
Expected<GuestExtras> extras_of(const PerfPass& pass, std::vector<TemporaryFile>& files)
{
    auto file = TemporaryFile::write("ublkcheck-perf", perf::to_json(pass.plan));
    if (!file)
        return std::unexpected(file.error());
    files.push_back(std::move(*file));
    auto programs = pass.programs;
    programs.push_back(program_directory() / "ublkcheck-load");
    return GuestExtras{.programs = programs,
                       .files = {{files.back().path(), std::string(perf::plan_file)}},
                       .modules = modules_of(pass.plan)};
}

// A case's own limit, of five minutes, is for the usual plan.
double time_scale(const RunOptions& options, const perf::Plan& plan)
{
    constexpr double job_overhead = 4, usual = 240; // seconds, in emulation on a busy host
    const double jobs = plan.rounds * static_cast<double>(plan.subjects.size());
    return options.timeout_scale * std::max(1.0, jobs * (plan.runtime + job_overhead) / usual);
}

int run_command(const PerfOptions& options)
{
    const auto asked = Clock::now();
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    catch_signals();
    if (!options.kublk.empty() && !options.exact)
        return conclude("perf run",
                        failed(reports::exit_usage, "--kublk is measured by counting: add --exact"));
    PerfPass pass;
    if (!options.kublk.empty()) {
        const auto program = vm::find_program(options.kublk);
        if (!program)
            return conclude("perf run", failed(program.error()));
        pass.programs.push_back(*program);
    }
    auto& plan = pass.plan = perf::usual_plan(options.exact, options.kublk.filename().string());
    if (options.rounds != 0)
        plan.rounds = options.rounds;
    if (options.runtime != 0)
        plan.runtime = options.runtime;
    const auto only = [](const std::vector<reports::CaseResult>& results) { return results.front(); };
    const auto run = measure(options, {pass}, only, terminal, asked);
    if (!run)
        return conclude("perf run", std::unexpected(run.error()));
    fmt::print("\n{}", perf::run_table(*run));
    return reports::exit_code(*run);
}

} // namespace

Expected<reports::RunResult> measure(const PerfOptions& options, std::vector<PerfPass> passes,
                                     const PerfCombine& combine, reports::Terminal& terminal,
                                     Clock::time_point asked)
{
    auto run_options = options.run;
    if (auto json = check_json(run_options.json); !json)
        return std::unexpected(json.error());
    run_options.plan.suites = {"perf"};
    const auto plan = plan_cases(run_options.plan);
    if (!plan)
        return failed(reports::exit_usage, plan.error());
    if (!options.exact && !vm::find_program("fio"))
        return failed(reports::exit_no_run,
                      "fio is not on this machine: install it (apt install fio), or count "
                      "instructions with --exact");
    if (run_options.kernels.empty())
        run_options.kernels = {"latest"};
    const auto kernel = fetch_kernel(run_options, terminal, "measure on one");
    if (!kernel)
        return std::unexpected(kernel.error());
    terminal.status("kernel", fmt::format("{}, {}", kernel->release, kernel->source));
    std::vector<TemporaryFile> files;
    std::vector<GuestExtras> extras;
    for (const auto& pass : passes) {
        auto more = extras_of(pass, files);
        if (!more)
            return std::unexpected(more.error());
        extras.push_back(std::move(*more));
    }
    const auto& first = passes.front().plan;
    terminal.status(
        "measuring",
        options.exact
            ? fmt::format("instructions per I/O, median of {} repetitions, scheduler none", first.rounds)
            : fmt::format("fio, {} rounds of {} s each, in turn, scheduler none, one queue of 128",
                          first.rounds, first.runtime));
    auto dir = reports::RunDir::create(run_options.out, kernel->release, std::chrono::system_clock::now());
    if (!dir)
        return failed(reports::exit_no_run, dir.error());
    Expected<reports::RunResult> result = failed(reports::exit_no_run, "nothing was measured");
    if (options.exact) {
        ExactRun run(run_options, *kernel, std::move(*dir), terminal, asked);
        const auto add_counts = [&](std::size_t number, std::span<reports::CaseResult> results,
                                    const std::string& counts) -> std::expected<void, std::string> {
            const auto intervals = perf::read_user_work(counts);
            if (!intervals)
                return std::unexpected(intervals.error());
            return perf::add_counts(passes[number].plan, results, *intervals);
        };
        result = run.run(*plan, extras, add_counts, combine);
    } else {
        run_options.jobs = 1; // neighbours would be measured with it
        run_options.timeout_scale = time_scale(run_options, first);
        run_options.extras = extras.front();
        KernelRun run(run_options, *kernel, std::move(*dir), terminal, asked);
        result = run.run(*plan, {});
    }
    if (!result)
        return result;
    if (auto written = write_json(run_options.json, reports::results_json(*result)); !written)
        return std::unexpected(written.error());
    return result;
}

void add_perf_options(CLI::App& command, PerfOptions& options)
{
    add_kernel_options(command, options.run);
    command.add_option("--case", options.run.plan.cases, "only loads whose ids match this glob: PERF-4K-*")
        ->take_all();
    command.add_flag("--exact", options.exact,
                     "count guest instructions on a machine with a clock of its own");
    command.add_option("--rounds", options.rounds, "how often each subject is measured")
        ->check(CLI::Range(1, 1000));
    command.add_option("--runtime", options.runtime, "seconds of each fio job")
        ->check(CLI::Range(0.1, 3600.0));
}

void add_perf_command(CLI::App& app, int& exit_code)
{
    auto* perf = app.add_subcommand("perf", "measure ublk-serve");
    perf->require_subcommand(1);
    auto o = std::make_shared<PerfOptions>();
    auto* run = perf->add_subcommand("run", "ublk-serve beside null_blk, brd and loop");
    add_perf_options(*run, *o);
    run->add_option("--kublk", o->kublk,
                    "with --exact: the kernel's test server beside it (ci/kublk builds it)");
    run->callback([o, &exit_code] {
        o->run.program = "perf run";
        o->run.command = command_line();
        exit_code = run_command(*o);
    });
    add_perf_compare_command(*perf, exit_code);
}

} // namespace conformance
