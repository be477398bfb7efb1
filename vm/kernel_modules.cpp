#include "vm/kernel_modules.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "vm/deb.hpp"

namespace vm {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> endings = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};

// The module's name from a file name, or nothing when that is no module.
std::optional<std::string> module_of_file(const fs::path& file)
{
    const auto name = file.filename().string();
    for (const auto ending : endings)
        if (name.ends_with(ending))
            return module_name(std::string_view(name).substr(0, name.size() - ending.size()));
    return std::nullopt;
}

// The aliases of a kernel's ciphers and checksums: what asks for those at run time names no module (btrfs of
// 6.18: crypto-crc32c). Those of other modules would take too long to read.
class CryptoAliases {
  public:
    explicit CryptoAliases(const ModuleIndex& index) : index_(index) {}

    // The name of a module, which may be `name` itself; empty: there is none.
    std::string resolve(const std::string& name)
    {
        if (index_.files.contains(name))
            return name;
        if (!modules_)
            read();
        const auto found = modules_->find(name);
        return found == modules_->end() ? std::string() : found->second;
    }

  private:
    void read()
    {
        modules_.emplace();
        for (const auto& [module, file] : index_.files) {
            if (file.parent_path().filename() != "crypto")
                continue;
            if (const auto info = read_module_info(file))
                for (const auto& alias : info->aliases)
                    modules_->emplace(alias, module);
        }
    }

    const ModuleIndex& index_;
    std::optional<std::map<std::string, std::string>> modules_; // by alias
};

} // namespace

ModuleIndex ModuleIndex::of(const fs::path& directory)
{
    ModuleIndex index;
    std::string line;
    std::ifstream builtin(directory / "modules.builtin");
    while (std::getline(builtin, line))
        if (auto name = module_of_file(line))
            index.builtin.insert(std::move(*name));
    if (!fs::exists(directory / "include/config/kernel.release")) {
        std::error_code ignored; // what cannot be read is not there for us
        for (auto entry = fs::recursive_directory_iterator(directory, ignored);
             entry != fs::recursive_directory_iterator(); entry.increment(ignored))
            if (auto name = module_of_file(entry->path()))
                index.files.emplace(std::move(*name), entry->path());
        return index;
    }
    // A build tree lists its modules, as objects in newer versions and below "kernel/" in older ones.
    std::ifstream order(directory / "modules.order");
    while (std::getline(order, line)) {
        fs::path file =
            line.starts_with("kernel/") && !fs::exists(fs::path(directory / line).replace_extension(".ko"))
                ? line.substr(std::string_view("kernel/").size())
                : line;
        file = directory / file.replace_extension(".ko");
        if (auto name = module_of_file(file); name && fs::exists(file))
            index.files.emplace(std::move(*name), std::move(file));
    }
    return index;
}

Result<ModuleInfo> read_module_info(const fs::path& module)
{
    const auto bytes = read_maybe_compressed(module);
    if (!bytes)
        return std::unexpected(bytes.error());
    return parse_module_info(*bytes, module);
}

Result<std::vector<fs::path>> module_closure(const ModuleIndex& index, std::span<const std::string> names)
{
    std::vector<fs::path> order;
    std::set<std::string> seen;
    CryptoAliases aliases(index);
    // Depth is bounded by the number of modules: each is entered once.
    const std::function<Result<void>(const std::string&, std::string_view)> visit =
        [&](const std::string& name, std::string_view wanted_by) -> Result<void> {
        if (index.builtin.contains(name) || !seen.insert(name).second)
            return {};
        const auto file = index.files.find(name);
        if (file == index.files.end())
            return unavailable(
                wanted_by.empty()
                    ? fmt::format("this kernel has no module {}, neither as a file nor built in", name)
                    : fmt::format("this kernel has no module {}, which its {} needs", name, wanted_by));
        const auto info = read_module_info(file->second);
        if (!info)
            return std::unexpected(info.error());
        for (const auto& wanted : info->softdep)
            if (const auto needed = aliases.resolve(wanted); !needed.empty())
                if (const auto done = visit(needed, name); !done)
                    return done;
        for (const auto& needed : info->depends)
            if (const auto done = visit(needed, name); !done)
                return done;
        order.push_back(file->second);
        return {};
    };
    for (const auto& name : names)
        if (const auto done = visit(module_name(name), {}); !done)
            return std::unexpected(done.error());
    return order;
}

} // namespace vm
