// Debian's kernel packages through a private apt root: apt verifies what it loads, and the machine's own
// package lists and configuration stay as they are.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "vm/apt_sources.hpp"
#include "vm/cache.hpp"
#include "vm/kernel_packages.hpp"

namespace vm {

enum class Suites {
    usual, // stable, its backports and those of the release before
    all,   // and the unreleased ones
};

// Where package records and package files come from; faked in tests.
class Packages {
  public:
    virtual ~Packages() = default;

    // The kernel packages of these suites. `force` asks again even if the last answer is fresh.
    virtual Result<std::vector<PackageRecord>> records(Suites suites, bool force,
                                                       const Progress& progress) = 0;

    // The package's file, checked against the record's hash where it has one. The caller may delete it.
    // A package whose record has no hash is loaded from the pool as it is. Error: also when it is gone.
    virtual Result<std::filesystem::path> download(const PackageRecord& record, const Progress& progress) = 0;
};

class AptPackages : public Packages {
  public:
    // `root` is the private apt root; made at first use, with the mirror looked up then.
    explicit AptPackages(std::filesystem::path root) : root_(std::move(root)) {}

    Result<std::vector<PackageRecord>> records(Suites suites, bool force, const Progress& progress) override;
    Result<std::filesystem::path> download(const PackageRecord& record, const Progress& progress) override;

    // How old an index may be before it is loaded again.
    static constexpr std::chrono::hours fresh{1};

  private:
    Result<void> prepare(Suites suites);
    Result<std::vector<PackageRecord>> refresh(Suites suites, const Progress& progress);
    Result<std::vector<PackageRecord>> read_lists();

    std::filesystem::path root_;
    DebianMirror mirror_;
};

} // namespace vm
