// What an x86 boot image says about itself.
#pragma once

#include <filesystem>
#include <string>

#include "vm/error.hpp"

namespace vm {

// The release in the header of a bzImage ("7.3.4+deb13-cloud-amd64"). Error (usage): the file is missing, is
// no bzImage, or is shorter than its header says.
Result<std::string> release_of_image(const std::filesystem::path& image);

} // namespace vm
