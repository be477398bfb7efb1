// A kernel's modules and what they need, read from the modules themselves: Debian's packages have no depmod
// data, and depmod need not be installed.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "vm/error.hpp"
#include "vm/module_info.hpp"

namespace vm {

struct ModuleIndex {
    std::map<std::string, std::filesystem::path> files; // module name -> .ko, .ko.xz, .ko.zst or .ko.gz
    std::set<std::string> builtin;

    // `directory` is /lib/modules/V of an installed kernel, or the root of a kernel build tree.
    static ModuleIndex of(const std::filesystem::path& directory);
};

// Error (unavailable): unreadable, or no module.
Result<ModuleInfo> read_module_info(const std::filesystem::path& module);

// The module files that make `names` work, in the order in which to load them; nothing for built-in ones.
// Error (unavailable): names the module that the kernel does not have.
Result<std::vector<std::filesystem::path>> module_closure(const ModuleIndex& index,
                                                          std::span<const std::string> names);

} // namespace vm
