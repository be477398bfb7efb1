// `ublkcheck kernels`: which kernels there are; `ublkcheck kernels fetch SPEC`: have them here.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "conformance/ublkcheck/commands.hpp"
#include "vm/kernel.hpp"

namespace conformance {
namespace {

struct KernelsArguments {
    vm::KernelOptions options;
    std::string json;
    std::vector<std::string> wanted;
};

int exit_code_of(const vm::Error& error)
{
    fmt::print(stderr, "ublkcheck kernels: {}\n", error.message);
    return error.kind == vm::Error::Kind::usage ? 2 : 3;
}

// Notes as lines; loading as one line that is written over, where somebody watches.
vm::Progress progress_on_terminal()
{
    const bool watched = ::isatty(STDERR_FILENO) == 1;
    vm::Progress progress;
    progress.note = [watched](std::string_view line) {
        fmt::print(stderr, "{}{}\n", watched ? "\r\x1b[K" : "", line);
    };
    if (watched)
        progress.bytes = [](std::string_view what, std::uint64_t done, std::uint64_t total) {
            constexpr double megabyte = 1e6;
            fmt::print(stderr, "\r\x1b[K{}  {:.1f} of {:.1f} MB", what, static_cast<double>(done) / megabyte,
                       static_cast<double>(total) / megabyte);
            if (done >= total && total != 0)
                fmt::print(stderr, "\r\x1b[K");
            (void)std::fflush(stderr);
        };
    return progress;
}

nlohmann::json json_of(const vm::ListedKernel& kernel)
{
    return {{"release", kernel.release},
            {"kernel", kernel.typed},
            {"layout", kernel.layout},
            {"suite", kernel.suite},
            {"cached", kernel.cached}};
}

nlohmann::json json_of(const vm::Kernel& kernel)
{
    return {{"release", kernel.release},      {"kernel", kernel.typed},
            {"image", kernel.image.string()}, {"modules", kernel.modules.string()},
            {"source", kernel.source},        {"sig_enforce", kernel.sig_enforce}};
}

template <typename Items>
vm::Result<void> write_json(const std::string& file, const Items& items)
{
    if (file.empty())
        return {};
    nlohmann::json list = nlohmann::json::array();
    for (const auto& item : items)
        list.push_back(json_of(item));
    auto written = vm::write_file(file, nlohmann::json{{"schema", 1}, {"kernels", list}}.dump(2) + "\n");
    if (!written)
        return vm::usage_error(
            fmt::format("--json {}: the file cannot be written; give another place", file));
    return written;
}

vm::Result<void> list_kernels(const KernelsArguments& arguments)
{
    auto store = vm::KernelStore::open(arguments.options, progress_on_terminal());
    if (!store)
        return std::unexpected(store.error());
    const auto kernels = store->list();
    if (!kernels)
        return std::unexpected(kernels.error());
    fmt::print("{:<14} {:<28} {:<20} {:<7} {}\n", "KERNEL=", "release", "suite", "cached", "packages");
    for (const auto& kernel : *kernels)
        fmt::print("{:<14} {:<28} {:<20} {:<7} {}\n", kernel.typed.size() > 14 ? "" : kernel.typed,
                   kernel.release, kernel.suite.empty() ? "(cache only)" : kernel.suite,
                   kernel.cached ? "yes" : "-", kernel.layout);
    return write_json(arguments.json, *kernels);
}

vm::Result<void> fetch_kernels(const KernelsArguments& arguments)
{
    auto store = vm::KernelStore::open(arguments.options, progress_on_terminal());
    if (!store)
        return std::unexpected(store.error());
    const auto specs = store->resolve(fmt::format("{}", fmt::join(arguments.wanted, " ")));
    if (!specs)
        return std::unexpected(specs.error());
    std::vector<vm::Kernel> fetched;
    for (const auto& spec : *specs) {
        auto kernel = store->fetch(spec);
        if (!kernel)
            return std::unexpected(kernel.error());
        fmt::print("{}\n  {}\n", kernel->release, kernel->source);
        fetched.push_back(std::move(*kernel));
    }
    return write_json(arguments.json, fetched);
}

} // namespace

void add_kernels_command(CLI::App& app, int& exit_code)
{
    const auto arguments = std::make_shared<KernelsArguments>();
    auto* kernels = app.add_subcommand("kernels", "list the packaged kernels, and which of them are cached");
    const auto add_options = [&arguments](CLI::App& command) {
        command.add_option("--flavour", arguments->options.flavour, "Debian's kernel flavour")
            ->check(CLI::IsMember({"cloud-amd64", "amd64"}))
            ->capture_default_str();
        command.add_flag("--all-suites", arguments->options.all_suites,
                         "look in sid and experimental as well");
        command.add_flag("--refresh", arguments->options.refresh,
                         "load the package index even if it is fresh");
        command.add_option("--json", arguments->json, "write the answer to this file as well")
            ->type_name("FILE");
    };
    add_options(*kernels);
    auto* fetch = kernels->add_subcommand("fetch", "fetch and verify kernels into the cache");
    add_options(*fetch);
    fetch
        ->add_option("KERNEL", arguments->wanted, "as for make conformance KERNEL=: 7.3, latest, all, a file")
        ->required();
    const auto finish = [&exit_code](const vm::Result<void>& done) {
        exit_code = done ? 0 : exit_code_of(done.error());
    };
    fetch->callback([arguments, finish] { finish(fetch_kernels(*arguments)); });
    kernels->callback([arguments, finish, fetch] {
        if (!fetch->parsed())
            finish(list_kernels(*arguments));
    });
}

} // namespace conformance
