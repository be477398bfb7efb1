// `ublkcheck run`: judges kernels.
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/kernel_run.hpp"
#include "reports/results_json.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <iostream>
#include <memory>
#include <set>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

void on_signal(int)
{
    // A second signal ends the program at once; the report is then written by --resume or `report`.
    if (interrupted.exchange(true))
        ::_exit(reports::exit_unexpected);
}

// As typed, for the report.
std::string command_line()
{
    std::ifstream file("/proc/self/cmdline");
    std::vector<std::string> words;
    for (std::string word; std::getline(file, word, '\0');)
        words.push_back(std::move(word));
    return shell_text(words);
}

vm::Progress progress(reports::Terminal& terminal)
{
    return {.note = [&terminal](std::string_view line) { terminal.status("kernel", line); }};
}

// --json is written when all is over: that it cannot be must be known before.
Expected<void> check_json(const std::string& file)
{
    if (file.empty())
        return {};
    std::error_code ec;
    const auto folder = fs::absolute(file).parent_path();
    if (fs::is_directory(file, ec) || !fs::is_directory(folder, ec) || ::access(folder.c_str(), W_OK) != 0)
        return failed(reports::exit_usage,
                      fmt::format("--json {}: no file can be written there; give a file in a directory that "
                                  "is there and writable",
                                  file));
    return {};
}

Expected<void> write_json(const std::string& file, const std::string& text)
{
    if (file.empty())
        return {};
    if (auto written = reports::write_whole(file, text); !written)
        return failed(reports::exit_no_run, written.error());
    return {};
}

// What a run over several kernels adds up to.
struct Several {
    std::vector<reports::IndexEntry> index;
    std::string last_json;
    std::optional<int> not_judged; // what the first kernel that was not judged would exit with
};

Expected<void> judge_one(const RunOptions& options, vm::KernelStore& store, const vm::KernelSpec& spec,
                         const std::vector<const Case*>& plan, reports::Terminal& terminal,
                         Clock::time_point asked, Several& several)
{
    const auto kernel = store.fetch(spec);
    if (interrupted)
        return failed(reports::exit_no_run, "interrupted while the kernel was made ready; run again");
    if (!kernel)
        return failed(kernel.error());
    terminal.status("kernel", fmt::format("{}, {}", kernel->release, kernel->source));
    if (!options.driver.empty())
        terminal.status("driver", options.driver);
    const bool packaged = spec.kind == vm::KernelSpec::Kind::packaged; // a path makes a poor name
    auto dir = reports::RunDir::create(options.out, packaged ? kernel->typed : kernel->release,
                                       std::chrono::system_clock::now());
    if (!dir)
        return failed(reports::exit_no_run, dir.error());
    if (auto saved = save_options(dir->path(), options, spec); !saved) {
        dir->discard();
        return saved;
    }
    KernelRun run(options, *kernel, std::move(*dir), terminal, asked);
    const auto result = run.run(plan, {});
    if (!result)
        return std::unexpected(result.error());
    several.index.push_back(reports::index_entry(run.folder().filename().string(), *result));
    several.last_json = reports::results_json(*result);
    return {};
}

Expected<int> run_all(const RunOptions& options, const std::vector<const Case*>& plan,
                      reports::Terminal& terminal, Clock::time_point asked)
{
    auto store = vm::KernelStore::open(options.packages, progress(terminal));
    if (!store)
        return failed(store.error());
    const auto specs = store->resolve(fmt::format("{}", fmt::join(options.kernels, " ")));
    if (interrupted)
        return failed(reports::exit_no_run, "interrupted while the kernel was looked up; run again");
    if (!specs)
        return failed(specs.error());
    Several several;
    for (const auto& spec : *specs) {
        const auto judged = judge_one(options, *store, spec, plan, terminal, asked, several);
        if (!judged && specs->size() == 1)
            return std::unexpected(judged.error());
        if (!judged) { // one kernel that cannot be had does not cost the others
            fmt::print(stderr, "ublkcheck run: {}\n", judged.error().message);
            several.not_judged = several.not_judged.value_or(judged.error().exit_code);
        }
        if (interrupted)
            break;
    }
    const auto index = reports::index_json(several.index);
    if (specs->size() > 1 && !several.index.empty())
        if (auto written = write_json((fs::path(options.out) / "index.json").string(), index); !written)
            return std::unexpected(written.error());
    if (auto written = write_json(options.json, specs->size() > 1 ? index : several.last_json); !written)
        return std::unexpected(written.error());
    const int code = several.index.empty() ? reports::exit_no_run : reports::exit_code(several.index);
    if (interrupted && several.index.size() < specs->size())
        return reports::exit_unexpected; // cut off: kernels are left
    return several.not_judged && code != reports::exit_unexpected ? *several.not_judged : code;
}

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
    const auto plan = plan_of(folder, so_far.run);
    if (!plan)
        return std::unexpected(plan.error());
    const auto options = saved_options(folder, now);
    if (!options)
        return std::unexpected(options.error());
    vm::Kernel kernel{.release = so_far.run.kernel.release, .source = so_far.run.kernel.source};
    if (!so_far.run.missing().empty()) { // else there is nothing to boot
        auto store = vm::KernelStore::open(options->packages, progress(terminal));
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

int run_command(RunOptions options)
{
    const auto asked = Clock::now();
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    struct sigaction action{};
    action.sa_handler = on_signal;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        ::sigaction(signal, &action, nullptr);

    Expected<int> code = 0;
    if (auto json = check_json(options.json); !json) {
        code = std::unexpected(json.error());
    } else if (options.resuming) {
        code = resume(options, terminal, asked);
    } else {
        if (options.kernels.empty())
            options.kernels = {"latest"};
        const auto plan = plan_cases(options.plan);
        code = plan ? run_all(options, *plan, terminal, asked) : failed(reports::exit_usage, plan.error());
    }
    if (code)
        return *code;
    fmt::print(stderr, "ublkcheck run: {}\n", code.error().message);
    return code.error().exit_code;
}

// CLI::Range lets "nan" through, which is in no range.
std::string check_scale(const std::string& text)
{
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    return end != text.c_str() && *end == '\0' && value >= 0.1 && value <= 100
               ? ""
               : fmt::format("'{}' is no number from 0.1 to 100", text);
}

} // namespace

void add_run_command(CLI::App& app, int& exit_code)
{
    auto o = std::make_shared<RunOptions>();
    auto* run = app.add_subcommand("run", "judge kernels in a virtual machine");
    run->add_option(
        "--kernel", o->kernels,
        "7.3 (newest packaged 7.3.x), latest, all, several; a.deb[,b.deb]; bzImage:MODULEDIR; a build tree");
    run->add_option("--case", o->plan.cases, "only ids that match this glob; may be given several times")
        ->take_all();
    run->add_option("--suite", o->plan.suites, "only this suite; may be given several times")->take_all();
    run->add_option("--shard", o->plan.shard, "i/n: the i-th of n equal parts of the plan");
    run->add_option("--driver", o->driver, "a ublk_drv.ko that takes the place of the kernel's own");
    run->add_option("--isolation", o->isolation,
                    "case: each case from the saved state; none: one after the other")
        ->check(CLI::IsMember({"case", "none"}))
        ->capture_default_str();
    run->add_option("--jobs", o->jobs, "machines side by side; 0: one for each core")
        ->check(CLI::Range(0, 256));
    run->add_option("--accel", o->accel, "how the machine runs; auto tries KVM by booting the kernel")
        ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
        ->capture_default_str();
    run->add_option("--memory", o->memory_mib, "MiB of each machine")
        ->check(CLI::Range(384, 65536))
        ->capture_default_str();
    run->add_option("--timeout-scale", o->timeout_scale, "multiplies every case's time limit")
        ->check(check_scale);
    run->add_option("--flavour", o->packages.flavour, "Debian's kernel flavour")
        ->check(CLI::IsMember({"cloud-amd64", "amd64"}))
        ->capture_default_str();
    run->add_option("--out", o->out, "where the folder of the run is made")->capture_default_str();
    run->add_option("--json", o->json, "write results.json to this file as well");
    auto* resume_option =
        run->add_option("--resume", o->resume, "go on with an interrupted run; default: the latest")
            ->expected(0, 1);
    run->add_flag("--strict", o->strict, "a behaviour that differs fails the run");
    run->add_flag("--timings", o->timings, "print what the run spent its time on");
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
