// Which files a dynamically linked program needs, read from the files themselves: nothing is executed, and
// the answer holds for a baseline CPU (no glibc-hwcaps variants), whatever CPU this machine has.
#pragma once

#include "vm/error.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace vm {

// What one ELF file says about its own needs; all empty for a static program or for no ELF at all.
struct ElfNeeds {
    std::string interpreter;          // PT_INTERP
    std::vector<std::string> needed;  // DT_NEEDED, in order
    std::vector<std::string> rpath;   // DT_RPATH, $ORIGIN replaced: holds for this file and what it loads
    std::vector<std::string> runpath; // DT_RUNPATH, $ORIGIN replaced: holds for this file's own needs
};
// Reads a 64-bit little-endian ELF file. A script or other non-ELF file is a usage error.
Result<ElfNeeds> read_elf_needs(const std::filesystem::path& file);

struct LibraryFile {
    std::filesystem::path host; // where it is here
    std::string guest;          // absolute path at which a loader without a cache finds it
    auto operator<=>(const LibraryFile&) const = default;
};
// The interpreter and every library that `program` needs, directly or not, sorted by guest path, each once.
// Error: a library that is nowhere to be found, with the file that asks for it.
Result<std::vector<LibraryFile>> library_closure(const std::filesystem::path& program);

} // namespace vm
