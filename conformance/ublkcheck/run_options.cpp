#include "conformance/ublkcheck/run_options.hpp"

#include "reports/rundir.hpp"
#include "vm/cache.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

namespace conformance {

namespace {

namespace fs = std::filesystem;
constexpr const char* file_name = "options.json";

// The KERNEL= that names exactly this kernel from any directory.
std::string exact_name(const vm::KernelSpec& spec)
{
    std::vector<std::string> files;
    for (const auto& file : spec.files)
        files.push_back(file.string());
    switch (spec.kind) {
    case vm::KernelSpec::Kind::packaged:
        return spec.label;
    case vm::KernelSpec::Kind::deb_files:
        return fmt::format("{}", fmt::join(files, ","));
    case vm::KernelSpec::Kind::image:
    case vm::KernelSpec::Kind::build_tree:
        return fmt::format("{}", fmt::join(files, ":"));
    }
    return spec.label;
}

std::string driver_hash(const std::string& driver)
{
    return driver.empty() ? "" : vm::sha256_of(driver).value_or("");
}

} // namespace

std::unexpected<Failed> failed(const vm::Error& error)
{
    return std::unexpected(Failed{
        error.kind == vm::Error::Kind::usage ? reports::exit_usage : reports::exit_no_run, error.message});
}

std::unexpected<Failed> failed(int exit_code, std::string message)
{
    return std::unexpected(Failed{exit_code, std::move(message)});
}

std::string shell_text(std::string_view word)
{
    constexpr std::string_view plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,=+@%^";
    if (!word.empty() && word.find_first_not_of(plain) == std::string_view::npos)
        return std::string(word);
    std::string text = "'";
    for (const char c : word)
        c == '\'' ? text.append("'\\''") : text.append(1, c);
    return text + "'";
}

std::string shell_text(std::span<const std::string> words)
{
    std::string text;
    for (const auto& word : words)
        text += (text.empty() ? "" : " ") + shell_text(word);
    return text;
}

std::string again_command(const RunOptions& options, const vm::Kernel& kernel, std::string_view id)
{
    const RunOptions usual;
    std::vector<std::string> words{"ublkcheck"};
    std::istringstream program(options.program); // "perf run" is two words
    std::copy(std::istream_iterator<std::string>(program), {}, std::back_inserter(words));
    words.insert(words.end(), {"--kernel", kernel.typed, "--case", std::string(id)});
    const auto add = [&words](const char* option, std::string value) {
        words.emplace_back(option);
        words.push_back(std::move(value));
    };
    if (!options.driver.empty())
        add("--driver", options.driver);
    if (options.packages.flavour != usual.packages.flavour)
        add("--flavour", options.packages.flavour);
    if (options.accel != usual.accel)
        add("--accel", options.accel);
    if (options.memory_mib != usual.memory_mib)
        add("--memory", std::to_string(options.memory_mib));
    if (options.timeout_scale != usual.timeout_scale)
        add("--timeout-scale", fmt::format("{}", options.timeout_scale));
    if (options.strict)
        words.emplace_back("--strict");
    words.insert(words.end(), options.arguments.begin(), options.arguments.end());
    return shell_text(words);
}

Expected<void> save_options(const fs::path& folder, const RunOptions& options, const vm::KernelSpec& spec)
{
    if (options.program != "run")
        return {}; // --resume says that there is nothing to go on with
    const nlohmann::json json{{"schema", 1},
                              {"kernel", exact_name(spec)},
                              {"driver", options.driver.empty() ? "" : fs::absolute(options.driver).string()},
                              {"driver_sha256", driver_hash(options.driver)},
                              {"flavour", options.packages.flavour},
                              {"isolation", options.isolation},
                              {"accel", options.accel},
                              {"jobs", options.jobs},
                              {"memory_mib", options.memory_mib},
                              {"timeout_scale", options.timeout_scale},
                              {"strict", options.strict}};
    const auto text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (auto written = reports::write_whole(folder / file_name, text); !written)
        return failed(reports::exit_no_run, written.error());
    return {};
}

Expected<RunOptions> saved_options(const fs::path& folder, const RunOptions& now)
{
    const auto file = folder / file_name;
    std::ifstream stream(file);
    const auto json = nlohmann::json::parse(stream, nullptr, false);
    RunOptions options = now;
    std::string hash;
    try {
        options.kernels = {json.at("kernel").get<std::string>()};
        options.driver = json.at("driver").get<std::string>();
        hash = json.at("driver_sha256").get<std::string>();
        options.packages.flavour = json.at("flavour").get<std::string>();
        options.isolation = json.at("isolation").get<std::string>();
        options.accel = json.at("accel").get<std::string>();
        options.jobs = json.at("jobs").get<unsigned>();
        options.memory_mib = json.at("memory_mib").get<unsigned>();
        options.timeout_scale = json.at("timeout_scale").get<double>();
        options.strict = json.at("strict").get<bool>();
    } catch (const nlohmann::json::exception&) {
        return failed(reports::exit_usage,
                      fmt::format("{} does not say what the run was asked for, so it cannot go on; run anew",
                                  file.string()));
    }
    if (driver_hash(options.driver) != hash)
        return failed(reports::exit_usage,
                      fmt::format("--resume {}: {} is not the module any more that it judged; run anew",
                                  folder.string(), options.driver));
    return options;
}

} // namespace conformance
