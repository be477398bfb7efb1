// `ublkcheck run`: judges kernels.
#include "conformance/known/known.hpp"
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/guest_image.hpp"
#include "conformance/ublkcheck/plan.hpp"
#include "conformance/ublkcheck/pool.hpp"
#include "reports/results_json.hpp"
#include "reports/rundir.hpp"
#include "reports/terminal.hpp"
#include "vm/accel.hpp"
#include "vm/kernel.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <memory>
#include <set>
#include <thread>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::atomic<bool> interrupted = false;

void on_signal(int)
{
    // A second signal ends the program at once; the report is then written by --resume or `report`.
    if (interrupted.exchange(true))
        ::_exit(130);
}

struct RunOptions {
    std::vector<std::string> kernels;
    PlanOptions plan;
    std::string driver, isolation = "case", accel = "auto", out = "out", json, resume;
    vm::KernelOptions packages;
    unsigned jobs = 0, memory_mib = 512;
    double timeout_scale = 1;
    bool strict = false, timings = false, resuming = false;
    std::string command; // as typed
};

struct Failed {
    int exit_code;
    std::string message;
};
template <typename T>
using Expected = std::expected<T, Failed>;

std::unexpected<Failed> failed(const vm::Error& error)
{
    return std::unexpected(Failed{
        error.kind == vm::Error::Kind::usage ? reports::exit_usage : reports::exit_no_run, error.message});
}
std::unexpected<Failed> failed(int exit_code, std::string message)
{
    return std::unexpected(Failed{exit_code, std::move(message)});
}

fs::path program_directory()
{
    std::error_code ec;
    return fs::read_symlink("/proc/self/exe", ec).parent_path();
}

// As typed, for the report.
std::string command_line()
{
    std::ifstream file("/proc/self/cmdline");
    std::string text(std::istreambuf_iterator<char>(file), {});
    if (!text.empty() && text.back() == '\0')
        text.pop_back();
    std::ranges::replace(text, '\0', ' ');
    return text;
}

double seconds_since(Clock::time_point start)
{
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// Judges one kernel and leaves its folder.
class KernelRun {
  public:
    KernelRun(const RunOptions& options, const vm::Kernel& kernel, reports::RunDir dir,
              reports::Terminal& terminal, Clock::time_point asked)
        : options_(options), kernel_(kernel), dir_(std::move(dir)), terminal_(terminal), asked_(asked)
    {
        const auto version = parse_version(kernel.release);
        version_ = version.value_or(ublk::uapi::KernelVersion{});
    }

    // The folded result; planned cases that have a verdict in `so_far` are not run again.
    Expected<reports::RunResult> run(const std::vector<const Case*>& plan, const reports::Folded& so_far)
    {
        std::set<std::string> done;
        for (const auto& result : so_far.run.cases)
            done.insert(result.id);
        std::vector<const Case*> left;
        std::ranges::copy_if(plan, std::back_inserter(left),
                             [&](const Case* c) { return !done.contains(c->id); });

        auto machine = prepare(left.size());
        if (!machine)
            return std::unexpected(machine.error());
        if (auto opened = open_run(plan); !opened)
            return std::unexpected(opened.error());
        started_ = Clock::now();
        terminal_.begin(plan.size(), plan.size() - left.size(), options_.strict);
        const auto judged =
            left.empty()
                ? vm::Result<void>{}
                : run_cases(*machine, left, [&](const reports::Event& event) { take(event); }, interrupted);
        record(reports::RunEnded{.complete = judged.has_value() && !interrupted,
                                 .seconds = seconds_since(started_)});
        auto folded = dir_.finish();
        if (!folded)
            return failed(reports::exit_no_run, folded.error());
        terminal_.finish(folded->run, dir_.path().string());
        if (options_.timings)
            terminal_.timings(folded->run);
        if (!judged && !interrupted)
            return failed(judged.error());
        if (!trouble_.empty())
            return failed(reports::exit_no_run, trouble_);
        return std::move(folded->run);
    }

    const fs::path& folder() const { return dir_.path(); }

  private:
    Expected<PoolOptions> prepare(std::size_t cases)
    {
        const auto work = dir_.path() / "machine";
        std::error_code ec;
        fs::create_directories(work, ec);
        const auto initramfs = work / "initramfs";
        const auto started = Clock::now();
        if (auto written = write_guest_image(
                kernel_, {.programs = program_directory(), .driver = options_.driver}, initramfs);
            !written)
            return failed(written.error());
        early_.push_back({"initramfs", seconds_since(started)});

        const auto request = options_.accel == "kvm"   ? vm::AccelRequest::kvm
                             : options_.accel == "tcg" ? vm::AccelRequest::tcg
                                                       : vm::AccelRequest::automatic;
        const auto accel = vm::choose_accel(request, kernel_.image, initramfs, vm::Cache::default_root());
        if (!accel)
            return failed(accel.error());
        const auto qemu = vm::find_qemu();
        if (!qemu)
            return failed(qemu.error());
        const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
        PoolOptions pool;
        pool.jobs = std::clamp<unsigned>(options_.jobs != 0 ? options_.jobs : cores, 1,
                                         static_cast<unsigned>(std::max<std::size_t>(cases, 1)));
        pool.isolation = options_.isolation == "none" ? Isolation::none : Isolation::each;
        pool.timeout_scale = options_.timeout_scale;
        pool.machine = {.image = kernel_.image,
                        .initramfs = initramfs,
                        .work_dir = work,
                        .memory_mib = options_.memory_mib,
                        .accel = accel->accel,
                        .sig_enforce = kernel_.sig_enforce};
        machine_text_ = fmt::format("QEMU {}, {}, {} worker{}", qemu->version, accel->why, pool.jobs,
                                    pool.jobs == 1 ? "" : "s");
        terminal_.status("machine", machine_text_);
        return pool;
    }

    Expected<void> open_run(const std::vector<const Case*>& plan)
    {
        reports::RunStarted start{.started = fmt::format("{}", now_text()),
                                  .command = options_.command,
                                  .machine = machine_text_,
                                  .kernel = {.release = kernel_.release, .source = kernel_.source},
                                  .strict = options_.strict};
        for (const auto* c : plan)
            start.planned.push_back(c->id);
        if (auto written = dir_.append(start); !written)
            return failed(reports::exit_no_run, written.error());
        for (const auto& timing : early_)
            record(reports::TimingTaken{timing});
        return {};
    }

    static std::string now_text()
    {
        const std::time_t now = std::time(nullptr);
        std::tm utc{};
        ::gmtime_r(&now, &utc);
        char text[32];
        std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
        return text;
    }

    // One at a time, from the pool's threads.
    void take(reports::Event event)
    {
        if (auto* ended = std::get_if<reports::CaseEnded>(&event)) {
            auto& result = ended->result;
            if (result.suite != "selftest")
                apply_known(result, version_, known_defects());
            if (result.verdict != reports::Verdict::pass && result.verdict != reports::Verdict::skip)
                result.again = fmt::format("ublkcheck run --kernel {} --case {}{}", kernel_.typed, result.id,
                                           options_.driver.empty() ? "" : " --driver " + options_.driver);
            if (!first_) {
                first_ = true;
                record(reports::TimingTaken{{"first verdict, from the command", seconds_since(asked_)}});
            }
            record(event);
            terminal_.ended(result, seconds_since(started_));
            return;
        }
        if (const auto* note = std::get_if<reports::HarnessNote>(&event))
            terminal_.note(note->message);
        if (const auto* ready = std::get_if<reports::GuestReady>(&event)) {
            for (const auto& line : ready->boot_log)
                terminal_.note("at boot: " + line);
        }
        record(event);
        terminal_.tick(seconds_since(started_));
    }

    void record(const reports::Event& event)
    {
        if (auto written = dir_.append(event); !written && trouble_.empty()) {
            trouble_ = written.error();
            interrupted = true; // there is no point in judging what cannot be kept
        }
    }

    const RunOptions& options_;
    const vm::Kernel& kernel_;
    reports::RunDir dir_;
    reports::Terminal& terminal_;
    Clock::time_point asked_, started_;
    ublk::uapi::KernelVersion version_;
    std::vector<reports::Timing> early_;
    std::string machine_text_, trouble_;
    bool first_ = false;
};

vm::Progress progress(reports::Terminal& terminal)
{
    return {.note = [&terminal](std::string_view line) { terminal.status("kernel", line); }};
}

int conclude(const RunOptions& options, const std::vector<reports::IndexEntry>& index, int code)
{
    if (index.size() > 1) {
        if (auto written =
                reports::write_whole(fs::path(options.out) / "index.json", reports::index_json(index));
            !written) {
            fmt::print(stderr, "ublkcheck run: {}\n", written.error());
            return reports::exit_no_run;
        }
    }
    return code;
}

Expected<int> run_all(const RunOptions& options, const std::vector<const Case*>& plan,
                      reports::Terminal& terminal, Clock::time_point asked)
{
    auto store = vm::KernelStore::open(options.packages, progress(terminal));
    if (!store)
        return failed(store.error());
    std::string text;
    for (const auto& part : options.kernels)
        text += (text.empty() ? "" : " ") + part;
    const auto specs = store->resolve(text);
    if (!specs)
        return failed(specs.error());
    std::vector<reports::IndexEntry> index;
    int code = reports::exit_expected;
    for (const auto& spec : *specs) {
        const auto kernel = store->fetch(spec);
        if (!kernel)
            return failed(kernel.error());
        terminal.status("kernel", fmt::format("{}, {}", kernel->release, kernel->source));
        auto dir = reports::RunDir::create(options.out, kernel->typed, std::chrono::system_clock::now());
        if (!dir)
            return failed(reports::exit_no_run, dir.error());
        KernelRun run(options, *kernel, std::move(*dir), terminal, asked);
        auto result = run.run(plan, {});
        if (!result)
            return std::unexpected(result.error());
        code = std::max(code, reports::exit_code(*result));
        index.push_back(reports::index_entry(run.folder().filename().string(), *result));
        if (!options.json.empty()) {
            if (auto written = reports::write_whole(options.json, reports::results_json(*result)); !written)
                return failed(reports::exit_no_run, written.error());
        }
        if (interrupted)
            break;
    }
    return conclude(options, index, code);
}

Expected<int> resume(RunOptions options, reports::Terminal& terminal, Clock::time_point asked)
{
    const fs::path folder =
        options.resume.empty() ? fs::path(options.out) / "latest" : fs::path(options.resume);
    reports::Folded so_far;
    auto dir = reports::RunDir::resume(folder, so_far);
    if (!dir)
        return failed(reports::exit_usage, dir.error());
    std::vector<const Case*> plan;
    for (const auto& id : so_far.run.planned) {
        const auto* c = find_case(id);
        if (c == nullptr)
            return failed(
                reports::exit_usage,
                fmt::format("{}: it planned {}, which this build of ublkcheck does not have; run anew",
                            folder.string(), id));
        plan.push_back(c);
    }
    if (plan.empty())
        return failed(reports::exit_usage,
                      fmt::format("{}: no run was begun in it; run anew", folder.string()));
    auto store = vm::KernelStore::open(options.packages, progress(terminal));
    if (!store)
        return failed(store.error());
    const auto specs =
        store->resolve(options.kernels.empty() ? so_far.run.kernel.release : options.kernels.front());
    if (!specs)
        return failed(specs.error());
    const auto kernel = store->fetch(specs->front());
    if (!kernel)
        return failed(kernel.error());
    if (kernel->release != so_far.run.kernel.release)
        return failed(reports::exit_usage,
                      fmt::format("{}: it judged {}, not {}; give that one as --kernel", folder.string(),
                                  so_far.run.kernel.release, kernel->release));
    options.strict = so_far.run.strict;
    terminal.status("kernel", fmt::format("{}, {}", kernel->release, kernel->source));
    KernelRun run(options, *kernel, std::move(*dir), terminal, asked);
    const auto result = run.run(plan, so_far);
    if (!result)
        return std::unexpected(result.error());
    return reports::exit_code(*result);
}

int run_command(RunOptions options)
{
    const auto asked = Clock::now();
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    struct sigaction action{};
    action.sa_handler = on_signal;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);

    Expected<int> code = 0;
    if (options.resuming) {
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
        ->check(CLI::Range(256, 65536))
        ->capture_default_str();
    run->add_option("--timeout-scale", o->timeout_scale, "multiplies every case's time limit")
        ->check(CLI::Range(0.1, 100.0));
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
    run->callback([o, resume_option, &exit_code] {
        o->resuming = resume_option->count() > 0;
        if (o->resuming && (!o->plan.cases.empty() || !o->plan.suites.empty() || !o->plan.shard.empty())) {
            fmt::print(stderr, "ublkcheck run: --resume goes on with the plan of the interrupted run; leave "
                               "--case, --suite and --shard out\n");
            exit_code = reports::exit_usage;
            return;
        }
        o->command = command_line();
        exit_code = run_command(*o);
    });
}

} // namespace conformance
