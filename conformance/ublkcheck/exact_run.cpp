#include "conformance/ublkcheck/exact_run.hpp"

#include "conformance/guest/init.hpp"
#include "conformance/ublkcheck/clock.hpp"
#include "conformance/ublkcheck/consoles.hpp"
#include "conformance/ublkcheck/guest_image.hpp"
#include "conformance/ublkcheck/kernel_run.hpp"
#include "vm/accel.hpp"
#include "vm/machine.hpp"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <future>
#include <iterator>

namespace conformance {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// Of a pass, by the host's clock. The guest's own limits on cases go by its clock, which a stuck guest may
// stop.
constexpr auto pass_limit = 20min;

// 8.2 and later know version 2 only.
bool has_plugins_of_version_1(const std::string& qemu)
{
    int major = 0, minor = 0;
    return std::sscanf(qemu.c_str(), "%d.%d", &major, &minor) == 2 &&
           (major < 8 || (major == 8 && minor < 2));
}

} // namespace

Expected<ExactRun::Pass> ExactRun::boot_and_listen(const std::vector<const Case*>& plan,
                                                   const GuestExtras& extras, std::size_t number) const
{
    const auto work = folder() / "machine" / fmt::format("pass{}", number + 1);
    std::error_code ec;
    fs::create_directories(work, ec);
    std::string ids;
    for (const auto* c : plan)
        ids += c->id + "\n";
    if (auto written = reports::write_whole(work / "unattended", ids); !written)
        return failed(reports::exit_no_run, written.error());
    auto content = extras;
    content.files.emplace_back(work / "unattended", std::string(unattended_file));
    const auto initramfs = work / "initramfs.cpio";
    if (auto written = write_guest_image(
            kernel_, {.programs = program_directory(), .driver = options_.driver, .extras = content},
            initramfs);
        !written)
        return failed(written.error());
    const auto counts = work / "counts";
    auto machine = vm::Machine::boot(
        {.image = kernel_.image,
         .initramfs = initramfs,
         .work_dir = work,
         .memory_mib = options_.memory_mib,
         .exact = true,
         .plugin = plugin_.empty() ? "" : fmt::format("{},out={}", plugin_.string(), counts.string()),
         .sig_enforce = kernel_.sig_enforce});
    if (!machine)
        return failed(machine.error());
    Pass pass;
    const auto end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(pass_limit * options_.timeout_scale);
    while (pass.results.size() < plan.size()) {
        const auto read = machine->read_line(200ms);
        if (interrupted)
            return failed(reports::exit_no_run, "interrupted before everything was counted");
        if (read.kind == vm::ReadOutcome::Kind::timeout && Clock::now() < end)
            continue;
        if (read.kind == vm::ReadOutcome::Kind::timeout)
            return failed(reports::exit_no_run,
                          fmt::format("the guest has not counted everything within {:.0f} minutes; give it "
                                      "longer with --timeout-scale",
                                      20 * options_.timeout_scale));
        if (read.kind != vm::ReadOutcome::Kind::line)
            return failed(reports::exit_no_run,
                          "the machine ended before everything was counted: " + read.text);
        const auto event = reports::decode(read.text);
        if (!event)
            continue;
        if (const auto* ready = std::get_if<reports::GuestReady>(&*event))
            pass.ready = *ready;
        if (const auto* ended = std::get_if<reports::CaseEnded>(&*event))
            pass.results.push_back(ended->result);
    }
    std::ifstream file(counts);
    pass.counts.assign(std::istreambuf_iterator<char>(file), {});
    return pass;
}

Expected<std::vector<ExactRun::Pass>> ExactRun::all_passes(const std::vector<const Case*>& plan,
                                                           const std::vector<GuestExtras>& passes) const
{
    // Side by side: a machine with its own clock does not notice its neighbour.
    const auto policy = options_.jobs == 1 ? std::launch::deferred : std::launch::async;
    std::vector<std::future<Expected<Pass>>> futures;
    for (std::size_t i = 0; i < passes.size(); ++i)
        futures.push_back(std::async(policy, [&, i] { return boot_and_listen(plan, passes[i], i); }));
    std::vector<Expected<Pass>> done;
    for (auto& future : futures)
        done.push_back(future.get());
    std::vector<Pass> result;
    for (auto& pass : done) {
        if (!pass)
            return std::unexpected(pass.error());
        result.push_back(std::move(*pass));
    }
    return result;
}

Expected<reports::RunResult> ExactRun::run(const std::vector<const Case*>& plan,
                                           const std::vector<GuestExtras>& passes,
                                           const AddCounts& add_counts, const Combine& combine)
{
    const auto qemu = vm::find_qemu();
    if (!qemu) {
        dir_.discard();
        return failed(qemu.error());
    }
    machine_text_ = fmt::format("QEMU {}, TCG with a clock that counts instructions, 1 CPU", qemu->version);
    terminal_.status("machine", machine_text_);
    if (has_plugins_of_version_1(qemu->version))
        plugin_ = program_directory() / "ublkcheck-count.so";
    else
        terminal_.note(
            fmt::format("QEMU {} has another interface for plugins: the server's own instructions are "
                        "not counted; QEMU 6.0 to 8.1 would count them",
                        qemu->version));
    auto counted = all_passes(plan, passes);
    keep_consoles(folder() / "machine", folder() / "console.log");
    if (!counted)
        return std::unexpected(discard_run(dir_, counted.error()));
    for (std::size_t i = 0; i < counted->size() && !plugin_.empty(); ++i)
        if (const auto added = add_counts(i, (*counted)[i].results, (*counted)[i].counts); !added)
            return std::unexpected(discard_run(dir_, Failed{reports::exit_no_run, added.error()}));
    return write_down(plan, *counted, combine);
}

Expected<reports::RunResult> ExactRun::write_down(const std::vector<const Case*>& plan,
                                                  const std::vector<Pass>& passes, const Combine& combine)
{
    reports::RunStarted start{.started = now_text(),
                              .command = options_.command,
                              .machine = machine_text_,
                              .kernel = {.release = kernel_.release, .source = kernel_.source},
                              .strict = options_.strict};
    for (const auto* c : plan)
        start.planned.push_back(c->id);
    std::vector<reports::Event> events{start};
    if (passes.front().ready)
        events.emplace_back(*passes.front().ready);
    terminal_.begin(plan.size(), 0, options_.strict);
    for (const auto* c : plan) {
        std::vector<reports::CaseResult> results;
        for (const auto& pass : passes) {
            const auto found = std::ranges::find(pass.results, c->id, &reports::CaseResult::id);
            if (found != pass.results.end())
                results.push_back(*found);
        }
        if (results.size() < passes.size())
            continue; // the run then has a gap, and says so
        auto result = combine(results);
        if (result.verdict != reports::Verdict::pass && result.verdict != reports::Verdict::skip)
            result.again = again_command(options_, kernel_, result.id);
        events.emplace_back(reports::CaseEnded{result});
        terminal_.ended(result, seconds_since(asked_));
    }
    events.emplace_back(reports::RunEnded{.complete = true, .seconds = seconds_since(asked_)});
    for (const auto& event : events)
        if (auto written = dir_.append(event); !written)
            return failed(reports::exit_no_run, written.error());
    auto folded = dir_.finish();
    if (!folded)
        return failed(reports::exit_no_run, folded.error());
    terminal_.finish(folded->run, folder().string());
    return std::move(folded->run);
}

} // namespace conformance
