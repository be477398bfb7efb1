#include "conformance/ublkcheck/kselftest.hpp"

#include "conformance/known/known.hpp"
#include "conformance/kselftest/kselftest.hpp"
#include "conformance/ublkcheck/kernel_run.hpp"
#include "conformance/ublkcheck/temporary_file.hpp"
#include "vm/initramfs.hpp"
#include "vm/process.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <poll.h>
#include <sys/wait.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;

std::string last_line(const fs::path& file)
{
    std::ifstream stream(file);
    std::string last;
    for (std::string line; std::getline(stream, line);)
        if (!line.empty())
            last = line;
    return last;
}

// What the program that builds them says last: where they are, or why they are not.
Expected<std::string> run_builder(const std::vector<std::string>& arguments)
{
    const auto said = TemporaryFile::write("ublkcheck-kselftest", "");
    if (!said)
        return std::unexpected(said.error());
    ::setenv("UBLKCHECK", (program_directory() / "ublkcheck").c_str(), 1);
    auto builder = vm::Process::spawn(UBLKCHECK_KUBLK, arguments, {}, said->path());
    if (!builder)
        return failed(builder.error());
    while (builder->running()) {
        if (interrupted)
            return failed(reports::exit_no_run, "interrupted while the selftests were fetched; run again");
        pollfd end{builder->exit_fd(), POLLIN, 0};
        ::poll(&end, 1, 200);
    }
    auto line = last_line(said->path());
    const auto status = builder->wait_status();
    if (!status || !WIFEXITED(*status) || WEXITSTATUS(*status) != 0)
        return failed(reports::exit_no_run, fmt::format("the kernel's selftests cannot be had: {}",
                                                        line.empty() ? builder->describe_end() : line));
    return line;
}

} // namespace

bool is_kselftest(std::string_view id)
{
    return id.size() > kselftest::id_prefix.size() &&
           std::ranges::equal(id.substr(0, kselftest::id_prefix.size()), kselftest::id_prefix,
                              [](unsigned char a, unsigned char b) { return std::toupper(a) == b; });
}

bool wants_kselftests(const PlanOptions& plan)
{
    return std::ranges::find(plan.suites, kselftest::suite_name) != plan.suites.end() ||
           std::ranges::any_of(plan.cases, is_kselftest);
}

Expected<fs::path> get_kselftests(const std::string& release, reports::Terminal* terminal)
{
    std::vector<std::string> arguments;
    if (const auto version = parse_version(release))
        arguments.push_back(fmt::format("{}.{}", version->major, version->minor));
    if (terminal != nullptr)
        terminal->status("selftests", "from the kernel's packaged source, minutes when they are not cached");
    const auto kublk = run_builder(arguments);
    if (!kublk)
        return std::unexpected(kublk.error());
    const auto folder = fs::path(*kublk).parent_path();
    std::vector<std::string> scripts;
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator(folder, ec))
        if (const std::string name = entry.path().filename(); kselftest::is_script(name))
            scripts.push_back(name);
    if (scripts.empty())
        return failed(reports::exit_no_run,
                      fmt::format("there is no script in {}; remove it and run again", folder.string()));
    if (terminal != nullptr)
        terminal->status("selftests",
                         fmt::format("{} scripts of {}", scripts.size(), folder.filename().string()));
    kselftest::register_scripts(scripts);
    return folder;
}

Expected<void> carry_kselftests(const fs::path& folder, RunOptions& options)
{
    auto& extras = options.extras;
    std::error_code ec;
    for (const auto& entry : fs::recursive_directory_iterator(folder, ec))
        if (entry.is_regular_file(ec))
            extras.files.emplace_back(entry.path(),
                                      fmt::format("{}/{}", kselftest::guest_folder,
                                                  fs::relative(entry.path(), folder, ec).string()));
    for (const auto* program : kselftest::needed_programs) {
        const auto found = vm::find_program(program);
        if (!found)
            return failed(found.error());
        extras.programs.push_back(*found);
    }
    for (const auto* program : kselftest::optional_programs)
        if (const auto found = vm::find_program(program))
            extras.programs.push_back(*found);
    // Their files are of up to 256 MiB, in memory here.
    constexpr unsigned memory_mib = 2048;
    options.memory_mib = std::max(options.memory_mib, memory_mib);
    return {};
}

} // namespace conformance
