// Files from outside that are read byte by byte: programs whose libraries go into a guest, kernel modules,
// kernel images. Each reader gets the same bytes, and gives nothing that is not in them.
#include "fuzz/input.hpp"
#include "vm/elf.hpp"
#include "vm/kernel_image.hpp"
#include "vm/module_info.hpp"

#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace {

using fuzz::require;

// The readers take paths: a file in memory has one.
class MemoryFile {
  public:
    explicit MemoryFile(fuzz::Bytes bytes) : fd_(memfd_create("fuzz", MFD_CLOEXEC))
    {
        require(fd_ >= 0);
        require(write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    }
    ~MemoryFile() { close(fd_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

  private:
    int fd_;
};

void check_name(std::string_view name, std::string_view file)
{
    require(name.find('\0') == std::string_view::npos);
    require(name.empty() || file.find(name) != std::string_view::npos);
}

void check_elf(const std::string& path, std::string_view file)
{
    const auto needs = vm::read_elf_needs(path);
    if (!needs)
        return require(fuzz::is_sentence(needs.error().message));
    require(file.starts_with("\177ELF"));
    check_name(needs->interpreter, file);
    for (const auto& name : needs->needed)
        check_name(name, file);
    require(needs->rpath.empty() || needs->runpath.empty());
    for (const auto* directories : {&needs->rpath, &needs->runpath})
        for (const auto& directory : *directories)
            require(!directory.empty() && directory.find(':') == std::string::npos);
}

void check_module(std::string_view file)
{
    const auto info = vm::parse_module_info(file, "module.ko");
    if (!info)
        return require(fuzz::is_sentence(info.error().message));
    require(file.starts_with("\177ELF"));
    check_name(info->vermagic_release, file);
    for (const auto* names : {&info->depends, &info->softdep})
        for (const auto& name : *names)
            require(!name.empty() && name.find('-') == std::string::npos &&
                    name.find('\0') == std::string::npos);
}

void check_image(const std::string& path, std::string_view file)
{
    const auto release = vm::release_of_image(path);
    if (!release)
        return require(fuzz::is_sentence(release.error().message));
    require(!release->empty() && release->size() <= 64 && release->find(' ') == std::string::npos);
    check_name(*release, file);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const fuzz::Input input(data, size);
    const MemoryFile file(input.rest());
    check_elf(file.path(), input.text());
    check_module(input.text());
    check_image(file.path(), input.text());
    return 0;
}
