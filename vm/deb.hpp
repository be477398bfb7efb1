// Takes files out of Debian packages, and reads compressed files.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "vm/error.hpp"

namespace vm {

// Where a file of the package shall go, given its path without a leading "./"; nothing skips it.
using Placement = std::function<std::optional<std::filesystem::path>(std::string_view path)>;

// Unpacks the regular files that `place` wants. Error (unavailable): not a package, truncated, disk full.
// On error some files may have been written.
Result<void> unpack_deb(const std::filesystem::path& package, const Placement& place);

// The file's content, decompressed where it is compressed (xz, zstd, gzip; by content, not by name).
Result<std::string> read_maybe_compressed(const std::filesystem::path& file);

} // namespace vm
