#include "conformance/ublkcheck/kernel_run.hpp"

#include "conformance/known/known.hpp"
#include "conformance/ublkcheck/clock.hpp"
#include "conformance/ublkcheck/consoles.hpp"
#include "conformance/ublkcheck/guest_image.hpp"
#include "vm/accel.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <thread>

namespace conformance {

std::atomic<bool> interrupted = false;

std::filesystem::path program_directory()
{
    std::error_code ec;
    return std::filesystem::read_symlink("/proc/self/exe", ec).parent_path();
}

namespace {

namespace fs = std::filesystem;

// What the host can still give, in MiB; 0 when it does not say.
unsigned long available_mib()
{
    std::ifstream info("/proc/meminfo");
    for (std::string name, unit; info >> name;) {
        unsigned long kib = 0;
        if (info >> kib; name == "MemAvailable:")
            return kib / 1024;
        std::getline(info, unit);
    }
    return 0;
}

void bound(std::vector<std::string>& log)
{
    constexpr std::size_t most_lines = 250, most_bytes = 500; // of a line; the guest keeps less of its own
    if (log.size() > most_lines)
        log.erase(log.begin(), log.end() - most_lines);
    for (auto& line : log)
        if (line.size() > most_bytes)
            line = line.substr(0, most_bytes) + "...";
}

} // namespace

KernelRun::KernelRun(const RunOptions& options, const vm::Kernel& kernel, reports::RunDir dir,
                     reports::Terminal& terminal, Clock::time_point asked)
    : options_(options), kernel_(kernel), dir_(std::move(dir)), terminal_(terminal), asked_(asked),
      version_(parse_version(kernel.release).value_or(ublk::uapi::KernelVersion{}))
{
}

Expected<reports::RunResult> KernelRun::run(const std::vector<const Case*>& plan,
                                            const reports::Folded& so_far)
{
    std::set<std::string> done;
    for (const auto& result : so_far.run.cases)
        done.insert(result.id);
    std::vector<const Case*> left;
    std::ranges::copy_if(plan, std::back_inserter(left),
                         [&](const Case* c) { return !done.contains(c->id); });
    keep_consoles(folder() / "machine", folder() / "console.log"); // of a run that was killed
    if (left.empty() && so_far.run.complete) {
        terminal_.note("every planned case has its verdict: nothing is left to do");
    } else if (const auto judged = judge(plan, left); !judged) {
        if (!first_ && done.empty())
            return std::unexpected(discard_run(dir_, judged.error()));
        fmt::print(stderr, "ublkcheck {}: {}; what was judged is in {}\n", options_.program,
                   judged.error().message, folder().string());
    }
    auto folded = dir_.finish();
    if (!folded)
        return failed(first_ || !done.empty() ? reports::exit_unexpected : reports::exit_no_run,
                      folded.error());
    terminal_.finish(folded->run, (folder() / "index.html").string());
    if (options_.timings)
        terminal_.timings(folded->run);
    return std::move(folded->run);
}

Expected<void> KernelRun::judge(const std::vector<const Case*>& plan, const std::vector<const Case*>& left)
{
    const auto machine = left.empty() ? Expected<PoolOptions>{} : prepare(left.size());
    if (!machine)
        keep_consoles(folder() / "machine", folder() / "console.log");
    if (!machine)
        return std::unexpected(machine.error());
    if (auto opened = open_run(plan); !opened)
        return opened;
    started_ = Clock::now();
    terminal_.begin(plan.size(), plan.size() - left.size(), options_.strict);
    const auto judged =
        left.empty()
            ? vm::Result<void>{}
            : run_cases(*machine, left, [&](const reports::Event& event) { take(event); }, interrupted);
    // Before the last event and the reports: they need the space on a disk that is full.
    keep_consoles(folder() / "machine", folder() / "console.log");
    record(reports::RunEnded{.complete = judged.has_value() && !interrupted,
                             .seconds = seconds_since(started_)});
    if (!trouble_.empty())
        return failed(reports::exit_no_run, trouble_);
    if (interrupted && !first_)
        return failed(reports::exit_no_run, "interrupted before the first verdict");
    if (!judged && !interrupted)
        return failed(judged.error());
    return {};
}

unsigned KernelRun::jobs_for(std::size_t cases) const
{
    const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
    unsigned jobs = options_.jobs != 0 ? options_.jobs : cores;
    // QEMU itself needs about half of this beside the guest's memory, most of it for translated code.
    constexpr unsigned qemu_mib = 512;
    if (const auto memory = available_mib(); options_.jobs == 0 && memory != 0)
        jobs = std::min(jobs, static_cast<unsigned>(memory / (options_.memory_mib + qemu_mib)));
    return std::clamp<unsigned>(jobs, 1, static_cast<unsigned>(std::max<std::size_t>(cases, 1)));
}

Expected<PoolOptions> KernelRun::prepare(std::size_t cases)
{
    const auto qemu = vm::find_qemu(); // first, because nothing is as often missing
    if (!qemu)
        return failed(qemu.error());
    if (const auto memory = available_mib(); memory != 0 && options_.memory_mib > memory)
        return failed(reports::exit_no_run,
                      fmt::format("--memory {}: this machine has {} MiB left; give less, or end something",
                                  options_.memory_mib, memory));
    const auto work = folder() / "machine";
    const auto initramfs = work / "initramfs";
    std::error_code ec;
    fs::create_directories(work, ec);
    if (ec)
        return failed(
            reports::exit_no_run,
            fmt::format("cannot make {}: {}; choose another folder with --out", work.string(), ec.message()));
    const auto started = Clock::now();
    if (auto written = write_guest_image(
            kernel_, {.programs = program_directory(), .driver = options_.driver, .extras = options_.extras},
            initramfs);
        !written)
        return failed(written.error());
    early_.push_back({"initramfs", seconds_since(started)});
    if (const auto missing = missing_programs(); !missing.empty())
        terminal_.note(fmt::format("not on this machine: {}; cases that need it are skipped, install fio, "
                                   "e2fsprogs and btrfs-progs",
                                   fmt::join(missing, ", ")));

    const auto request = options_.accel == "kvm"   ? vm::AccelRequest::kvm
                         : options_.accel == "tcg" ? vm::AccelRequest::tcg
                                                   : vm::AccelRequest::automatic;
    const auto accel = vm::choose_accel(request, kernel_.image, initramfs, vm::Cache::default_root());
    if (!accel)
        return failed(accel.error());
    PoolOptions pool;
    pool.jobs = jobs_for(cases);
    pool.isolation = options_.isolation == "none" ? Isolation::none : Isolation::each;
    pool.timeout_scale = options_.timeout_scale * options_.length;
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

Expected<void> KernelRun::open_run(const std::vector<const Case*>& plan)
{
    auto source = kernel_.source;
    if (!options_.driver.empty())
        source += fmt::format("; ublk_drv from {}, SHA-256 {}", options_.driver,
                              vm::sha256_of(options_.driver).value_or("unknown"));
    reports::RunStarted start{.started = now_text(),
                              .command = options_.command,
                              .machine = machine_text_,
                              .kernel = {.release = kernel_.release, .source = source},
                              .strict = options_.strict};
    for (const auto* c : plan)
        start.planned.push_back(c->id);
    if (auto written = dir_.append(start); !written)
        return failed(reports::exit_no_run, written.error());
    for (const auto& timing : early_)
        record(reports::TimingTaken{timing});
    return {};
}

void KernelRun::take(reports::Event event)
{
    if (auto* ended = std::get_if<reports::CaseEnded>(&event)) {
        auto& result = ended->result;
        if (result.suite != "selftest" && !options_.raw)
            apply_known(result, version_, known_defects());
        if (result.verdict != reports::Verdict::pass && result.verdict != reports::Verdict::skip)
            result.again = again_command(options_, kernel_, result.id);
        bound(result.log);
        if (!first_)
            record(reports::TimingTaken{{"first verdict, from the command", seconds_since(asked_)}});
        record(event);
        first_ = first_ || trouble_.empty();
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

void KernelRun::record(const reports::Event& event)
{
    if (auto written = dir_.append(event); !written && trouble_.empty()) {
        trouble_ = written.error();
        interrupted = true; // there is no point in judging what cannot be kept
    }
}

} // namespace conformance
