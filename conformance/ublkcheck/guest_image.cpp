#include "conformance/ublkcheck/guest_image.hpp"

#include "vm/initramfs.hpp"
#include "vm/kernel_modules.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string>

namespace conformance {

namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 4> optional_programs{"fio", "mkfs.ext4", "e2fsck", "mkfs.btrfs"};
// Modules that a case loads itself, see conformance/server/modules.hpp.
constexpr std::array<const char*, 3> on_demand{"loop", "brd", "btrfs"};

// ublk_drv.ko, ublk_drv.ko.xz, ...
bool is_driver(const fs::path& module)
{
    return module.filename().string().starts_with("ublk_drv.ko");
}

vm::Result<void> check_driver(const fs::path& driver, const vm::Kernel& kernel)
{
    std::error_code ec;
    if (!fs::is_regular_file(driver, ec))
        return vm::usage_error(fmt::format("--driver {}: there is no such file", driver.string()));
    if (!is_driver(driver))
        return vm::usage_error(fmt::format("--driver {}: the file must be a ublk_drv.ko", driver.string()));
    const auto info = vm::read_module_info(driver);
    if (!info)
        return vm::usage_error(fmt::format("--driver {}: {}", driver.string(), info.error().message));
    if (info->vermagic_release != kernel.release)
        return vm::usage_error(fmt::format(
            "--driver {}: it was built for {}, and the kernel is {}; build it against that kernel's headers",
            driver.string(), info->vermagic_release, kernel.release));
    if (kernel.sig_enforce)
        return vm::usage_error(fmt::format(
            "--driver {}: the modules of {} are in no package index, so that kernel takes only signed "
            "modules; choose another kernel",
            driver.string(), kernel.release));
    return {};
}

vm::Result<std::vector<fs::path>> guest_modules(const vm::Kernel& kernel, const GuestOptions& options)
{
    const auto& driver = options.driver;
    if (!driver.empty())
        if (auto checked = check_driver(driver, kernel); !checked)
            return std::unexpected(checked.error());
    // Without these there is no conversation and nothing to judge; some kernels have them built in.
    std::vector<std::string> needed{"virtio_pci", "virtio_console", "ublk_drv"};
    needed.insert(needed.end(), options.extras.modules.begin(), options.extras.modules.end());
    auto modules = vm::module_closure(kernel, needed);
    if (!modules)
        return modules;
    // Cases that need these skip without them.
    for (const std::string name : {"ext4"}) {
        const std::array<std::string, 1> one{name};
        if (const auto more = vm::module_closure(kernel, one)) {
            for (const auto& module : *more) {
                if (std::ranges::find(*modules, module) == modules->end())
                    modules->push_back(module);
            }
        }
    }
    if (!driver.empty()) {
        const auto packaged = std::ranges::find_if(*modules, is_driver);
        if (packaged == modules->end())
            return vm::usage_error(fmt::format("--driver {}: {} has ublk_drv built in, it cannot be replaced",
                                               driver.string(), kernel.release));
        *packaged = fs::absolute(driver);
    }
    return modules;
}

// A folder for each, with the files in the order in which to load them.
void add_modules_on_demand(const vm::Kernel& kernel, vm::InitramfsSpec& spec)
{
    for (const std::string name : on_demand) {
        const std::array<std::string, 1> one{name};
        const auto modules = vm::module_closure(kernel, one);
        for (std::size_t i = 0; modules && i < modules->size(); ++i)
            spec.files.emplace_back((*modules)[i], fmt::format("/on-demand/{}/{:02}-{}", name, i,
                                                               (*modules)[i].filename().string()));
    }
}

} // namespace

std::vector<std::string> missing_programs()
{
    std::vector<std::string> missing;
    for (const auto* program : optional_programs)
        if (!vm::find_program(program))
            missing.emplace_back(program);
    return missing;
}

vm::Result<void> write_guest_image(const vm::Kernel& kernel, const GuestOptions& options, const fs::path& out)
{
    const auto modules = guest_modules(kernel, options);
    if (!modules)
        return std::unexpected(modules.error());
    vm::InitramfsSpec spec;
    spec.init = options.programs / "ublkcheck-guest";
    spec.programs = {options.programs / "ublk-serve"};
    for (const auto& program : {spec.init, spec.programs.front()})
        if (!vm::find_program(program))
            return vm::unavailable(
                fmt::format("{} is not there: build it beside ublkcheck (make build)", program.string()));
    for (const auto* program : optional_programs)
        if (const auto found = vm::find_program(program))
            spec.programs.push_back(*found);
    spec.programs.insert(spec.programs.end(), options.extras.programs.begin(), options.extras.programs.end());
    spec.files = options.extras.files;
    spec.modules = *modules;
    add_modules_on_demand(kernel, spec);
    return vm::write_initramfs(spec, out);
}

} // namespace conformance
