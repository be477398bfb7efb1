#include "vm/kernel_modules.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <system_error>

#include <elf.h>
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

template <typename Header>
std::optional<Header> header_at(std::string_view bytes, std::size_t offset)
{
    Header header{};
    if (offset > bytes.size() || bytes.size() - offset < sizeof(header))
        return std::nullopt;
    std::memcpy(&header, bytes.data() + offset, sizeof(header));
    return header;
}

std::string_view section_content(std::string_view bytes, const Elf64_Shdr& section)
{
    if (section.sh_offset > bytes.size() || section.sh_size > bytes.size() - section.sh_offset)
        return {};
    return bytes.substr(section.sh_offset, section.sh_size);
}

// The .modinfo section: "key=value" strings, each with a null byte behind it. Empty when there is none.
std::string_view modinfo_section(std::string_view bytes)
{
    const auto file = header_at<Elf64_Ehdr>(bytes, 0);
    if (!file || !bytes.starts_with(ELFMAG) || file->e_ident[EI_CLASS] != ELFCLASS64 ||
        file->e_shentsize != sizeof(Elf64_Shdr))
        return {};
    const auto section = [&](std::size_t index) {
        return header_at<Elf64_Shdr>(bytes, file->e_shoff + index * sizeof(Elf64_Shdr));
    };
    const auto name_table = section(file->e_shstrndx);
    if (!name_table)
        return {};
    const auto names = section_content(bytes, *name_table);
    for (std::size_t i = 0; i < file->e_shnum; ++i) {
        const auto header = section(i);
        if (!header || header->sh_name >= names.size())
            continue;
        auto name = names.substr(header->sh_name);
        if (name.substr(0, name.find('\0')) == ".modinfo")
            return section_content(bytes, *header);
    }
    return {};
}

std::vector<std::string> split_names(std::string_view text, char separator)
{
    std::vector<std::string> names;
    std::istringstream stream{std::string(text)};
    for (std::string name; std::getline(stream, name, separator);)
        if (!name.empty())
            names.push_back(module_name(name));
    return names;
}

// "pre: a b post: c": what comes before.
std::vector<std::string> pre_dependencies(std::string_view text)
{
    std::vector<std::string> names;
    bool before = false;
    for (auto& word : split_names(text, ' ')) {
        if (word.ends_with(':'))
            before = word == "pre:";
        else if (before)
            names.push_back(std::move(word));
    }
    return names;
}

} // namespace

std::string module_name(std::string_view name)
{
    std::string result(name);
    std::replace(result.begin(), result.end(), '-', '_');
    return result;
}

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
    auto strings = modinfo_section(*bytes);
    if (strings.empty())
        return unavailable(
            fmt::format("{} is not a kernel module: fetch or build the kernel again", module.string()));
    ModuleInfo info;
    while (!strings.empty()) {
        const auto text = strings.substr(0, strings.find('\0'));
        strings.remove_prefix(std::min(text.size() + 1, strings.size()));
        const auto equals = text.find('=');
        const auto key = text.substr(0, equals);
        const auto value = equals == std::string_view::npos ? std::string_view{} : text.substr(equals + 1);
        if (key == "depends") {
            info.depends = split_names(value, ',');
        } else if (key == "softdep") {
            auto names = pre_dependencies(value);
            std::move(names.begin(), names.end(), std::back_inserter(info.softdep));
        } else if (key == "vermagic") {
            info.vermagic_release = value.substr(0, value.find(' '));
        }
    }
    return info;
}

Result<std::vector<fs::path>> module_closure(const ModuleIndex& index, std::span<const std::string> names)
{
    std::vector<fs::path> order;
    std::set<std::string> seen;
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
        for (const auto& needed : info->softdep)
            if (index.files.contains(needed))
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
