// Kernels that the user brings: packages, an image with modules, a build tree. And what every kernel must
// pass.
#include <algorithm>
#include <fstream>
#include <system_error>

#include <fmt/format.h>

#include "vm/deb.hpp"
#include "vm/kernel.hpp"
#include "vm/kernel_image.hpp"
#include "vm/kernel_modules.hpp"

namespace vm {
namespace {

namespace fs = std::filesystem;

// `directory` may be /lib/modules/V itself or something that holds it; the release decides.
std::optional<fs::path> module_directory(const fs::path& directory, const std::string& release)
{
    for (const auto& place : {directory, directory / release, directory / "lib/modules" / release,
                              directory / "usr/lib/modules" / release})
        if (fs::is_directory(place / "kernel") && !fs::exists(place / "include/config/kernel.release") &&
            (place.filename() == release || fs::exists(place / "modules.builtin") ||
             fs::exists(place / "modules.order")))
            return place;
    return std::nullopt;
}

} // namespace

Result<void> unpack_kernel_package(const fs::path& package, const fs::path& into, std::string& release,
                                   Take take)
{
    std::string other; // a release that is not `release`
    const auto belongs = [&](std::string_view found) {
        if (release.empty())
            release = found;
        if (release != found)
            other = found;
        return release == found;
    };
    const auto at_top = [&](std::string_view name) {
        return take == Take::everything ? std::optional(into / name) : std::nullopt;
    };
    const auto place = [&](std::string_view path) -> std::optional<fs::path> {
        if (path.starts_with("usr/"))
            path.remove_prefix(4);
        for (const auto* name : {"vmlinuz", "config"})
            if (const auto start = fmt::format("boot/{}-", name); path.starts_with(start))
                return belongs(path.substr(start.size())) ? at_top(name) : std::nullopt;
        constexpr std::string_view modules = "lib/modules/";
        if (!path.starts_with(modules))
            return std::nullopt;
        path.remove_prefix(modules.size());
        const auto slash = path.find('/');
        if (slash == std::string_view::npos || !belongs(path.substr(0, slash)))
            return std::nullopt;
        const auto rest = path.substr(slash + 1);
        if (rest == "vmlinuz" || rest == "config")
            return at_top(rest);
        return into / "modules" / rest;
    };
    const auto unpacked = unpack_deb(package, place);
    if (unpacked && !other.empty())
        return usage_error(fmt::format("{} is of kernel {}, not {}: give the packages of one kernel",
                                       package.string(), other, release));
    return unpacked;
}

Result<void> check_kernel(const Kernel& kernel)
{
    const auto image = release_of_image(kernel.image);
    if (!image)
        return std::unexpected(image.error());
    if (*image != kernel.release)
        return usage_error(
            fmt::format("{} is kernel {}, but {} was expected: give image and modules of one build",
                        kernel.image.string(), *image, kernel.release));
    const auto modules = ModuleIndex::of(kernel.modules);
    if (modules.builtin.contains("ublk_drv"))
        return {};
    const auto driver = modules.files.find("ublk_drv");
    if (driver == modules.files.end())
        return unavailable(
            fmt::format("kernel {} has no ublk driver: it was built without CONFIG_BLK_DEV_UBLK; choose a "
                        "kernel with it (Debian's have it from 6.12), or build it in or as a module",
                        kernel.release));
    const auto info = read_module_info(driver->second);
    if (!info)
        return std::unexpected(info.error());
    if (info->vermagic_release != kernel.release)
        return usage_error(
            fmt::format("{} is built for kernel {}, and the image is {}: give image and modules of one build",
                        driver->second.string(), info->vermagic_release, kernel.release));
    return {};
}

Result<std::vector<fs::path>> module_closure(const Kernel& kernel, std::span<const std::string> names)
{
    auto files = module_closure(ModuleIndex::of(kernel.modules), names);
    if (!files)
        files.error().message = fmt::format("kernel {}: {}", kernel.release, files.error().message);
    return files;
}

Result<Kernel> KernelStore::use_image(const KernelSpec& spec) const
{
    const auto release = release_of_image(spec.files.at(0));
    if (!release)
        return std::unexpected(release.error());
    const auto& directory = spec.files.at(1);
    auto modules = module_directory(directory, *release);
    if (!modules && fs::exists(directory / "include/config/kernel.release"))
        modules = directory;
    if (!modules)
        return usage_error(fmt::format("{} holds no modules of kernel {}: give its /lib/modules/{}",
                                       directory.string(), *release, *release));
    Kernel kernel{.release = *release,
                  .image = spec.files.at(0),
                  .modules = std::move(*modules),
                  .source = fmt::format("{} with modules from {}, not verified", spec.files.at(0).string(),
                                        directory.string()),
                  .sig_enforce = false,
                  .typed = spec.typed};
    if (const auto fit = check_kernel(kernel); !fit)
        return std::unexpected(fit.error());
    return kernel;
}

Result<Kernel> KernelStore::use_tree(const KernelSpec& spec) const
{
    const auto& tree = spec.files.at(0);
    const bool build = fs::exists(tree / "include/config/kernel.release");
    const auto image = build ? tree / "arch/x86/boot/bzImage" : tree / "vmlinuz";
    if (!fs::exists(image))
        return usage_error(
            build ? fmt::format("{} has no arch/x86/boot/bzImage: run make bzImage modules there",
                                tree.string())
                  : fmt::format("{} is neither a kernel build (include/config/kernel.release) nor a module "
                                "directory with a vmlinuz: run make in it, or give image:directory",
                                tree.string()));
    const auto release = release_of_image(image);
    if (!release)
        return std::unexpected(release.error());
    auto modules = tree;
    if (build) { // what was installed with INSTALL_MOD_PATH=. goes before what lies about
        modules = module_directory(tree / "lib/modules", *release)
                      .value_or(module_directory(tree / "usr/lib/modules", *release).value_or(tree));
    }
    Kernel kernel{.release = *release,
                  .image = image,
                  .modules = std::move(modules),
                  .source = fmt::format("{} {}, not verified", build ? "build tree" : "module directory",
                                        tree.string()),
                  .sig_enforce = false,
                  .typed = spec.typed};
    if (const auto fit = check_kernel(kernel); !fit)
        return std::unexpected(fit.error());
    return kernel;
}

} // namespace vm
