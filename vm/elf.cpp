#include "vm/elf.hpp"

#include "vm/file_io.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <elf.h>
#include <fstream>
#include <glob.h>
#include <map>
#include <optional>
#include <set>
#include <sstream>

namespace fs = std::filesystem;

namespace vm {
namespace {

// A file's bytes with bounds-checked access: an ELF file from anywhere must not make us read outside it.
class Bytes {
  public:
    explicit Bytes(std::string data) : data_(std::move(data)) {}

    template <typename T>
    std::optional<T> at(std::uint64_t offset) const
    {
        T value{};
        if (offset > data_.size() || data_.size() - offset < sizeof value)
            return std::nullopt;
        data_.copy(reinterpret_cast<char*>(&value), sizeof value, offset);
        return value;
    }
    std::string string_at(std::uint64_t offset) const
    {
        if (offset >= data_.size())
            return {};
        return data_.substr(offset, data_.find('\0', offset) - offset);
    }

  private:
    std::string data_;
};

struct Dynamic {
    std::vector<Elf64_Dyn> entries;
    std::uint64_t strings = 0; // file offset of the string table
};

std::vector<Elf64_Phdr> program_headers(const Bytes& bytes, const Elf64_Ehdr& header)
{
    std::vector<Elf64_Phdr> headers;
    for (unsigned i = 0; i < header.e_phnum; ++i)
        if (auto ph = bytes.at<Elf64_Phdr>(header.e_phoff + std::uint64_t{i} * sizeof(Elf64_Phdr)))
            headers.push_back(*ph);
    return headers;
}

Dynamic read_dynamic(const Bytes& bytes, const std::vector<Elf64_Phdr>& headers)
{
    Dynamic dynamic;
    for (const auto& ph : headers) {
        if (ph.p_type != PT_DYNAMIC)
            continue;
        for (std::uint64_t at = ph.p_offset; at - ph.p_offset < ph.p_filesz; at += sizeof(Elf64_Dyn)) {
            const auto entry = bytes.at<Elf64_Dyn>(at);
            if (!entry || entry->d_tag == DT_NULL)
                break;
            dynamic.entries.push_back(*entry);
        }
    }
    for (const auto& entry : dynamic.entries) {
        if (entry.d_tag != DT_STRTAB)
            continue;
        for (const auto& ph :
             headers) // the table is given by address; the file offset follows from its segment
            if (ph.p_type == PT_LOAD && entry.d_un.d_ptr >= ph.p_vaddr &&
                entry.d_un.d_ptr - ph.p_vaddr < ph.p_filesz)
                dynamic.strings = entry.d_un.d_ptr - ph.p_vaddr + ph.p_offset;
    }
    return dynamic;
}

std::vector<std::string> search_path(const std::string& text, const fs::path& file)
{
    std::vector<std::string> directories;
    std::stringstream stream(text);
    for (std::string directory; std::getline(stream, directory, ':');) {
        for (const std::string_view origin : {"${ORIGIN}", "$ORIGIN"})
            if (const auto at = directory.find(origin); at != std::string::npos)
                directory.replace(at, origin.size(), fs::absolute(file).parent_path().string());
        if (!directory.empty())
            directories.push_back(fs::path(directory).lexically_normal().string());
    }
    return directories;
}

// Where a loader without a cache looks by itself (the multiarch pair is Debian's and Ubuntu's).
const std::vector<std::string>& default_directories()
{
    static const std::vector<std::string> directories{
        "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"};
    return directories;
}

void read_loader_configuration(const fs::path& file, std::vector<std::string>& directories, int depth)
{
    std::ifstream in(file);
    for (std::string line; depth < 8 && std::getline(in, line);) {
        std::istringstream words(line.substr(0, line.find('#')));
        std::string word;
        if (!(words >> word))
            continue;
        if (word != "include") {
            directories.push_back(word);
            continue;
        }
        while (words >> word) {
            glob_t found{};
            const auto pattern = word.starts_with('/') ? fs::path(word) : file.parent_path() / word;
            if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
                for (std::size_t i = 0; i < found.gl_pathc; ++i)
                    read_loader_configuration(found.gl_pathv[i], directories, depth + 1);
            globfree(&found);
        }
    }
}

bool is_elf64(const fs::path& file)
{
    std::ifstream in(file, std::ios::binary);
    unsigned char ident[EI_NIDENT]{};
    in.read(reinterpret_cast<char*>(ident), sizeof ident);
    return in && std::string_view(reinterpret_cast<char*>(ident), SELFMAG) == ELFMAG &&
           ident[EI_CLASS] == ELFCLASS64;
}

struct Wanted {
    std::string name;
    fs::path asked_by;
    std::vector<std::string> directories; // RPATHs and RUNPATH that hold for it, in order
    std::vector<std::string> inherited;   // RPATHs that hold for what it needs
};

// "libfoo.so.2" -> "libfoo2", "libfoo-1.4.so.2" -> "libfoo-1.4-2".
std::string debian_package_of(const std::string& library)
{
    const auto so = library.find(".so");
    auto name = library.substr(0, so);
    if (so != std::string::npos && so + 4 < library.size()) {
        if (!name.empty() && name.back() >= '0' && name.back() <= '9')
            name += '-';
        name += library.substr(so + 4);
    }
    for (char& c : name)
        c = c == '_' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return name;
}

class Closure {
  public:
    Closure() { read_loader_configuration("/etc/ld.so.conf", configured_, 0); }

    Result<std::vector<LibraryFile>> of(const fs::path& program)
    {
        if (auto done = add_needs(program, {}); !done)
            return std::unexpected(done.error());
        while (!queue_.empty()) {
            const auto wanted = std::move(queue_.back());
            queue_.pop_back();
            if (seen_.contains(wanted.name))
                continue;
            const auto library = locate(wanted);
            if (!library)
                return unavailable(fmt::format(
                    "{} needs the library {}, which is not on this machine: install the package that "
                    "provides it, by Debian's naming {}",
                    wanted.asked_by.string(), wanted.name, debian_package_of(wanted.name)));
            seen_.emplace(wanted.name, *library);
            if (auto done = add_needs(library->host, wanted.inherited); !done)
                return std::unexpected(done.error());
        }
        std::set<LibraryFile> sorted;
        for (const auto& [name, library] : seen_)
            sorted.insert(library);
        return std::vector<LibraryFile>(sorted.begin(), sorted.end());
    }

  private:
    Result<void> add_needs(const fs::path& file, std::vector<std::string> inherited)
    {
        auto needs = read_elf_needs(file);
        if (!needs)
            return std::unexpected(needs.error());
        // The interpreter is both named by path and, by most libraries, needed by name.
        if (!needs->interpreter.empty())
            seen_.emplace(fs::path(needs->interpreter).filename().string(),
                          LibraryFile{needs->interpreter, needs->interpreter});
        inherited.insert(inherited.begin(), needs->rpath.begin(), needs->rpath.end());
        auto directories = needs->runpath.empty() ? inherited : needs->runpath;
        for (auto& name : needs->needed)
            queue_.push_back({std::move(name), file, directories, inherited});
        return {};
    }

    static std::optional<fs::path> in_one_of(const std::vector<std::string>& directories,
                                             const std::string& name)
    {
        for (const auto& directory : directories)
            if (auto path = fs::path(directory) / name; is_elf64(path))
                return path;
        return std::nullopt;
    }

    std::optional<LibraryFile> locate(const Wanted& wanted) const
    {
        if (wanted.name.find('/') != std::string::npos)
            return is_elf64(wanted.name) ? std::optional(LibraryFile{wanted.name, wanted.name})
                                         : std::nullopt;
        if (auto path = in_one_of(wanted.directories, wanted.name))
            return LibraryFile{*path, path->string()};
        // The guest has no loader cache: what the cache would have found goes where the loader looks itself.
        if (auto path = in_one_of(configured_, wanted.name)) {
            const auto& known = default_directories();
            const bool searched = std::ranges::find(known, path->parent_path().string()) != known.end();
            const auto guest = searched ? *path : fs::path(known.front()) / wanted.name;
            return LibraryFile{*path, guest.string()};
        }
        if (auto path = in_one_of(default_directories(), wanted.name))
            return LibraryFile{*path, path->string()};
        return std::nullopt;
    }

    std::vector<std::string> configured_;
    std::map<std::string, LibraryFile> seen_; // by DT_NEEDED name: as for the loader, the first one wins
    std::vector<Wanted> queue_;
};

} // namespace

Result<ElfNeeds> read_elf_needs(const fs::path& file)
{
    auto data = read_file(file);
    if (!data)
        return std::unexpected(data.error());
    const Bytes bytes(std::move(*data));
    const auto header = bytes.at<Elf64_Ehdr>(0);
    if (!header || !is_elf64(file) || header->e_ident[EI_DATA] != ELFDATA2LSB)
        return usage_error(
            fmt::format("{} is no 64-bit ELF program: give a compiled program, not a script", file.string()));

    const auto headers = program_headers(bytes, *header);
    const auto dynamic = read_dynamic(bytes, headers);
    ElfNeeds needs;
    for (const auto& ph : headers)
        if (ph.p_type == PT_INTERP)
            needs.interpreter = bytes.string_at(ph.p_offset);
    for (const auto& entry : dynamic.entries) {
        const auto text = bytes.string_at(dynamic.strings + entry.d_un.d_val);
        if (entry.d_tag == DT_NEEDED)
            needs.needed.push_back(text);
        else if (entry.d_tag == DT_RPATH)
            needs.rpath = search_path(text, file);
        else if (entry.d_tag == DT_RUNPATH)
            needs.runpath = search_path(text, file);
    }
    if (!needs.runpath.empty())
        needs.rpath.clear(); // as the loader has it
    return needs;
}

Result<std::vector<LibraryFile>> library_closure(const fs::path& program)
{
    return Closure().of(program);
}

} // namespace vm
