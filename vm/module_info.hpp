// What a kernel module says of itself.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "vm/error.hpp"

namespace vm {

// Module names are compared as the kernel does: '-' and '_' are the same.
std::string module_name(std::string_view name);

struct ModuleInfo {
    std::string vermagic_release;     // first word of vermagic
    std::vector<std::string> depends; // must be loaded before
    std::vector<std::string> softdep; // should be loaded before, where there is such a module or alias
    std::vector<std::string> aliases; // other names, or patterns of devices
};

// `bytes` is the module's content, uncompressed; `module` names it in the error (unavailable): no module.
Result<ModuleInfo> parse_module_info(std::string_view bytes, const std::filesystem::path& module);

} // namespace vm
