#include "vm/deb.hpp"

#include <array>
#include <cerrno>
#include <fstream>
#include <memory>
#include <system_error>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include "vm/cache.hpp"

namespace vm {
namespace {

namespace fs = std::filesystem;

using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

Reader new_reader()
{
    return {archive_read_new(), archive_read_free};
}

std::string reason(archive* reader)
{
    const char* text = archive_error_string(reader);
    return text == nullptr ? "unexpected end" : text;
}

Error damaged(const fs::path& package, std::string_view why)
{
    return {Error::Kind::unavailable,
            fmt::format("{} is not a whole Debian package: {}; fetch it again", package.string(), why)};
}

// The data member of an ar archive, handed to a second reader as it is read.
struct Member {
    archive* outer;
    std::array<char, 65536> buffer{};
    bool failed = false;
};

la_ssize_t read_member(archive*, void* context, const void** data)
{
    auto& member = *static_cast<Member*>(context);
    const auto got = archive_read_data(member.outer, member.buffer.data(), member.buffer.size());
    *data = member.buffer.data();
    member.failed = got < 0;
    return got;
}

Result<void> write_entry(archive* reader, const fs::path& package, const fs::path& file)
{
    std::error_code code;
    fs::create_directories(file.parent_path(), code);
    if (code)
        return std::unexpected(write_error(file.parent_path(), code));
    errno = 0;
    std::ofstream stream(file, std::ios::binary | std::ios::trunc);
    const void* data = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    int status = ARCHIVE_OK;
    while (stream && (status = archive_read_data_block(reader, &data, &size, &offset)) == ARCHIVE_OK) {
        stream.seekp(offset);
        stream.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
    }
    stream.close();
    if (!stream)
        return std::unexpected(write_error(file, {errno != 0 ? errno : EIO, std::generic_category()}));
    if (status != ARCHIVE_EOF)
        return std::unexpected(damaged(package, reason(reader)));
    return {};
}

Result<void> unpack_data(archive* outer, const fs::path& package, const Placement& place)
{
    auto inner = new_reader();
    archive_read_support_format_tar(inner.get());
    archive_read_support_filter_all(inner.get());
    const auto member = std::make_unique<Member>(Member{.outer = outer});
    if (archive_read_open(inner.get(), member.get(), nullptr, read_member, nullptr) != ARCHIVE_OK)
        return std::unexpected(damaged(package, reason(member->failed ? outer : inner.get())));
    archive_entry* entry = nullptr;
    int status = ARCHIVE_OK;
    while ((status = archive_read_next_header(inner.get(), &entry)) == ARCHIVE_OK) {
        if (archive_entry_filetype(entry) != AE_IFREG)
            continue;
        const char* name = archive_entry_pathname(entry);
        std::string_view path = name == nullptr ? "" : name;
        while (path.starts_with("./") || path.starts_with('/'))
            path.remove_prefix(path.starts_with('/') ? 1 : 2);
        if (path.find("..") != std::string_view::npos)
            return std::unexpected(damaged(package, fmt::format("it holds the path '{}'", path)));
        if (const auto file = place(path))
            if (const auto written = write_entry(inner.get(), package, *file); !written)
                return written;
    }
    if (status != ARCHIVE_EOF)
        return std::unexpected(damaged(package, reason(member->failed ? outer : inner.get())));
    // The archive ends before its compressed file does: a cut there is one as well.
    la_ssize_t rest = 0;
    while ((rest = archive_read_data(outer, member->buffer.data(), member->buffer.size())) > 0) {
    }
    if (rest < 0)
        return std::unexpected(damaged(package, reason(outer)));
    return {};
}

} // namespace

Result<void> unpack_deb(const fs::path& package, const Placement& place)
{
    auto outer = new_reader();
    archive_read_support_format_ar(outer.get());
    if (archive_read_open_filename(outer.get(), package.c_str(), 65536) != ARCHIVE_OK) {
        if (!fs::exists(package))
            return usage_error(fmt::format("there is no file {}: correct the path", package.string()));
        return std::unexpected(damaged(package, reason(outer.get())));
    }
    archive_entry* entry = nullptr;
    int status = ARCHIVE_OK;
    while ((status = archive_read_next_header(outer.get(), &entry)) == ARCHIVE_OK)
        if (std::string_view(archive_entry_pathname(entry)).starts_with("data.tar"))
            return unpack_data(outer.get(), package, place);
    return std::unexpected(damaged(package, status == ARCHIVE_EOF ? "it has no data" : reason(outer.get())));
}

Result<std::string> read_maybe_compressed(const fs::path& file)
{
    auto reader = new_reader();
    archive_read_support_format_raw(reader.get());
    archive_read_support_filter_xz(reader.get());
    archive_read_support_filter_zstd(reader.get());
    archive_read_support_filter_gzip(reader.get());
    archive_entry* entry = nullptr;
    if (archive_read_open_filename(reader.get(), file.c_str(), 65536) != ARCHIVE_OK ||
        archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK)
        return unavailable(fmt::format("{} cannot be read: {}; fetch the kernel again", file.string(),
                                       reason(reader.get())));
    std::string content;
    std::array<char, 65536> buffer{};
    la_ssize_t got = 0;
    while ((got = archive_read_data(reader.get(), buffer.data(), buffer.size())) > 0)
        content.append(buffer.data(), static_cast<std::size_t>(got));
    if (got < 0)
        return unavailable(fmt::format("{} cannot be read: {}; fetch the kernel again", file.string(),
                                       reason(reader.get())));
    return content;
}

} // namespace vm
