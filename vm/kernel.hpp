// From what a user types as KERNEL= to a kernel that can be booted.
//
//   auto store = KernelStore::open({}, progress);
//   for (const auto& spec : *store->resolve("6.12 7.3"))
//       Kernel kernel = *store->fetch(spec);
//
// Not thread-safe; any number of processes may share one cache.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vm/apt.hpp"
#include "vm/cache.hpp"
#include "vm/error.hpp"
#include "vm/kernel_packages.hpp"

namespace vm {

// What was asked for, found but not yet fetched.
struct KernelSpec {
    enum class Kind {
        packaged,   // from the archive or the cache
        deb_files,  // `files`: packages that together hold image and modules
        image,      // `files`: a bzImage and a module directory
        build_tree, // `files`: the root of a kernel build, or a module directory with a vmlinuz in it
    };
    Kind kind = Kind::packaged;
    std::string label;                     // "7.3.4+deb13-cloud-amd64", or the path as typed
    std::string typed;                     // the shortest KERNEL= that names it again: "7.3.4"
    std::optional<PackagedKernel> package; // packaged; absent when only the cache has it
    std::vector<std::filesystem::path> files;
};

// A kernel that is here, whole, and has the ublk driver.
struct Kernel {
    std::string release;           // as uname -r will say
    std::filesystem::path image;   // bzImage
    std::filesystem::path modules; // holds kernel/ and modules.builtin, or is a build tree
    std::string source;            // one line: package, suite, how verified
    bool sig_enforce = false;      // boot with module.sig_enforce=1: no index vouches for the modules
    std::string typed;             // see KernelSpec
};

// One line of `ublkcheck kernels`.
struct ListedKernel {
    std::string release;
    std::string typed;
    std::string layout; // "" when only the cache has it
    std::string suite;  // "" when only the cache has it
    bool cached = false;
};

struct KernelOptions {
    std::string flavour = "cloud-amd64"; // or "amd64", three times the size
    bool all_suites = false;             // look in unreleased suites from the start
    bool refresh = false;                // load the package index even if it is fresh
};

class KernelStore {
  public:
    // With the machine's apt and the default cache. Error (unavailable): the cache cannot be written.
    static Result<KernelStore> open(KernelOptions options, Progress progress);

    KernelStore(Cache cache, std::unique_ptr<Packages> packages, KernelOptions options, Progress progress)
        : cache_(std::move(cache)), packages_(std::move(packages)), options_(std::move(options)),
          progress_(std::move(progress))
    {
    }

    // The kernels that a KERNEL= text names, each once, in its order: versions ("7.3" is the newest packaged
    // 7.3.x), "latest", "all" (the newest build of each line from 6.12), releases, a.deb,b.deb,
    // bzImage:moduledir, a build tree; separated by spaces or commas.
    // Errors: usage for a text that names nothing; unavailable when there is neither index nor cache.
    Result<std::vector<KernelSpec>> resolve(std::string_view text);

    // Makes the kernel available; loads only what the cache does not hold whole.
    // Errors: gone, damaged, no network, disk full, no ublk driver; each names the kernel and the mend.
    Result<Kernel> fetch(const KernelSpec& spec);

    // All packaged and cached kernels of the flavour, oldest first.
    Result<std::vector<ListedKernel>> list();

  private:
    struct Candidate {
        std::string release;
        KernelVersion version;
        std::optional<PackagedKernel> package;
        bool cached = false;
    };
    using Candidates = std::vector<Candidate>;

    Result<Candidates> candidates(std::string_view flavour, Suites suites, bool force);
    Candidates cached_candidates(std::string_view flavour) const;
    Result<std::vector<KernelSpec>> resolve_packaged(const std::string& token);
    Result<KernelSpec> resolve_local(const std::string& token) const;
    static std::vector<const Candidate*> matches(const Candidates& candidates, std::string_view token);
    static std::string shortest_name(const Candidates& candidates, const Candidate& candidate);
    std::string_view flavour_of(std::string_view token) const;

    Result<Kernel> fetch_packaged(const KernelSpec& spec);
    Result<Kernel> fetch_debs(const KernelSpec& spec);
    Result<Kernel> use_image(const KernelSpec& spec) const;
    Result<Kernel> use_tree(const KernelSpec& spec) const;
    Result<std::optional<Kernel>> from_cache(std::string_view key, const KernelSpec& spec, bool tell) const;
    Result<Kernel> published(std::string_view key, const KernelSpec& spec) const;
    Result<PackagedKernel> package_of(const KernelSpec& spec);
    Result<void> build(const PackagedKernel& package, const std::filesystem::path& directory);
    Result<void> build(const KernelSpec& spec, const std::string& key,
                       const std::filesystem::path& directory);
    Result<void> load(const PackageRecord& record, const std::filesystem::path& into, Manifest& manifest);

    Cache cache_;
    std::unique_ptr<Packages> packages_;
    KernelOptions options_;
    Progress progress_;
};

// The module files that make `names` work, in the order in which to load them, compressed as they are
// packaged; built-in ones need none. Error (unavailable): names the kernel and the module it does not have.
Result<std::vector<std::filesystem::path>> module_closure(const Kernel& kernel,
                                                          std::span<const std::string> names);

// Error (unavailable) unless the kernel has ublk_drv, and modules that fit the image.
Result<void> check_kernel(const Kernel& kernel);

// What may come out of a package.
enum class Take {
    everything,
    modules, // and their lists: for a package that nobody vouches for, so that it cannot replace the image
};

// Unpacks what booting needs: `into`/vmlinuz, /config, /modules/. Packages may be cut in any way.
// `release` is taken from the first path that tells it; a package of another release is an error.
Result<void> unpack_kernel_package(const std::filesystem::path& package, const std::filesystem::path& into,
                                   std::string& release, Take take = Take::everything);

} // namespace vm
