// Small kernels, packages and archives, made in a directory of their own.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "vm/kernel.hpp"

namespace vm_test {

namespace fs = std::filesystem;

// Removed with everything in it at the end.
class TemporaryDirectory {
  public:
    TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory();
    const fs::path& path() const { return path_; }
    fs::path operator/(const fs::path& below) const { return path_ / below; }

  private:
    fs::path path_;
};

void write(const fs::path& file, std::string_view content);
std::string read(const fs::path& file);

// A bzImage as far as its header goes.
std::string boot_image(std::string_view release);
// An object file with nothing but a .modinfo section.
std::string module_file(std::string_view release, std::string_view depends = "",
                        std::string_view softdep = "", std::string_view alias = "");

using Files = std::map<std::string, std::string>; // path -> content
// A Debian package: ar with debian-binary and data.tar.xz.
std::string debian_package(const Files& files);

// The packages of one kernel in either layout.
std::string whole_package(const std::string& release);
Files module_files(const std::string& release);

// An archive in memory.
class FakePackages : public vm::Packages {
  public:
    struct State {
        std::vector<vm::PackageRecord> usual;
        std::vector<vm::PackageRecord> unreleased;         // only in Suites::all
        std::map<std::string, std::string> pool;           // file name below the mirror -> content
        std::map<std::string, std::string> first_download; // what arrives at the first try instead
        bool offline = false;
        int index_loads = 0;
        int downloads = 0;
    };

    FakePackages(std::shared_ptr<State> state, fs::path directory)
        : state_(std::move(state)), directory_(std::move(directory))
    {
    }
    vm::Result<std::vector<vm::PackageRecord>> records(vm::Suites suites, bool force,
                                                       const vm::Progress& progress) override;
    vm::Result<fs::path> download(const vm::PackageRecord& record, const vm::Progress& progress) override;

  private:
    std::shared_ptr<State> state_;
    fs::path directory_;
};

std::string sha256_of_text(std::string_view text);

// A store over a fake archive, and what it said.
class KernelStoreTest : public testing::Test {
  protected:
    vm::KernelStore store(vm::KernelOptions options = {});
    // Adds a package to the archive; content only where a test loads it. `indexed` false: only to the pool.
    void add(const std::string& name, const std::string& version, const std::string& suite,
             const std::string& content = "content", bool indexed = true, bool unreleased = false);
    void add_whole(const std::string& release, const std::string& version = "1-1",
                   const std::string& suite = "trixie-backports");
    // linux-binary (indexed) with linux-modules and linux-base, indexed or only in the pool.
    void add_split(const std::string& release, bool indexed, const std::string& version = "1-1",
                   const std::string& suite = "trixie-backports");

    std::vector<std::string> resolved(std::string_view text, vm::KernelOptions options = {});
    vm::Error error_of(std::string_view text);
    vm::Result<vm::Kernel> fetch(std::string_view text);
    bool said(std::string_view part) const;

    TemporaryDirectory directory_;
    std::shared_ptr<FakePackages::State> archive_ = std::make_shared<FakePackages::State>();
    std::vector<std::string> notes_;
};

} // namespace vm_test
