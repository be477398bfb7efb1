#include "vm/module_info.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <sstream>

#include <elf.h>
#include <fmt/format.h>

namespace vm {
namespace {

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

Result<ModuleInfo> parse_module_info(std::string_view bytes, const std::filesystem::path& module)
{
    auto strings = modinfo_section(bytes);
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
        } else if (key == "alias") {
            info.aliases.push_back(module_name(value));
        } else if (key == "vermagic") {
            info.vermagic_release = value.substr(0, value.find(' '));
        }
    }
    return info;
}

} // namespace vm
