#include "conformance/ublkcheck/judge_kernels.hpp"

#include "conformance/ublkcheck/temporary_file.hpp"

#include "reports/html.hpp"
#include "reports/results_json.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
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
    if (options.after)
        options.after(run.folder(), *result);
    several.index.push_back(reports::index_entry(run.folder().filename().string(), *result));
    several.last_json = reports::results_json(*result);
    return {};
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

void add_kernel_options(CLI::App& command, RunOptions& options)
{
    command.add_option("--kernel", options.kernels,
                       "7.3 (newest packaged 7.3.x), latest, all, several; a.deb[,b.deb]; bzImage:MODULEDIR; "
                       "a build tree");
    command.add_option("--jobs", options.jobs, "machines side by side; 0: one for each core")
        ->check(CLI::Range(0, 256));
    command
        .add_option("--accel", options.accel, "how the machine runs; auto tries KVM by booting the kernel")
        ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
        ->capture_default_str();
    command.add_option("--memory", options.memory_mib, "MiB of each machine")
        ->check(CLI::Range(384, 65536))
        ->capture_default_str();
    command.add_option("--timeout-scale", options.timeout_scale, "multiplies every case's time limit")
        ->check(check_scale);
    command.add_option("--flavour", options.packages.flavour, "Debian's kernel flavour")
        ->check(CLI::IsMember({"cloud-amd64", "amd64"}))
        ->capture_default_str();
    command.add_option("--out", options.out, "where the folder of the run is made")->capture_default_str();
    command.add_option("--json", options.json, "write results.json to this file as well");
    command.add_flag("--timings", options.timings, "print what the run spent its time on");
}

CLI::Option* add_seed_option(CLI::App& command, std::uint64_t& seed, const std::string& description)
{
    return command.add_option("--seed", seed, description)->check([](const std::string& text) {
        return text.starts_with('-') ? fmt::format("{} is below 0, and no seed is", text) : "";
    });
}

std::string command_line()
{
    std::ifstream file("/proc/self/cmdline");
    std::vector<std::string> words;
    for (std::string word; std::getline(file, word, '\0');)
        words.push_back(std::move(word));
    return shell_text(words);
}

void catch_signals()
{
    struct sigaction action{};
    action.sa_handler = on_signal;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        ::sigaction(signal, &action, nullptr);
}

vm::Progress show_progress(reports::Terminal& terminal)
{
    return {.note = [&terminal](std::string_view line) { terminal.status("kernel", line); }};
}

Expected<vm::Kernel> fetch_kernel(const RunOptions& options, reports::Terminal& terminal,
                                  std::string_view why_one)
{
    auto store = vm::KernelStore::open(options.packages, show_progress(terminal));
    if (!store)
        return failed(store.error());
    const auto specs = store->resolve(fmt::format("{}", fmt::join(options.kernels, " ")));
    if (!specs)
        return failed(specs.error());
    if (specs->size() != 1)
        return failed(reports::exit_usage,
                      fmt::format("--kernel names {} kernels; {}", specs->size(), why_one));
    auto kernel = store->fetch(specs->front());
    if (interrupted)
        return failed(reports::exit_no_run, "interrupted while the kernel was made ready; run again");
    if (!kernel)
        return failed(kernel.error());
    return *std::move(kernel);
}

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

Expected<int> judge_kernels(const RunOptions& options, const std::vector<const Case*>& plan,
                            reports::Terminal& terminal, Clock::time_point asked)
{
    auto store = vm::KernelStore::open(options.packages, show_progress(terminal));
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
            fmt::print(stderr, "ublkcheck {}: {}\n", options.program, judged.error().message);
            several.not_judged = several.not_judged.value_or(judged.error().exit_code);
        }
        if (interrupted)
            break;
    }
    const auto index = reports::index_json(several.index);
    if (specs->size() > 1 && !several.index.empty())
        for (const auto& [name, text] :
             {std::pair{"index.json", index}, {"index.html", reports::index_html(several.index)}})
            if (auto written = write_json((fs::path(options.out) / name).string(), text); !written)
                return std::unexpected(written.error());
    if (auto written = write_json(options.json, specs->size() > 1 ? index : several.last_json); !written)
        return std::unexpected(written.error());
    const int code = several.index.empty() ? reports::exit_no_run : reports::exit_code(several.index);
    if (interrupted && several.index.size() < specs->size())
        return reports::exit_unexpected; // cut off: kernels are left
    return several.not_judged && code != reports::exit_unexpected ? *several.not_judged : code;
}

Expected<int> judge_kernels_with(const GuestText& text, RunOptions options,
                                 const std::vector<const Case*>& plan, reports::Terminal& terminal,
                                 std::chrono::steady_clock::time_point asked)
{
    const auto file = TemporaryFile::write("ublkcheck-" + text.name, text.text);
    if (!file)
        return std::unexpected(file.error());
    options.extras.files.emplace_back(file->path(), text.path);
    if (options.kernels.empty())
        options.kernels = {"latest"};
    return judge_kernels(options, plan, terminal, asked);
}

int conclude(std::string_view command, const Expected<int>& code)
{
    if (code)
        return *code;
    fmt::print(stderr, "ublkcheck {}: {}\n", command, code.error().message);
    return code.error().exit_code;
}

} // namespace conformance
