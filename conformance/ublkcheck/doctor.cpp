// `ublkcheck doctor`: what of this machine stands in the way of a run. Looks, and starts nothing but
// `qemu --version`.
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/guest_image.hpp"
#include "reports/rundir.hpp"
#include "vm/accel.hpp"
#include "vm/apt_sources.hpp"
#include "vm/cache.hpp"
#include "vm/file_io.hpp"
#include "vm/initramfs.hpp"

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;

struct Finding {
    std::string name;
    bool ok = true;
    std::string text;  // what there is, or what is missing and its mend
    bool vital = true; // without it no run can start
};

Finding ok(std::string name, std::string text)
{
    return {.name = std::move(name), .text = std::move(text)};
}
Finding missing(std::string name, std::string text, bool vital)
{
    return {.name = std::move(name), .ok = false, .text = std::move(text), .vital = vital};
}

Finding look_at_qemu()
{
    const auto qemu = vm::find_qemu();
    return qemu ? ok("qemu", fmt::format("{}, {}", qemu->version, qemu->path.string()))
                : missing("qemu", qemu.error().message, true);
}

// The answers of trial boots: a run makes them, one for each kernel.
std::string trials(const fs::path& cache)
{
    const auto text = vm::read_file(cache / "accel.json");
    using Answers = std::map<std::string, std::string>; // key -> why KVM does not work, "" when it does
    Answers known;
    if (const auto json = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
        json.is_object())
        for (const auto& [key, value] : json.items())
            if (value.is_string())
                known[key] = value.get<std::string>();
    std::string boot_id;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
    std::string why;
    bool tried = false;
    for (const auto& [key, answer] : known) {
        if (!key.starts_with(boot_id)) // of an earlier boot of this machine
            continue;
        if (answer.empty())
            return "opens, and has booted a kernel";
        tried = true;
        why = answer;
    }
    return tried ? why + ": runs use emulation" : "opens; the first run tries it";
}

Finding look_at_kvm(const fs::path& cache)
{
    const int fd = ::open("/dev/kvm", O_RDWR | O_CLOEXEC); // NOLINT(*-vararg)
    if (fd >= 0) {
        ::close(fd);
        return ok("kvm", trials(cache));
    }
    return missing("kvm",
                   errno == ENOENT
                       ? "no /dev/kvm, runs use emulation: enable virtualisation in the firmware or the host"
                       : "/dev/kvm does not open, runs use emulation: add your user to its group",
                   false);
}

Finding look_at_memory()
{
    constexpr unsigned long wanted = 1200; // MiB: one machine of 512 and QEMU itself
    std::ifstream info("/proc/meminfo");
    unsigned long kib = 0;
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("MemAvailable:"))
            kib = std::strtoul(line.c_str() + line.find(':') + 1, nullptr, 10);
    const auto mib = kib / 1024;
    return mib >= wanted ? ok("memory", fmt::format("{} MiB available", mib))
                         : missing("memory",
                                   fmt::format("{} MiB available: a machine wants {}; end something, or take "
                                               "--memory 384 --jobs 1",
                                               mib, wanted),
                                   false);
}

// The nearest directory that is there: the rest will be made.
fs::path existing(fs::path path)
{
    std::error_code ec;
    path = fs::absolute(path, ec);
    while (!fs::exists(path, ec) && path != path.parent_path())
        path = path.parent_path();
    return path;
}

Finding look_at_disk(const char* name, const fs::path& wanted, const char* mend)
{
    constexpr std::uintmax_t need = 300; // MB: a kernel with its packages, or the machines of a run
    const auto place = existing(wanted);
    std::error_code ec;
    if (!fs::is_directory(place, ec))
        return missing(name, fmt::format("{} is no directory: move it away, or {}", place.string(), mend),
                       true);
    if (::access(place.c_str(), W_OK | X_OK) != 0)
        return missing(name, fmt::format("{} cannot be written: {}", place.string(), mend), true);
    const auto free = fs::space(place, ec).available / 1'000'000;
    if (ec || free < need)
        return missing(name,
                       fmt::format("{} has {} MB left, a run wants {}: free some, or {}", place.string(),
                                   free, need, mend),
                       true);
    return ok(name, fmt::format("{}, {} MB free", wanted.string(), free));
}

void look_at_programs(std::vector<Finding>& findings)
{
    std::error_code ec;
    const auto here = fs::read_symlink("/proc/self/exe", ec).parent_path();
    for (const auto* program : {"ublkcheck-guest", "ublkcheck-load", "ublk-serve"})
        findings.push_back(vm::find_program(here / program)
                               ? ok(program, (here / program).string())
                               : missing(program, "not beside ublkcheck: make build", true));
    for (const auto* program : {"fio", "mkfs.ext4", "e2fsck"}) {
        const auto found = vm::find_program(program);
        findings.push_back(found
                               ? ok(program, found->string())
                               : missing(program, found.error().message + "; its cases are skipped", false));
    }
}

void look_at_kernels(std::vector<Finding>& findings, const fs::path& cache)
{
    std::vector<std::string> cached;
    std::error_code ec;
    if (fs::is_directory(cache, ec))
        if (const auto opened = vm::Cache::open(cache))
            for (const auto& [key, manifest] : opened->kernels())
                cached.push_back(manifest.release);
    const bool alone = cached.empty(); // then a kernel must come through apt, or be given as a file
    bool apt = true;
    for (const auto* program : {"apt-get", "apt-config"})
        if (apt && !vm::find_program(program)) {
            findings.push_back(missing(
                "apt", fmt::format("{} is not on this machine: give KERNEL= a file", program), alone));
            apt = false;
        }
    if (apt)
        findings.push_back(ok("apt", "apt-get"));
    if (const auto mirror = vm::find_debian_mirror()) {
        findings.push_back(ok("mirror", fmt::format("from {}; not asked", mirror->origin)));
        findings.push_back(ok("keyring", mirror->keyring.string()));
    } else {
        findings.push_back(missing("mirror", mirror.error().message, alone));
    }
    findings.push_back(ok("kernels", alone ? "none cached; a run fetches the one it needs"
                                           : fmt::format("cached: {}", fmt::join(cached, ", "))));
}

int doctor(const std::string& out, const std::string& json)
{
    const auto cache = vm::Cache::default_root();
    std::vector<Finding> findings{look_at_qemu(), look_at_kvm(cache)};
    findings.push_back(ok("cores", std::to_string(std::max(1U, std::thread::hardware_concurrency()))));
    findings.push_back(look_at_memory());
    findings.push_back(look_at_disk("cache", cache, "set UBLKCHECK_CACHE to another directory"));
    findings.push_back(look_at_disk("out", out, "choose another with --out"));
    look_at_programs(findings);
    look_at_kernels(findings, cache);

    bool could_run = true;
    auto list = nlohmann::json::array();
    for (const auto& finding : findings) {
        fmt::print("{:<16} {}{}\n", finding.name, finding.ok ? "ok       " : "missing: ", finding.text);
        could_run = could_run && (finding.ok || !finding.vital);
        list.push_back(
            {{"name", finding.name}, {"ok", finding.ok}, {"vital", finding.vital}, {"text", finding.text}});
    }
    fmt::print("{}\n", could_run ? "a run can start" : "no run can start before what is missing is mended");
    if (!json.empty()) {
        const auto text = nlohmann::json{{"schema", 1}, {"could_run", could_run}, {"findings", list}}.dump(2);
        if (auto written = reports::write_whole(json, text + "\n"); !written) {
            fmt::print(stderr, "ublkcheck doctor: --json {}: {}\n", json, written.error());
            return reports::exit_no_run;
        }
    }
    return could_run ? reports::exit_expected : reports::exit_no_run;
}

} // namespace

void add_doctor_command(CLI::App& app, int& exit_code)
{
    auto out = std::make_shared<std::string>("out");
    auto json = std::make_shared<std::string>();
    auto* command = app.add_subcommand("doctor", "say what of this machine stands in the way of a run");
    command->add_option("--out", *out, "where runs are to leave their folders")->capture_default_str();
    command->add_option("--json", *json, "write the findings to this file as well");
    command->callback([out, json, &exit_code] { exit_code = doctor(*out, *json); });
}

} // namespace conformance
