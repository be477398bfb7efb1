#include "vm/tests/kernel_fixture.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>
#include <fmt/format.h>

namespace vm_test {
namespace {

// A growing archive in memory.
template <typename Setup>
std::string pack(const Setup& setup, const std::vector<std::pair<std::string, std::string>>& files)
{
    std::vector<char> buffer(std::size_t{1} << 20U);
    std::size_t used = 0;
    auto* writer = archive_write_new();
    setup(writer);
    archive_write_set_bytes_in_last_block(writer, 1);
    EXPECT_EQ(archive_write_open_memory(writer, buffer.data(), buffer.size(), &used), ARCHIVE_OK);
    for (const auto& [name, content] : files) {
        auto* entry = archive_entry_new();
        archive_entry_set_pathname(entry, name.c_str());
        archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        EXPECT_EQ(archive_write_header(writer, entry), ARCHIVE_OK) << archive_error_string(writer);
        archive_write_data(writer, content.data(), content.size());
        archive_entry_free(entry);
    }
    EXPECT_EQ(archive_write_close(writer), ARCHIVE_OK) << archive_error_string(writer);
    archive_write_free(writer);
    return {buffer.data(), used};
}

template <typename Value>
void put(std::string& bytes, std::size_t offset, const Value& value)
{
    std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

} // namespace

TemporaryDirectory::TemporaryDirectory()
{
    auto name = (fs::temp_directory_path() / "ublkcheck-test-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
}

TemporaryDirectory::~TemporaryDirectory()
{
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void write(const fs::path& file, std::string_view content)
{
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
}

std::string read(const fs::path& file)
{
    std::ifstream stream(file, std::ios::binary);
    std::string content(fs::file_size(file), '\0');
    stream.read(content.data(), static_cast<std::streamsize>(content.size()));
    return content;
}

std::string boot_image(std::string_view release)
{
    std::string image(2048, '\0');
    image[0x1f1] = 1; // one setup sector behind the first
    put(image, 0x1f4, std::uint32_t{64});
    put(image, 0x1fe, std::uint16_t{0xaa55});
    image.replace(0x202, 4, "HdrS");
    put(image, 0x20e, std::uint16_t{0x100});
    const auto text = fmt::format("{} (builder) #1 SMP", release);
    image.replace(0x300, text.size(), text);
    return image;
}

std::string module_file(std::string_view release, std::string_view depends, std::string_view softdep,
                        std::string_view alias)
{
    using namespace std::string_literals;
    auto info = fmt::format("license=GPL{0}{0}depends={1}{0}vermagic={2} SMP preempt mod_unload {0}", '\0',
                            depends, release);
    if (!softdep.empty())
        info += fmt::format("softdep={}{}", softdep, '\0');
    if (!alias.empty())
        info += fmt::format("alias={}{}", alias, '\0');
    const auto names = "\0.modinfo\0.shstrtab\0"s;
    std::string bytes(sizeof(Elf64_Ehdr), '\0');
    Elf64_Ehdr header{};
    std::memcpy(&header.e_ident[0], ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_REL;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = 3;
    header.e_shstrndx = 2;
    header.e_shoff = sizeof(Elf64_Ehdr) + info.size() + names.size();
    put(bytes, 0, header);
    std::array<Elf64_Shdr, 3> sections{};
    sections[1].sh_name = 1;
    sections[1].sh_offset = bytes.size();
    sections[1].sh_size = info.size();
    sections[2].sh_name = 10;
    sections[2].sh_offset = bytes.size() + info.size();
    sections[2].sh_size = names.size();
    bytes += info + names;
    bytes.resize(bytes.size() + sizeof(sections));
    put(bytes, header.e_shoff, sections);
    return bytes;
}

std::string debian_package(const Files& files)
{
    const auto data = pack(
        [](archive* writer) {
            archive_write_set_format_gnutar(writer);
            archive_write_add_filter_xz(writer);
        },
        {files.begin(), files.end()});
    return pack([](archive* writer) { archive_write_set_format_ar_svr4(writer); },
                {{"debian-binary", "2.0\n"}, {"data.tar.xz", data}});
}

Files module_files(const std::string& release)
{
    const auto directory = fmt::format("./usr/lib/modules/{}/", release);
    return {{directory + "kernel/drivers/block/ublk_drv.ko", module_file(release)},
            {directory + "modules.builtin", "kernel/block/bsg.ko\n"}};
}

std::string whole_package(const std::string& release)
{
    auto files = module_files(release);
    files[fmt::format("./boot/vmlinuz-{}", release)] = boot_image(release);
    files[fmt::format("./boot/config-{}", release)] = "CONFIG_BLK_DEV_UBLK=m\n";
    return debian_package(files);
}

std::string sha256_of_text(std::string_view text)
{
    const TemporaryDirectory directory;
    write(directory / "text", text);
    return vm::sha256_of(directory / "text").value_or("");
}

vm::Result<std::vector<vm::PackageRecord>> FakePackages::records(vm::Suites suites, bool /*force*/,
                                                                 const vm::Progress& /*progress*/)
{
    ++state_->index_loads;
    if (state_->offline)
        return vm::unavailable("no network");
    auto records = state_->usual;
    if (suites == vm::Suites::all)
        records.insert(records.end(), state_->unreleased.begin(), state_->unreleased.end());
    return records;
}

vm::Result<fs::path> FakePackages::download(const vm::PackageRecord& record, const vm::Progress& /*progress*/)
{
    ++state_->downloads;
    if (state_->offline)
        return vm::unavailable("no network");
    const auto found = state_->pool.find(record.filename);
    if (found == state_->pool.end())
        return vm::unavailable(record.name + " is gone from the archive");
    auto file = directory_ / fs::path(record.filename).filename();
    if (auto first = state_->first_download.extract(record.filename))
        write(file, first.mapped());
    else
        write(file, found->second);
    return file;
}

vm::KernelStore KernelStoreTest::store(vm::KernelOptions options)
{
    auto cache = vm::Cache::open(directory_ / "cache");
    EXPECT_TRUE(cache) << cache.error().message;
    vm::Progress progress;
    progress.note = [this](std::string_view line) { notes_.emplace_back(line); };
    return {std::move(cache.value()), std::make_unique<FakePackages>(archive_, directory_ / "downloads"),
            std::move(options), std::move(progress)};
}

void KernelStoreTest::add(const std::string& name, const std::string& version, const std::string& suite,
                          const std::string& content, bool indexed, bool unreleased)
{
    const auto filename = fmt::format("pool/main/l/linux/{}_{}_amd64.deb", name, version);
    archive_->pool[filename] = content;
    if (indexed)
        (unreleased ? archive_->unreleased : archive_->usual)
            .push_back({.name = name,
                        .version = version,
                        .suite = suite,
                        .filename = filename,
                        .size = content.size(),
                        .sha256 = sha256_of_text(content)});
}

void KernelStoreTest::add_whole(const std::string& release, const std::string& version,
                                const std::string& suite)
{
    add("linux-image-" + release, version, suite, whole_package(release));
}

void KernelStoreTest::add_split(const std::string& release, bool indexed, const std::string& version,
                                const std::string& suite)
{
    const auto directory = fmt::format("./usr/lib/modules/{}/", release);
    add("linux-image-" + release, version, suite, "a shell that only depends on the others");
    add("linux-binary-" + release, version, suite,
        debian_package({{directory + "vmlinuz", boot_image(release)}}));
    add("linux-modules-" + release, version, suite, debian_package(module_files(release)), indexed);
    add("linux-base-" + release, version, suite, debian_package({{directory + "modules.order", ""}}),
        indexed);
}

std::vector<std::string> KernelStoreTest::resolved(std::string_view text, vm::KernelOptions options)
{
    const auto specs = store(std::move(options)).resolve(text);
    EXPECT_TRUE(specs) << specs.error().message;
    std::vector<std::string> labels;
    if (specs)
        for (const auto& spec : *specs)
            labels.push_back(spec.label);
    return labels;
}

vm::Error KernelStoreTest::error_of(std::string_view text)
{
    const auto specs = store().resolve(text);
    EXPECT_FALSE(specs) << text;
    return specs ? vm::Error{.kind = vm::Error::Kind::usage, .message = "(none)"} : specs.error();
}

vm::Result<vm::Kernel> KernelStoreTest::fetch(std::string_view text)
{
    auto kernels = store();
    const auto specs = kernels.resolve(text);
    if (!specs)
        return std::unexpected(specs.error());
    return kernels.fetch(specs->at(0));
}

bool KernelStoreTest::said(std::string_view part) const
{
    return std::any_of(notes_.begin(), notes_.end(),
                       [part](const std::string& note) { return note.find(part) != std::string::npos; });
}

} // namespace vm_test
