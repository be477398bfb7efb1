// The folder that a run leaves behind: events.jsonl as it grows, at the end results.json, results.ktap,
// junit.xml and index.html. Errors are sentences with path, reason and mend.
#pragma once

#include "reports/event.hpp"

#include <chrono>
#include <expected>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace reports {

// "2026-11-23T101500-7.3.4": UTC to the second, then `version` with what does not belong in a name replaced.
std::string run_folder_name(std::chrono::system_clock::time_point now, std::string_view version);

// Owns the lock on a run's folder, which ends with the process: two runs never write into one. Not
// thread-safe.
class RunDir {
  public:
    // A new folder in `out` (made when needed; "-2" and so on is added to a name that is taken), to which the
    // link `out`/latest then points.
    static std::expected<RunDir, std::string> create(const std::filesystem::path& out,
                                                     std::string_view version,
                                                     std::chrono::system_clock::time_point now);
    // The folder of a run that was cut off, to go on with it. What is there is in `so_far`; a torn last line
    // stays as a damaged one.
    static std::expected<RunDir, std::string> resume(const std::filesystem::path& folder, Folded& so_far);

    RunDir(RunDir&& other) noexcept;
    RunDir& operator=(RunDir&& other) noexcept;
    ~RunDir();

    const std::filesystem::path& path() const { return path_; }

    // One line and one write(2): a run that is killed leaves whole lines and at most one torn. When the disk
    // is full the part of a line that went through is taken back.
    std::expected<void, std::string> append(const Event& event);

    // Folds events.jsonl and writes the reports. May be called again, also after an interrupt.
    std::expected<Folded, std::string> finish() const;

    // Removes a folder of create() with all that is in it: a run that judged nothing is none. `out`/latest
    // points to what it pointed to before, unless another run has taken it since.
    void discard();

  private:
    RunDir(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}

    std::filesystem::path path_;
    int fd_ = -1; // events.jsonl, O_APPEND, locked
    std::filesystem::path latest_before_{};
};

// Reads the events of a run's folder, without a lock: a run that is going on can be looked at.
std::expected<Folded, std::string> load_run(const std::filesystem::path& folder);

// Writes results.json, results.ktap, junit.xml and index.html, each whole or not at all.
std::expected<void, std::string> write_reports(const std::filesystem::path& folder, const RunResult& run);

// Replaces `file` by one that holds `text`: whoever reads it sees the old one or the new one, never a part.
std::expected<void, std::string> write_whole(const std::filesystem::path& file, std::string_view text);

} // namespace reports
