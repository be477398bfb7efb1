// Whole files into memory.
#pragma once

#include "vm/error.hpp"

#include <filesystem>
#include <string>

namespace vm {

// The file's bytes. A usage error for a path that is no readable regular file.
Result<std::string> read_file(const std::filesystem::path& file);

} // namespace vm
