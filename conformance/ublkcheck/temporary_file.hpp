// A file that waits to be packed into the guest's image; gone with its object.
#pragma once

#include "conformance/ublkcheck/run_options.hpp"

#include <filesystem>
#include <string_view>
#include <utility>

namespace conformance {

class TemporaryFile {
  public:
    // Its name begins with `name`. Error: the machine has no place for it.
    static Expected<TemporaryFile> write(std::string_view name, std::string_view content);
    TemporaryFile(TemporaryFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
    TemporaryFile& operator=(TemporaryFile&&) = delete;
    ~TemporaryFile();
    const std::filesystem::path& path() const { return path_; }

  private:
    explicit TemporaryFile(std::filesystem::path path) : path_(std::move(path)) {}
    std::filesystem::path path_;
};

} // namespace conformance
