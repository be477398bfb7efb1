// `ublkcheck report DIR`: renders a run again from its events, also one that was cut off.
#include <cstdio>
#include <expected>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "conformance/ublkcheck/commands.hpp"
#include "reports/html.hpp"
#include "reports/results_json.hpp"
#include "reports/rundir.hpp"
#include "reports/terminal.hpp"

namespace conformance {
namespace {

namespace fs = std::filesystem;

struct ReportArguments {
    std::string folder = "out/latest";
    std::string json;
    bool timings = false;
};

int refuse(const std::string& why)
{
    fmt::print(stderr, "ublkcheck report: {}\n", why);
    return reports::exit_usage;
}

std::expected<reports::RunResult, std::string> render(reports::Terminal& terminal, const fs::path& folder,
                                                      bool timings)
{
    auto folded = reports::load_run(folder);
    if (!folded)
        return std::unexpected{folded.error()};
    for (const auto& damaged : folded->damaged)
        terminal.note(fmt::format("{}: {}", (folder / "events.jsonl").string(), damaged));
    auto& run = folded->run;
    terminal.status("kernel", run.kernel.release.empty() ? "never answered" : run.kernel.release);
    for (const auto& c : run.cases)
        terminal.problem(c, run.strict);
    if (timings)
        terminal.timings(run);
    if (auto written = reports::write_reports(folder, run); !written)
        return std::unexpected{written.error()};
    terminal.finish(run, (folder / "index.html").string());
    return std::move(run);
}

// The folders of a run over several kernels, or just the one.
std::expected<std::vector<std::string>, std::string> folders_of(const fs::path& index)
{
    std::ifstream in(index, std::ios::binary);
    if (!in)
        return std::vector<std::string>{};
    std::ostringstream text;
    text << in.rdbuf();
    const auto runs = reports::read_index_json(text.str());
    if (!runs)
        return std::unexpected{
            fmt::format("{}: {}; name the folder of one of its runs instead", index.string(), runs.error())};
    std::vector<std::string> folders;
    for (const auto& run : *runs)
        folders.push_back(run.folder);
    return folders;
}

std::expected<int, std::string> report(const ReportArguments& arguments)
{
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    const fs::path top = arguments.folder;
    const auto folders = folders_of(top / "index.json");
    if (!folders)
        return std::unexpected{folders.error()};
    if (folders->empty()) {
        const auto run = render(terminal, top, arguments.timings);
        if (!run)
            return std::unexpected{run.error()};
        if (!arguments.json.empty())
            if (auto written = reports::write_whole(arguments.json, reports::results_json(*run)); !written)
                return std::unexpected{written.error()};
        return reports::exit_code(*run);
    }
    std::vector<reports::IndexEntry> index;
    for (const auto& folder : *folders) {
        const auto run = render(terminal, top / folder, arguments.timings);
        if (!run)
            return std::unexpected{run.error()};
        index.push_back(reports::index_entry(folder, *run));
    }
    for (const auto& file : {(top / "index.json").string(), arguments.json})
        if (!file.empty())
            if (auto written = reports::write_whole(file, reports::index_json(index)); !written)
                return std::unexpected{written.error()};
    if (auto written = reports::write_whole(top / "index.html", reports::index_html(index)); !written)
        return std::unexpected{written.error()};
    return reports::exit_code(index);
}

} // namespace

void add_report_command(CLI::App& app, int& exit_code)
{
    auto arguments = std::make_shared<ReportArguments>();
    auto* command = app.add_subcommand("report", "render a run again from its events");
    command->add_option("DIR", arguments->folder, "Folder of a run, or one with an index.json")
        ->capture_default_str();
    command->add_option("--json", arguments->json, "Write the result to this file, too");
    command->add_flag("--timings", arguments->timings, "Show what the harness spent its time on");
    command->callback([arguments, &exit_code] {
        const auto code = report(*arguments);
        exit_code = code ? *code : refuse(code.error());
    });
}

} // namespace conformance
