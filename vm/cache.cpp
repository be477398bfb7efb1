#include "vm/cache.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>

namespace vm {
namespace {

namespace fs = std::filesystem;

constexpr const char* manifest_name = "manifest.json";

std::optional<Manifest> read_manifest(const fs::path& file)
{
    std::ifstream stream(file);
    const auto json = nlohmann::json::parse(stream, nullptr, false);
    if (!json.is_object() || json.value("schema", 0) != Manifest::current_schema)
        return std::nullopt;
    try {
        return Manifest{.release = json.at("release"),
                        .version = json.at("version"),
                        .source = json.at("source"),
                        .sig_enforce = json.at("sig_enforce"),
                        .packages = json.at("packages"),
                        .files = json.at("files")};
    } catch (const nlohmann::json::exception&) {
        return std::nullopt; // not one of ours, or damaged: the same as none
    }
}

std::string text_of(const Manifest& manifest)
{
    return nlohmann::json{{"schema", Manifest::current_schema},
                          {"release", manifest.release},
                          {"version", manifest.version},
                          {"source", manifest.source},
                          {"sig_enforce", manifest.sig_enforce},
                          {"packages", manifest.packages},
                          {"files", manifest.files}}
        .dump(1);
}

// Every regular file below `directory`, relative to it.
Result<std::set<std::string>> files_below(const fs::path& directory)
{
    std::set<std::string> files;
    std::error_code code;
    for (auto entry = fs::recursive_directory_iterator(directory, code);
         !code && entry != fs::recursive_directory_iterator(); entry.increment(code))
        if (!entry->is_directory())
            files.insert(entry->path().lexically_relative(directory).string());
    if (code)
        return unavailable(
            fmt::format("{} cannot be read: {}; check its permissions", directory.string(), code.message()));
    return files;
}

void remove_quietly(const fs::path& path)
{
    std::error_code ignored; // what stays behind is hidden, and removed by the next run
    fs::remove_all(path, ignored);
}

} // namespace

std::optional<std::string> sha256_of(const fs::path& file)
{
    std::ifstream stream(file, std::ios::binary);
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    if (!stream || !context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1)
        return std::nullopt;
    std::vector<char> buffer(std::size_t{1} << 18U);
    while (stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || stream.gcount() > 0)
        if (EVP_DigestUpdate(context.get(), buffer.data(), static_cast<std::size_t>(stream.gcount())) != 1)
            return std::nullopt;
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    if (stream.bad() || EVP_DigestFinal_ex(context.get(), digest.data(), &length) != 1)
        return std::nullopt;
    std::string hex;
    for (unsigned i = 0; i < length; ++i)
        hex += fmt::format("{:02x}", digest.at(i));
    return hex;
}

Error write_error(const fs::path& path, const std::error_code& code)
{
    const bool full = code == std::errc::no_space_on_device || code.value() == EDQUOT;
    return {Error::Kind::unavailable,
            fmt::format("cannot write {}: {}; {} UBLKCHECK_CACHE to a directory {}", path.string(),
                        code.message(),
                        full ? "free some space (about 100 MB for each kernel) or set" : "set",
                        full ? "on a larger disk" : "that you can write")};
}

Result<void> write_file(const fs::path& file, std::string_view content)
{
    auto temporary = file;
    temporary += fmt::format(".tmp{}", ::getpid());
    errno = 0;
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream << content;
    stream.close();
    std::error_code code(stream ? 0 : (errno != 0 ? errno : EIO), std::generic_category());
    if (!code)
        fs::rename(temporary, file, code);
    if (code) {
        remove_quietly(temporary);
        return std::unexpected(write_error(file, code));
    }
    return {};
}

CacheLock::~CacheLock()
{
    if (descriptor_ >= 0)
        ::close(descriptor_);
}

fs::path Cache::default_root()
{
    const auto variable = [](const char* name) -> fs::path {
        const char* value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nobody here sets variables
        return value == nullptr ? "" : value;
    };
    if (const auto own = variable("UBLKCHECK_CACHE"); !own.empty())
        return fs::absolute(own);
    if (const auto xdg = variable("XDG_CACHE_HOME"); xdg.is_absolute())
        return xdg / "ublkcheck";
    if (const auto home = variable("HOME"); !home.empty())
        return home / ".cache" / "ublkcheck";
    return fs::temp_directory_path() / fmt::format("ublkcheck-cache-{}", ::getuid());
}

Result<Cache> Cache::open(fs::path root)
{
    std::error_code code;
    fs::create_directories(root / "kernels", code);
    if (code)
        return std::unexpected(write_error(root, code));
    return Cache(std::move(root));
}

Result<CacheLock> Cache::lock(const Progress& progress) const
{
    const auto file = root_ / "lock";
    const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644); // NOLINT(*-vararg)
    if (descriptor < 0)
        return std::unexpected(write_error(file, {errno, std::generic_category()}));
    CacheLock lock(descriptor);
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0)
        return lock;
    progress.say("another ublkcheck is at work in the kernel cache: waiting for it");
    while (::flock(descriptor, LOCK_EX) != 0)
        if (errno != EINTR)
            return std::unexpected(write_error(file, {errno, std::generic_category()}));
    return lock;
}

std::map<std::string, Manifest> Cache::kernels() const
{
    std::map<std::string, Manifest> found;
    std::error_code ignored; // an unreadable cache holds nothing
    for (const auto& entry : fs::directory_iterator(root_ / "kernels", ignored))
        if (const auto key = entry.path().filename().string(); !key.starts_with('.'))
            if (auto manifest = read_manifest(entry.path() / manifest_name))
                found.emplace(key, std::move(*manifest));
    return found;
}

Result<std::optional<Manifest>> Cache::verified(std::string_view key) const
{
    const auto directory = kernel_directory(key);
    if (!fs::exists(directory))
        return std::nullopt;
    auto manifest = read_manifest(directory / manifest_name);
    if (!manifest)
        return unavailable("its manifest is damaged");
    auto present = files_below(directory);
    if (!present)
        return std::unexpected(present.error());
    present->erase(manifest_name);
    for (const auto& [file, hash] : manifest->files) {
        if (present->erase(file) == 0)
            return unavailable(fmt::format("{} is missing", file));
        if (sha256_of(directory / file) != hash)
            return unavailable(fmt::format("{} is not what was fetched", file));
    }
    if (!present->empty())
        return unavailable(fmt::format("{} was not fetched", *present->begin()));
    return manifest;
}

Result<fs::path> Cache::new_directory(std::string_view key) const
{
    // Hidden names are of runs that are over: we hold the lock.
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(root_ / "kernels", code))
        if (entry.path().filename().string().starts_with('.'))
            remove_quietly(entry.path());
    auto directory = root_ / "kernels" / fmt::format(".new-{}", key);
    fs::create_directories(directory, code);
    if (code)
        return std::unexpected(write_error(directory, code));
    return directory;
}

Result<void> Cache::publish(std::string_view key, const fs::path& directory, Manifest manifest) const
{
    const auto files = files_below(directory);
    if (!files)
        return std::unexpected(files.error());
    for (const auto& file : *files) {
        const auto hash = sha256_of(directory / file);
        if (!hash)
            return unavailable(
                fmt::format("{} cannot be read back; check the disk", (directory / file).string()));
        manifest.files[file] = *hash;
    }
    if (const auto written = write_file(directory / manifest_name, text_of(manifest)); !written)
        return written;
    const auto place = kernel_directory(key);
    const auto replaced = root_ / "kernels" / fmt::format(".old-{}", key);
    std::error_code code;
    if (fs::exists(place))
        fs::rename(place, replaced, code);
    if (!code)
        fs::rename(directory, place, code);
    if (code)
        return std::unexpected(write_error(place, code));
    remove_quietly(replaced);
    return {};
}

} // namespace vm
