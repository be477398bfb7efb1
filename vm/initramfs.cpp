#include "vm/initramfs.hpp"

#include "vm/elf.hpp"
#include "vm/file_io.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <system_error>
#include <unistd.h>

namespace fs = std::filesystem;

namespace vm {
namespace {

struct Entry {
    mode_t mode = S_IFREG | 0644;
    std::string data;
    dev_t device = 0;
};
// Guest path without the leading slash -> what is there. Sorted, so parents come before children and the
// archive is the same every time.
using Tree = std::map<std::string, Entry>;

void put(Tree& tree, const fs::path& guest_path, Entry entry)
{
    const auto path = guest_path.lexically_normal().relative_path();
    for (auto parent = path.parent_path(); !parent.empty(); parent = parent.parent_path())
        tree.try_emplace(parent.string(), Entry{.mode = S_IFDIR | 0755, .data = {}, .device = 0});
    tree.insert_or_assign(path.string(), std::move(entry));
}

Result<void> put_file(Tree& tree, const fs::path& host, const fs::path& guest_path, mode_t mode)
{
    auto data = read_file(host);
    if (!data)
        return std::unexpected(data.error());
    put(tree, guest_path, {.mode = S_IFREG | mode, .data = std::move(*data), .device = 0});
    return {};
}

Result<void> put_program(Tree& tree, const fs::path& program, const fs::path& guest_path)
{
    const auto host = find_program(program);
    if (!host)
        return std::unexpected(host.error());
    const auto libraries = library_closure(*host);
    if (!libraries)
        return std::unexpected(libraries.error());
    for (const auto& library : *libraries)
        if (auto done = put_file(tree, library.host, library.guest, 0755); !done)
            return done;
    return put_file(tree, *host, guest_path, 0755);
}

void put_skeleton(Tree& tree)
{
    for (const auto* directory : {"proc", "sys", "dev", "run", "mnt", "root", "modules"})
        put(tree, directory, {.mode = S_IFDIR | 0755, .data = {}, .device = 0});
    put(tree, "tmp", {.mode = S_IFDIR | 01777, .data = {}, .device = 0});
    // The kernel opens it for /init before devtmpfs is mounted.
    put(tree, "dev/console", {.mode = S_IFCHR | 0600, .data = {}, .device = makedev(5, 1)});
    put(tree, "etc/passwd",
        {.data = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"});
    put(tree, "etc/group", {.data = "root:x:0:\nnogroup:x:65534:\n"});
}

using ReadArchive = std::unique_ptr<archive, decltype([](archive* a) { archive_read_free(a); })>;
using WriteArchive = std::unique_ptr<archive, decltype([](archive* a) { archive_write_free(a); })>;
using ArchiveEntry =
    std::unique_ptr<archive_entry, decltype([](archive_entry* e) { archive_entry_free(e); })>;

Result<std::string> unpack_module(const fs::path& file)
{
    const ReadArchive reader(archive_read_new());
    archive_read_support_format_raw(reader.get());
    archive_read_support_filter_gzip(reader.get());
    archive_read_support_filter_xz(reader.get());
    archive_read_support_filter_zstd(reader.get());
    archive_entry* entry = nullptr;
    std::string data;
    la_ssize_t got = archive_read_open_filename(reader.get(), file.c_str(), 1 << 16);
    if (got == ARCHIVE_OK)
        got = archive_read_next_header(reader.get(), &entry);
    for (std::string chunk(1 << 16, '\0'); got >= ARCHIVE_OK;) {
        got = archive_read_data(reader.get(), chunk.data(), chunk.size());
        if (got == 0)
            break;
        if (got > 0)
            data.append(chunk, 0, static_cast<std::size_t>(got));
    }
    if (got < 0)
        return usage_error(fmt::format("module {} cannot be unpacked: {}", file.string(),
                                       archive_error_string(reader.get())));
    if (!data.starts_with("\177ELF"))
        return usage_error(
            fmt::format("{} is no kernel module: expected .ko, .ko.xz, .ko.zst or .ko.gz", file.string()));
    return data;
}

Result<void> put_modules(Tree& tree, const std::vector<fs::path>& modules)
{
    for (std::size_t i = 0; i < modules.size(); ++i) {
        auto data = unpack_module(modules[i]);
        if (!data)
            return std::unexpected(data.error());
        const auto name = modules[i].filename().string();
        const auto stem = name.substr(0, name.find(".ko"));
        put(tree, fmt::format("modules/{:03}-{}.ko", i, stem), {.data = std::move(*data)});
    }
    return {};
}

Result<Tree> collect(const InitramfsSpec& spec)
{
    Tree tree;
    put_skeleton(tree);
    if (auto done = put_program(tree, spec.init, "init"); !done)
        return std::unexpected(done.error());
    for (const auto& program : spec.programs)
        if (auto done = put_program(tree, program, "bin" / program.filename()); !done)
            return std::unexpected(done.error());
    for (const auto& [host, guest] : spec.files) {
        if (!guest.starts_with('/') || guest.find("/../") != std::string::npos)
            return usage_error(fmt::format("guest path {} for {} must be absolute", guest, host.string()));
        std::error_code code;
        const auto permissions = fs::status(host, code).permissions() & fs::perms::mask;
        if (auto done = put_file(tree, host, guest, code ? mode_t{0} : static_cast<mode_t>(permissions));
            !done)
            return std::unexpected(done.error());
    }
    if (auto done = put_modules(tree, spec.modules); !done)
        return std::unexpected(done.error());
    return tree;
}

// An empty string when all went well, else why not.
std::string write_archive(const Tree& tree, const fs::path& file)
{
    const WriteArchive writer(archive_write_new());
    archive_write_set_format_cpio_newc(writer.get());
    auto code = archive_write_open_filename(writer.get(), file.c_str());
    for (auto it = tree.begin(); it != tree.end() && code == ARCHIVE_OK; ++it) {
        const auto& [path, item] = *it;
        const ArchiveEntry entry(archive_entry_new());
        archive_entry_set_pathname(entry.get(), path.c_str());
        archive_entry_set_mode(entry.get(), item.mode);
        archive_entry_set_nlink(entry.get(), 1);
        archive_entry_set_size(entry.get(), static_cast<la_int64_t>(item.data.size()));
        archive_entry_set_mtime(entry.get(), 0, 0);
        archive_entry_set_rdev(entry.get(), item.device);
        code = archive_write_header(writer.get(), entry.get());
        if (code == ARCHIVE_OK && !item.data.empty() &&
            archive_write_data(writer.get(), item.data.data(), item.data.size()) !=
                static_cast<la_ssize_t>(item.data.size()))
            code = ARCHIVE_FATAL;
    }
    if (code == ARCHIVE_OK)
        code = archive_write_close(writer.get());
    if (code == ARCHIVE_OK)
        return "";
    // libarchive only says "Write error".
    const int error = archive_errno(writer.get());
    return error > 0 ? std::generic_category().message(error) : archive_error_string(writer.get());
}

bool is_executable_file(const fs::path& path)
{
    std::error_code code;
    return fs::is_regular_file(path, code) && access(path.c_str(), X_OK) == 0;
}

// Programs that cases use and whose package is not named like them.
std::string_view package_of(const std::string& program)
{
    static const std::map<std::string, std::string_view, std::less<>> packages{
        {"mkfs.ext4", "e2fsprogs"}, {"fsck.ext4", "e2fsprogs"},
        {"e2fsck", "e2fsprogs"},    {"mkfs.xfs", "xfsprogs"},
        {"xfs_repair", "xfsprogs"}, {"blkdiscard", "util-linux"},
        {"blkzone", "util-linux"},  {"blockdev", "util-linux"},
        {"losetup", "mount"},       {"qemu-system-x86_64", "qemu-system-x86"},
        {"dmsetup", "dmsetup"},     {"mkfs.btrfs", "btrfs-progs"},
        {"nbdkit", "nbdkit"},       {"qemu-storage-daemon", "qemu-system-common"},
    };
    const auto it = packages.find(program);
    return it == packages.end() ? std::string_view(program) : it->second;
}

} // namespace

Result<fs::path> find_program(const fs::path& name)
{
    if (name.string().find('/') != std::string::npos) {
        if (is_executable_file(name))
            return name;
        return usage_error(fmt::format("{} is no executable file: check the path", name.string()));
    }
    const char* path = std::getenv("PATH");
    // Users without root often lack the sbin directories in PATH, and mkfs.ext4 lives there.
    std::stringstream directories(std::string(path ? path : "") +
                                  ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    for (std::string directory; std::getline(directories, directory, ':');)
        if (auto found = fs::path(directory) / name; !directory.empty() && is_executable_file(found))
            return found;
    return unavailable(fmt::format("{} is not on this machine: install the package {}", name.string(),
                                   package_of(name.string())));
}

Result<void> write_initramfs(const InitramfsSpec& spec, const fs::path& out)
{
    const auto tree = collect(spec);
    if (!tree)
        return std::unexpected(tree.error());
    const auto temporary = fs::path(fmt::format("{}.{}.tmp", out.string(), getpid()));
    auto why = write_archive(*tree, temporary);
    std::error_code code;
    if (why.empty()) {
        fs::rename(temporary, out, code);
        if (!code)
            return {};
        why = code.message();
    }
    fs::remove(temporary, code);
    return unavailable(fmt::format("initramfs {} cannot be written: {}; free some space or choose another "
                                   "folder for the run",
                                   out.string(), why));
}

} // namespace vm
