// Makes a resolved kernel available.
#include <algorithm>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "vm/kernel.hpp"
#include "vm/kernel_image.hpp"

namespace vm {
namespace {

namespace fs = std::filesystem;

std::string file_name(const PackageRecord& record)
{
    return fs::path(record.filename).filename().string();
}

std::string source_of(const PackagedKernel& kernel)
{
    const auto& first = kernel.packages.at(0);
    auto text = fmt::format("{} {} of {}, verified by apt", first.name, first.version, kernel.suite);
    if (kernel.layout == PackageLayout::unindexed)
        text += "; its modules are in no index any more: from the archive's pool, verified by the kernel's "
                "module "
                "signatures only (module.sig_enforce=1)";
    return text;
}

// What could not be finished only takes space.
void discard(const fs::path& directory)
{
    std::error_code ignored;
    fs::remove_all(directory, ignored);
}

// What an unpacked kernel must have before it is cached.
Result<void> check_unpacked(const fs::path& directory, const std::string& release, std::string_view what)
{
    if (release.empty() || !fs::exists(directory / "vmlinuz"))
        return usage_error(fmt::format(
            "{} holds no kernel image: give the linux-image or linux-binary package as well", what));
    if (!fs::exists(directory / "modules"))
        return usage_error(
            fmt::format("{} holds no modules: from 6.19 on they are in linux-modules-{}; give both, "
                        "separated by a comma",
                        what, release));
    return check_kernel({.release = release,
                         .image = directory / "vmlinuz",
                         .modules = directory / "modules",
                         .source = {},
                         .sig_enforce = false,
                         .typed = {}});
}

} // namespace

Result<Kernel> KernelStore::fetch(const KernelSpec& spec)
{
    switch (spec.kind) {
    case KernelSpec::Kind::packaged:
        return fetch_packaged(spec);
    case KernelSpec::Kind::deb_files:
        return fetch_debs(spec);
    case KernelSpec::Kind::image:
        return use_image(spec);
    case KernelSpec::Kind::build_tree:
        return use_tree(spec);
    }
    return usage_error(fmt::format("'{}' is no kernel", spec.label));
}

Result<std::optional<Kernel>> KernelStore::from_cache(std::string_view key, const KernelSpec& spec,
                                                      bool tell) const
{
    const auto manifest = cache_.verified(key);
    if (!manifest) {
        if (tell)
            progress_.say(fmt::format("the cached copy of {} is damaged ({}): fetching it again", spec.label,
                                      manifest.error().message));
        return std::unexpected(manifest.error());
    }
    if (!*manifest)
        return std::nullopt;
    if (spec.package) {
        const auto& binary = spec.package->packages.at(0);
        const auto have = (*manifest)->packages.find(file_name(binary));
        if (have == (*manifest)->packages.end() || have->second != binary.sha256) {
            if (tell)
                progress_.say(fmt::format("the archive has another build of {}: fetching it", spec.label));
            return std::nullopt;
        }
    }
    const auto directory = cache_.kernel_directory(key);
    return Kernel{.release = (*manifest)->release,
                  .image = directory / "vmlinuz",
                  .modules = directory / "modules",
                  .source = (*manifest)->source,
                  .sig_enforce = (*manifest)->sig_enforce,
                  .typed = spec.typed};
}

Result<PackagedKernel> KernelStore::package_of(const KernelSpec& spec)
{
    if (spec.package)
        return *spec.package;
    for (const auto suites : {Suites::usual, Suites::all}) {
        const auto records = packages_->records(suites, false, progress_);
        if (!records)
            return std::unexpected(records.error());
        for (auto& kernel : kernels_in(*records, flavour_of(spec.label)))
            if (kernel.release == spec.label)
                return kernel;
    }
    return unavailable(
        fmt::format("kernel {} is gone from the archive, and the cached copy is damaged: choose another; "
                    "ublkcheck kernels lists them",
                    spec.label));
}

// Loads one package and unpacks it. A damaged file is what an interrupted run may leave: once is forgiven.
Result<void> KernelStore::load(const PackageRecord& record, const fs::path& into, Manifest& manifest)
{
    for (const bool last : {false, true}) {
        const auto file = packages_->download(record, progress_);
        if (!file)
            return std::unexpected(file.error());
        std::error_code ignored; // the file is only in the way
        const auto hash = sha256_of(*file);
        if (hash && (record.sha256.empty() || *hash == record.sha256)) {
            const auto unpacked = unpack_kernel_package(
                *file, into, manifest.release, record.sha256.empty() ? Take::modules : Take::everything);
            if (unpacked) {
                manifest.packages[file_name(record)] = *hash;
                fs::remove(*file, ignored);
                return {};
            }
            if (last || !record.sha256.empty()) // vouched for by the index: again would be the same
                return unpacked;
        }
        fs::remove(*file, ignored);
        if (!last)
            progress_.say(fmt::format("{} arrived damaged: fetching it again", file_name(record)));
    }
    return unavailable(fmt::format("{} arrives damaged from the mirror: try another (UBLKCHECK_APT_MIRROR)",
                                   file_name(record)));
}

Result<Kernel> KernelStore::fetch_packaged(const KernelSpec& spec)
{
    if (auto ready = from_cache(spec.label, spec, false); ready && *ready)
        return std::move(**ready);
    const auto lock = cache_.lock(progress_);
    if (!lock)
        return std::unexpected(lock.error());
    // Another process may have fetched it while we waited.
    if (auto ready = from_cache(spec.label, spec, true); ready && *ready)
        return std::move(**ready);
    const auto package = package_of(spec);
    if (!package)
        return std::unexpected(package.error());
    progress_.say(fmt::format("fetching kernel {}", spec.label));
    const auto directory = cache_.new_directory(spec.label);
    if (!directory)
        return std::unexpected(directory.error());
    if (const auto built = build(*package, *directory); !built) {
        discard(*directory);
        return std::unexpected(built.error());
    }
    return published(spec.label, spec);
}

Result<void> KernelStore::build(const PackagedKernel& package, const fs::path& directory)
{
    Manifest manifest{.release = package.release,
                      .version = package.version.text(),
                      .source = source_of(package),
                      .sig_enforce = package.layout == PackageLayout::unindexed,
                      .packages = {},
                      .files = {}};
    for (const auto& record : package.packages)
        if (const auto loaded = load(record, directory, manifest); !loaded)
            return loaded;
    if (const auto fit = check_unpacked(directory, manifest.release, package.release); !fit)
        return fit;
    return cache_.publish(package.release, directory, std::move(manifest));
}

Result<Kernel> KernelStore::published(std::string_view key, const KernelSpec& spec) const
{
    auto kernel = from_cache(key, spec, false);
    if (!kernel)
        return std::unexpected(kernel.error());
    if (!*kernel)
        return unavailable(fmt::format("kernel {} vanished from the cache: run again", spec.label));
    return std::move(**kernel);
}

Result<Kernel> KernelStore::fetch_debs(const KernelSpec& spec)
{
    std::string key = "deb";
    for (const auto& file : spec.files) {
        const auto hash = sha256_of(file);
        if (!hash)
            return usage_error(fmt::format("{} cannot be read: check its permissions", file.string()));
        key.append("-").append(*hash, 0, 16);
    }
    const auto lock = cache_.lock(progress_);
    if (!lock)
        return std::unexpected(lock.error());
    if (auto ready = from_cache(key, spec, true); ready && *ready)
        return std::move(**ready);
    const auto directory = cache_.new_directory(key);
    if (!directory)
        return std::unexpected(directory.error());
    if (const auto built = build(spec, key, *directory); !built) {
        discard(*directory);
        return std::unexpected(built.error());
    }
    return published(key, spec);
}

Result<void> KernelStore::build(const KernelSpec& spec, const std::string& key, const fs::path& directory)
{
    Manifest manifest{
        .release = {}, .version = {}, .source = {}, .sig_enforce = false, .packages = {}, .files = {}};
    std::vector<std::string> names;
    for (const auto& file : spec.files) {
        names.push_back(file.filename().string());
        manifest.packages[names.back()] = sha256_of(file).value_or("");
        if (const auto unpacked = unpack_kernel_package(file, directory, manifest.release); !unpacked)
            return unpacked;
    }
    if (const auto fit = check_unpacked(directory, manifest.release, spec.label); !fit)
        return fit;
    manifest.source = fmt::format("{}, given as files, not verified", fmt::join(names, ", "));
    return cache_.publish(key, directory, std::move(manifest));
}

} // namespace vm
