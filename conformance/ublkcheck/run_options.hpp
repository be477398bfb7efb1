// What a run was asked for, and what of it a repetition or --resume must be given again.
#pragma once

#include "conformance/ublkcheck/plan.hpp"
#include "reports/result.hpp"
#include "vm/error.hpp"
#include "vm/kernel.hpp"

#include <expected>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conformance {

// What the guest holds besides the guest program, ublk-serve and what every case may need.
struct GuestExtras {
    std::vector<std::filesystem::path> programs{}; // become /bin/<file name>, with their libraries
    std::vector<std::pair<std::filesystem::path, std::string>> files{}; // host file -> absolute guest path
    std::vector<std::string> modules{};                                 // of the kernel; all must be there
};

struct RunOptions {
    std::vector<std::string> kernels;
    PlanOptions plan;
    std::string driver, isolation = "case", accel = "auto", out = "out", json, resume;
    vm::KernelOptions packages;
    unsigned jobs = 0, memory_mib = 512;
    double timeout_scale = 1;
    // How much more there is to do than the limits of the cases are made for; multiplies them as well.
    double length = 1;
    bool strict = false, timings = false, resuming = false;
    bool raw = false;    // verdicts as the cases gave them, without the list of known defects
    std::string command; // as typed
    // The subcommand, and what follows its options, for the command that repeats a case.
    std::string program = "run";
    std::vector<std::string> arguments{};
    GuestExtras extras{}; // of `ublkcheck run` there are none, and only it can be resumed
    // Called with each kernel's folder and result, after its report.
    std::function<void(const std::filesystem::path&, const reports::RunResult&)> after{};
};

// Why a run could not go on, in one sentence, and what the program then exits with.
struct Failed {
    int exit_code;
    std::string message;
};
template <typename T>
using Expected = std::expected<T, Failed>;
std::unexpected<Failed> failed(const vm::Error& error);
std::unexpected<Failed> failed(int exit_code, std::string message);

// One word of a shell command: quoted where a shell would read it as anything else.
std::string shell_text(std::string_view word);
std::string shell_text(std::span<const std::string> words);

// The command that repeats one case on the same kernel, with the same driver and the same machine.
std::string again_command(const RunOptions& options, const vm::Kernel& kernel, std::string_view id);

// Keeps in a run's folder what --resume goes on with; `spec` is the kernel that this folder is about. Error:
// the file cannot be written.
Expected<void> save_options(const std::filesystem::path& folder, const RunOptions& options,
                            const vm::KernelSpec& spec);
// The options of the run in `folder`, with out, json and timings as in `now`. Errors: the file is damaged or
// not there, the driver has changed since.
Expected<RunOptions> saved_options(const std::filesystem::path& folder, const RunOptions& now);

} // namespace conformance
