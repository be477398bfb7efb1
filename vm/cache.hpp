// Fetched kernels on disk: nothing half-written or damaged is ever taken for whole.
//
// Layout below root(): kernels/<key>/{manifest.json, vmlinuz, modules/...}, apt/ (private apt root), lock.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "vm/error.hpp"

namespace vm {

// What is told while waiting or loading. Both may be empty.
struct Progress {
    std::function<void(std::string_view line)> note; // one line, worth showing
    std::function<void(std::string_view what, std::uint64_t done, std::uint64_t total)>
        bytes; // total 0: unknown

    void say(std::string_view line) const
    {
        if (note)
            note(line);
    }
};

// SHA-256 of a file as 64 hex digits; nothing when it cannot be read.
std::optional<std::string> sha256_of(const std::filesystem::path& file);

// Writes a whole file, or says why not (full disk and permissions in plain words). Replaces by rename.
Result<void> write_file(const std::filesystem::path& file, std::string_view content);

// "cannot write X: No space left on device; ..." with the mend that fits the code.
Error write_error(const std::filesystem::path& path, const std::error_code& code);

struct Manifest {
    static constexpr int current_schema = 1;

    std::string release; // as the kernel names itself
    std::string version; // "7.3-rc7": the release need not say that it is a candidate
    std::string source;  // one line: package, suite, how verified
    bool sig_enforce = false;
    std::map<std::string, std::string> packages; // file name of each package -> SHA-256
    std::map<std::string, std::string> files;    // path below the kernel's directory -> SHA-256
};

// Holds the cache against other processes until destroyed.
class CacheLock {
  public:
    explicit CacheLock(int descriptor) : descriptor_(descriptor) {}
    CacheLock(CacheLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    CacheLock& operator=(CacheLock&&) = delete;
    CacheLock(const CacheLock&) = delete;
    CacheLock& operator=(const CacheLock&) = delete;
    ~CacheLock();

  private:
    int descriptor_;
};

class Cache {
  public:
    // $UBLKCHECK_CACHE, else $XDG_CACHE_HOME/ublkcheck, else ~/.cache/ublkcheck.
    static std::filesystem::path default_root();

    // Makes the directories. Error (unavailable): they cannot be made or written.
    static Result<Cache> open(std::filesystem::path root = default_root());

    const std::filesystem::path& root() const { return root_; }
    std::filesystem::path kernel_directory(std::string_view key) const { return root_ / "kernels" / key; }

    // Waits for other processes, and says so.
    Result<CacheLock> lock(const Progress& progress) const;

    // The manifests of what is cached, by key. Does not read the files they name.
    std::map<std::string, Manifest> kernels() const;

    // The manifest, if each file it names is there with its hash and no other is. On damage an Error that
    // says which file; nothing when no such kernel is cached.
    Result<std::optional<Manifest>> verified(std::string_view key) const;

    // An empty directory to build a kernel in. Needs the lock.
    Result<std::filesystem::path> new_directory(std::string_view key) const;

    // Hashes everything in `directory` (from new_directory), adds the manifest, and puts it in place of what
    // was at `key`. Needs the lock.
    Result<void> publish(std::string_view key, const std::filesystem::path& directory,
                         Manifest manifest) const;

  private:
    explicit Cache(std::filesystem::path root) : root_(std::move(root)) {}

    std::filesystem::path root_;
};

} // namespace vm
