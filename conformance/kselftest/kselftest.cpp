#include "conformance/kselftest/kselftest.hpp"

#include "conformance/driver/case.hpp"
#include "conformance/driver/expect.hpp"
#include "conformance/kselftest/ktap.hpp"
#include "conformance/server/process.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/ranges.h>
#include <fstream>
#include <iterator>
#include <memory>
#include <unistd.h>

namespace conformance::kselftest {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view prefix = "test_", suffix = ".sh";

// The scripts' own limit is 150 s, for machines that are not emulated.
constexpr std::chrono::minutes script_limit{10};

std::string text_of(const fs::path& file)
{
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

// No udevd runs here, and devtmpfs makes nodes at once: there is nothing to wait for.
void settle_at_once()
{
    const char* path = "/bin/udevadm";
    std::ofstream(path) << "#!/bin/sh\nexit 0\n";
    fs::permissions(path, fs::perms::owner_all);
}

std::vector<std::string> missing_programs_of(const std::string& text)
{
    std::vector<std::string> missing;
    for (const std::string name : optional_programs)
        if (text.contains(name) && !has_program(name))
            missing.push_back(name);
    return missing;
}

void keep(const std::string& script, const Output& output)
{
    for (const auto& result : output.results)
        record_measurement({.subject = result.name,
                            .load = script,
                            .metric = "result of the script",
                            .conclusion = std::string(to_string(result.kind))});
}

void run_script(const std::string& script)
{
    const auto folder = fs::path(guest_folder);
    if (!fs::exists(folder / script))
        skip("needs the kernel's selftests: `ublkcheck run` brings them along");
    settle_at_once();
    fs::current_path(folder);
    ::setenv("TMPDIR", "/tmp", 1);
    const auto finished = run_program({"/bin/bash", (folder / script).string()});
    const auto output = parse_output(finished.output);
    keep(script, output);
    const auto judgement = judge_script(finished.status, output);
    if (judgement.kind == Judgement::Kind::failed)
        fail(judgement.expected, judgement.observed);
    if (judgement.kind == Judgement::Kind::skipped) {
        const auto missing = missing_programs_of(text_of(folder / script));
        skip(missing.empty()
                 ? judgement.reason
                 : fmt::format("{}; not on this machine: {}", judgement.reason, fmt::join(missing, ", ")));
    }
    count_check();
}

} // namespace

bool is_script(std::string_view file_name)
{
    return file_name.starts_with(prefix) && file_name.ends_with(suffix) && file_name != "test_common.sh" &&
           file_name.size() > prefix.size() + suffix.size();
}

std::string id_of(std::string_view script)
{
    std::string id(id_prefix);
    for (const char c : script.substr(prefix.size(), script.size() - prefix.size() - suffix.size()))
        id += c == '_' ? '-' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return id;
}

void register_scripts(const std::vector<std::string>& scripts)
{
    for (const auto& script : scripts)
        CaseRegistration(id_of(script), contract, fmt::format("the kernel's selftest {} passes", script),
                         [script] { run_script(script); },
                         {in_suite(std::string(suite_name), true), timeout(script_limit)});
}

void register_guest_scripts()
{
    std::vector<std::string> scripts;
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator(guest_folder, ec))
        if (const std::string name = entry.path().filename(); is_script(name))
            scripts.push_back(name);
    register_scripts(scripts);
}

} // namespace conformance::kselftest
