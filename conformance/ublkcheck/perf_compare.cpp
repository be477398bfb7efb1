// `ublkcheck perf compare A B`: is ublk-serve of commit B slower than that of commit A?
#include "conformance/ublkcheck/judge_kernels.hpp"
#include "conformance/ublkcheck/perf.hpp"
#include "conformance/ublkcheck/revisions.hpp"
#include "perf/comparison.hpp"
#include "perf/table.hpp"
#include "vm/cache.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Both are measured by this name, so that nothing in the guest but the program differs.
const std::string exact_program = "ublk-serve-subject";

struct Side {
    Revision revision;
    std::string name;   // "A 1a2b3c4d"
    fs::path program{}; // built
};

// Holds the built programs until the guests have them.
class Programs {
  public:
    explicit Programs(fs::path folder) : folder_(std::move(folder)) {}
    ~Programs()
    {
        std::error_code ec;
        fs::remove_all(folder_, ec);
    }
    Programs(const Programs&) = delete;
    Programs& operator=(const Programs&) = delete;
    const fs::path& folder() const { return folder_; }

  private:
    fs::path folder_;
};

Expected<void> build_sides(std::vector<Side>& sides, bool exact, const Programs& programs,
                           reports::Terminal& terminal)
{
    const BuildPlace place{vm::Cache::default_root() / "revisions",
                           [&](std::string_view what) { terminal.status("building", what); }};
    for (auto& side : sides) {
        // Equal commits are one program.
        const auto twin = std::ranges::find_if(sides, [&](const Side& other) {
            return !other.program.empty() && other.revision.commit == side.revision.commit;
        });
        const auto letter = side.name.substr(0, 1);
        const auto program = programs.folder() / letter / (exact ? exact_program : "ublk-serve-" + letter);
        if (twin == sides.end()) {
            if (auto built = build_revision(side.revision, place, program); !built)
                return built;
        } else {
            std::error_code ec;
            fs::create_directories(program.parent_path(), ec);
            fs::copy_file(twin->program, program, fs::copy_options::overwrite_existing, ec);
            if (ec)
                return failed(reports::exit_no_run,
                              fmt::format("{} cannot be written: {}", program.string(), ec.message()));
        }
        side.program = program;
    }
    return {};
}

perf::Subject subject(std::string name, std::string program, const std::string& backend)
{
    return {.name = std::move(name), .program = std::move(program), .backend = backend};
}

// One boot, everybody in turn: A, A again for the noise, and B.
std::vector<PerfPass> noisy_pass(const PerfOptions& options, const std::vector<Side>& sides)
{
    perf::Plan plan{.rounds = options.rounds != 0 ? options.rounds : 10,
                    .runtime = options.runtime != 0 ? options.runtime : 0.5,
                    .compare = true};
    for (const auto& backend : options.backends) {
        const auto base = fmt::format("{} {}", sides[0].name, backend);
        plan.subjects.push_back(subject(base, sides[0].program.filename(), backend));
        plan.subjects.push_back(subject(base + ", again", sides[0].program.filename(), backend));
        plan.subjects.back().repeats = base;
        plan.subjects.push_back(
            subject(fmt::format("{} {}", sides[1].name, backend), sides[1].program.filename(), backend));
        plan.against.push_back(base);
    }
    return {{.plan = plan, .programs = {sides[0].program, sides[1].program}}};
}

// Equal sources give equal programs, and so do many changes that no instruction comes of.
bool same_program(const std::vector<Side>& sides)
{
    return vm::sha256_of(sides[0].program) == vm::sha256_of(sides[1].program);
}

// A boot for each, which differ in nothing but the program.
std::vector<PerfPass> exact_passes(const PerfOptions& options, const std::vector<Side>& sides)
{
    perf::Plan plan{.exact = true, .rounds = options.rounds != 0 ? options.rounds : 5};
    for (const auto& backend : options.backends)
        plan.subjects.push_back(subject(backend, exact_program, backend));
    std::vector<PerfPass> passes{{.plan = plan, .programs = {sides[0].program}}};
    if (!same_program(sides))
        passes.push_back({.plan = plan, .programs = {sides[1].program}});
    return passes;
}

reports::CaseResult pair_results(const std::vector<Side>& sides,
                                 const std::vector<reports::CaseResult>& results)
{
    for (const auto& result : results)
        if (result.verdict != reports::Verdict::pass)
            return result;
    auto result = results.back(); // the same program is counted once
    const auto load =
        std::ranges::find_if(perf::loads(), [&](const auto& l) { return perf::case_id(l) == result.id; });
    result.measurements = perf::pair_up(*load, sides[0].name, sides[1].name, results.front().measurements,
                                        results.back().measurements);
    result.title =
        fmt::format("{} is not slower than {} under {}", sides[1].name, sides[0].name, load->title);
    std::vector<std::string> slower;
    for (const auto& m : result.measurements)
        if (!m.against.empty() && perf::conclude_exact(m, load->exact_gate).change == perf::Change::slower)
            slower.push_back(
                fmt::format("{} is {} than {} in {}", m.subject, m.conclusion, m.against, m.metric));
    if (!slower.empty()) {
        result.verdict = reports::Verdict::fail;
        result.expected = fmt::format("a count that is at most {:.1f} % higher", 100 * load->exact_gate);
        result.observed = fmt::format("{}", fmt::join(slower, "; "));
    }
    return result;
}

Expected<int> compare(const PerfOptions& options, const std::string& a, const std::string& b,
                      reports::Terminal& terminal, Clock::time_point asked)
{
    std::vector<Side> sides;
    for (const auto& [typed, letter] : {std::pair{a, 'A'}, std::pair{b, 'B'}}) {
        auto revision = find_revision(typed);
        if (!revision)
            return std::unexpected(revision.error());
        const auto name = fmt::format("{} {}", letter, revision->short_name());
        sides.push_back({std::move(*revision), name});
    }
    const Programs programs(vm::Cache::default_root() / "revisions" / fmt::format("programs-{}", ::getpid()));
    if (auto built = build_sides(sides, options.exact, programs, terminal); !built)
        return std::unexpected(built.error());
    if (same_program(sides))
        terminal.status("programs", options.exact ? "A and B are the same, byte for byte: counted once"
                                                  : "A and B are the same, byte for byte");
    const auto combine = [&](const std::vector<reports::CaseResult>& results) {
        return pair_results(sides, results);
    };
    const auto run =
        measure(options, options.exact ? exact_passes(options, sides) : noisy_pass(options, sides), combine,
                terminal, asked);
    if (!run)
        return std::unexpected(run.error());
    fmt::print("\n{}", perf::compare_table(*run));
    return reports::exit_code(*run);
}

} // namespace

void add_perf_compare_command(CLI::App& perf, int& exit_code)
{
    auto o = std::make_shared<PerfOptions>();
    auto revisions = std::make_shared<std::pair<std::string, std::string>>();
    auto* command = perf.add_subcommand("compare", "ublk-serve of two commits");
    command->add_option("A", revisions->first, "any name that git has for a commit")->required();
    command->add_option("B", revisions->second, "is it slower than A? `.` is the work tree as it is")
        ->required();
    add_perf_options(*command, *o);
    command->add_option("--type", o->backends, "backends of ublk-serve: null, memory, file")
        ->check(CLI::IsMember({"null", "memory", "file"}))
        ->default_val(std::vector<std::string>{"null", "memory"});
    command->callback([o, revisions, &exit_code] {
        o->run.program = "perf compare";
        o->run.arguments = {revisions->first, revisions->second};
        if (o->exact)
            o->run.arguments.emplace_back("--exact");
        o->run.command = command_line();
        const auto asked = Clock::now();
        reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
        catch_signals();
        exit_code =
            conclude("perf compare", compare(*o, revisions->first, revisions->second, terminal, asked));
    });
}

} // namespace conformance
