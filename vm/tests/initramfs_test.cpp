#include "vm/initramfs.hpp"

#include "vm/elf.hpp"
#include "vm/file_io.hpp"
#include "vm/tests/temp_dir.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Key;
using vm::testing::TempDir;

namespace {

struct Item {
    mode_t mode;
    dev_t device;
    std::string data;
};

std::map<std::string, Item> read_back(const fs::path& file)
{
    std::map<std::string, Item> items;
    archive* reader = archive_read_new();
    archive_read_support_format_cpio(reader);
    EXPECT_EQ(archive_read_open_filename(reader, file.c_str(), 1 << 16), ARCHIVE_OK);
    archive_entry* entry = nullptr;
    while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
        std::string data(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
        EXPECT_EQ(archive_read_data(reader, data.data(), data.size()), static_cast<la_ssize_t>(data.size()));
        items[archive_entry_pathname(entry)] = {archive_entry_mode(entry), archive_entry_rdev(entry), data};
    }
    archive_read_free(reader);
    return items;
}

std::string contents(const fs::path& file)
{
    return vm::read_file(file).value();
}

// Compresses as the kernel build does, by libarchive's raw format.
void compress(const fs::path& out, const std::string& data, int (*filter)(archive*))
{
    archive* writer = archive_write_new();
    archive_write_set_format_raw(writer);
    ASSERT_EQ(filter(writer), ARCHIVE_OK);
    ASSERT_EQ(archive_write_open_filename(writer, out.c_str()), ARCHIVE_OK);
    archive_entry* entry = archive_entry_new();
    archive_entry_set_filetype(entry, AE_IFREG);
    ASSERT_EQ(archive_write_header(writer, entry), ARCHIVE_OK);
    ASSERT_EQ(archive_write_data(writer, data.data(), data.size()), static_cast<la_ssize_t>(data.size()));
    archive_entry_free(entry);
    ASSERT_EQ(archive_write_close(writer), ARCHIVE_OK);
    archive_write_free(writer);
}

const std::string module_bytes = "\177ELF" + std::string(100'000, 'm');

} // namespace

TEST(Initramfs, holds_init_a_console_and_the_directories_that_init_mounts_on)
{
    const TempDir dir;
    ASSERT_TRUE(vm::write_initramfs({.init = "/bin/true", .programs = {}, .files = {}, .modules = {}},
                                    dir / "out.cpio"));
    const auto items = read_back(dir / "out.cpio");
    ASSERT_THAT(items, Contains(Key("init")));
    EXPECT_EQ(items.at("init").mode, static_cast<mode_t>(S_IFREG | 0755));
    EXPECT_EQ(items.at("init").data, contents("/bin/true"));
    EXPECT_EQ(items.at("dev/console").mode, static_cast<mode_t>(S_IFCHR | 0600));
    EXPECT_EQ(items.at("dev/console").device, makedev(5, 1));
    for (const auto* directory : {"proc", "sys", "dev", "tmp", "run", "mnt", "etc", "modules"}) {
        ASSERT_THAT(items, Contains(Key(directory)));
        EXPECT_TRUE(S_ISDIR(items.at(directory).mode)) << directory;
    }
    EXPECT_THAT(items.at("etc/passwd").data, HasSubstr("root:x:0:0"));
}

TEST(Initramfs, brings_the_libraries_and_the_interpreter_of_a_program)
{
    const TempDir dir;
    ASSERT_TRUE(vm::write_initramfs({.init = "/bin/true", .programs = {"ls"}, .files = {}, .modules = {}},
                                    dir / "out.cpio"));
    const auto items = read_back(dir / "out.cpio");
    EXPECT_THAT(items, Contains(Key("bin/ls")));
    const auto closure = vm::library_closure("/bin/ls");
    ASSERT_TRUE(closure) << closure.error().message;
    EXPECT_GE(closure->size(), 2U); // at least the C library and the interpreter
    for (const auto& library : *closure) {
        const auto name = library.guest.substr(1);
        ASSERT_THAT(items, Contains(Key(name)));
        EXPECT_EQ(items.at(name).data, contents(library.host)) << name;
        EXPECT_TRUE(items.contains(fs::path(name).parent_path())) << name;
    }
}

TEST(Initramfs, unpacks_modules_whatever_their_compression_and_keeps_their_order)
{
    const TempDir dir;
    dir.write("zeta.ko", module_bytes);
    compress(dir / "beta.ko.xz", module_bytes, archive_write_add_filter_xz);
    compress(dir / "alpha.ko.gz", module_bytes, archive_write_add_filter_gzip);
    compress(dir / "gamma.ko.zst", module_bytes, archive_write_add_filter_zstd);
    const auto done = vm::write_initramfs(
        {.init = "/bin/true",
         .programs = {},
         .files = {},
         .modules = {dir / "zeta.ko", dir / "beta.ko.xz", dir / "alpha.ko.gz", dir / "gamma.ko.zst"}},
        dir / "out.cpio");
    ASSERT_TRUE(done) << done.error().message;
    const auto items = read_back(dir / "out.cpio");
    std::vector<std::string> names;
    for (const auto& [name, item] : items)
        if (name.starts_with("modules/")) {
            names.push_back(name);
            EXPECT_EQ(item.data, module_bytes) << name;
        }
    EXPECT_THAT(names, testing::ElementsAre("modules/000-zeta.ko", "modules/001-beta.ko",
                                            "modules/002-alpha.ko", "modules/003-gamma.ko"));
}

TEST(Initramfs, puts_files_where_they_were_asked_for_with_their_mode)
{
    const TempDir dir;
    const auto file = dir.write("script", "hello");
    fs::permissions(file, fs::perms::owner_all);
    ASSERT_TRUE(vm::write_initramfs(
        {.init = "/bin/true", .programs = {}, .files = {{file, "/deep/down/here"}}, .modules = {}},
        dir / "out.cpio"));
    const auto items = read_back(dir / "out.cpio");
    EXPECT_THAT(items, AllOf(Contains(Key("deep")), Contains(Key("deep/down"))));
    EXPECT_EQ(items.at("deep/down/here").data, "hello");
    EXPECT_EQ(items.at("deep/down/here").mode, static_cast<mode_t>(S_IFREG | 0700));
}

TEST(Initramfs, is_the_same_bytes_every_time_and_leaves_no_temporary_file)
{
    const TempDir dir;
    const vm::InitramfsSpec spec{.init = "/bin/true", .programs = {"ls"}, .files = {}, .modules = {}};
    ASSERT_TRUE(vm::write_initramfs(spec, dir / "a"));
    ASSERT_TRUE(vm::write_initramfs(spec, dir / "b"));
    EXPECT_EQ(contents(dir / "a"), contents(dir / "b"));
    EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 2);
}

TEST(Initramfs, names_the_package_of_a_program_that_is_missing)
{
    const auto found = vm::find_program("surely-no-such-program");
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().kind, vm::Error::Kind::unavailable);
    EXPECT_THAT(found.error().message, HasSubstr("install the package surely-no-such-program"));
}

TEST(Initramfs, refuses_what_it_cannot_use_and_leaves_no_file)
{
    const TempDir dir;
    const auto script = dir.write("script.sh", "#!/bin/sh\n");
    fs::permissions(script, fs::perms::owner_all);
    const auto text = dir.write("text.ko", "not a module");
    struct Row {
        vm::InitramfsSpec spec;
        std::string says;
    };
    const std::vector<Row> rows{
        {{.init = dir / "absent", .programs = {}, .files = {}, .modules = {}}, "absent"},
        {{.init = script, .programs = {}, .files = {}, .modules = {}}, "no 64-bit ELF program"},
        {{.init = "/bin/true", .programs = {}, .files = {}, .modules = {text}}, "no kernel module"},
        {{.init = "/bin/true", .programs = {}, .files = {}, .modules = {dir / "gone.ko"}}, "gone.ko"},
        {{.init = "/bin/true", .programs = {}, .files = {{script, "relative"}}, .modules = {}}, "absolute"},
        {{.init = "/bin/true", .programs = {}, .files = {{dir / "gone", "/x"}}, .modules = {}}, "gone"},
    };
    for (const auto& row : rows) {
        const auto done = vm::write_initramfs(row.spec, dir / "out.cpio");
        ASSERT_FALSE(done) << row.says;
        EXPECT_EQ(done.error().kind, vm::Error::Kind::usage);
        EXPECT_THAT(done.error().message, HasSubstr(row.says));
        EXPECT_FALSE(fs::exists(dir / "out.cpio"));
    }
    const auto done = vm::write_initramfs({.init = "/bin/true", .programs = {}, .files = {}, .modules = {}},
                                          dir / "no-such-directory/out.cpio");
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind, vm::Error::Kind::unavailable);
}

TEST(Elf, survives_every_truncation_of_a_real_program)
{
    const TempDir dir;
    const auto whole = contents("/bin/true");
    for (std::size_t size = 0; size < whole.size(); size += 61) {
        const auto file = dir.write("cut", std::string_view(whole).substr(0, size));
        const auto needs = vm::read_elf_needs(file);
        EXPECT_TRUE(needs || !needs.error().message.empty());
    }
}

TEST(Elf, finds_the_interpreter_and_the_c_library_of_a_dynamic_program)
{
    const auto needs = vm::read_elf_needs("/bin/true");
    ASSERT_TRUE(needs);
    EXPECT_THAT(needs->interpreter, HasSubstr("ld-linux"));
    EXPECT_THAT(needs->needed, Contains("libc.so.6"));
}
