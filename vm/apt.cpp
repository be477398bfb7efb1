#include "vm/apt.hpp"

#include <array>
#include <fstream>
#include <sstream>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "vm/apt_process.hpp"

namespace vm {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::system_clock;

constexpr const char* helper = "/usr/lib/apt/apt-helper";
constexpr std::array<std::string_view, 3> usual_suites = {"trixie", "trixie-backports", "bookworm-backports"};
constexpr std::array<std::string_view, 2> further_suites = {"sid", "experimental"};

// The first complaint in what apt wrote, without its mark.
std::string first_error(std::string_view text)
{
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("E: "))
            return line.substr(3);
    return text.empty() ? "no reason given" : std::string(text.substr(0, text.find('\n')));
}

std::vector<std::string> apt_environment(const fs::path& root)
{
    return {fmt::format("APT_CONFIG={}", (root / "apt.conf").string())};
}

// The host's proxies and the like, but none of its hooks: those would act on the host.
std::string acquire_settings()
{
    std::string kept;
    const auto dump = run_process({"apt-config", "dump"});
    if (!dump)
        return kept;
    std::istringstream lines(dump->output);
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("Acquire::") && line.find("IndexTargets") == std::string::npos &&
            line.find("Languages") == std::string::npos && !line.ends_with("\"\";"))
            kept += line + "\n";
    return kept;
}

std::string apt_configuration(const fs::path& root)
{
    const auto at = [&root](std::string_view place) { return (root / place).string(); };
    return acquire_settings() +
           fmt::format(
               "Dir::State \"{}\";\nDir::State::status \"/dev/null\";\nDir::Cache \"{}\";\n"
               "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n"
               "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n"
               "Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n"
               "Dir::Log \"{}\";\n"
               "APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n"
               "Acquire::Languages \"none\";\n"
               "Acquire::PDiffs \"false\";\nAcquire::Retries \"3\";\n"
               "Acquire::AllowInsecureRepositories \"false\";\nAcquire::AllowWeakRepositories \"false\";\n"
               "Acquire::AllowDowngradeToInsecureRepositories \"false\";\n"
               "Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\n"
               "APT::Update::Error-Mode \"any\";\nAPT::Get::List-Cleanup \"false\";\n",
               at("state"), at("cache"), at("sources.list"), at("cache"));
}

std::string source_lines(const DebianMirror& mirror, Suites suites)
{
    std::string lines;
    const auto add = [&](std::string_view suite) {
        lines += fmt::format("deb [arch=amd64 signed-by={}] {} {} main\n", mirror.keyring.string(),
                             mirror.uri, suite);
    };
    for (const auto suite : usual_suites)
        add(suite);
    if (suites == Suites::all)
        for (const auto suite : further_suites)
            add(suite);
    return lines;
}

fs::path index_file(const fs::path& root, Suites suites)
{
    return root / (suites == Suites::all ? "index-all.json" : "index.json");
}

struct Index {
    std::string mirror;
    Clock::time_point loaded;
    std::vector<PackageRecord> records;
};

std::optional<Index> read_index(const fs::path& file)
{
    std::ifstream stream(file);
    const auto json = nlohmann::json::parse(stream, nullptr, false);
    if (!json.is_object() || json.value("schema", 0) != 1)
        return std::nullopt;
    try {
        Index index{.mirror = json.at("mirror"),
                    .loaded = Clock::from_time_t(json.at("loaded").get<std::time_t>()),
                    .records = {}};
        for (const auto& record : json.at("records"))
            index.records.push_back({.name = record.at("name"),
                                     .version = record.at("version"),
                                     .suite = record.at("suite"),
                                     .filename = record.at("filename"),
                                     .size = record.at("size"),
                                     .sha256 = record.at("sha256")});
        return index;
    } catch (const nlohmann::json::exception&) {
        return std::nullopt; // damaged: load it again
    }
}

Result<void> write_index(const fs::path& file, const Index& index)
{
    auto records = nlohmann::json::array();
    for (const auto& record : index.records)
        records.push_back({{"name", record.name},
                           {"version", record.version},
                           {"suite", record.suite},
                           {"filename", record.filename},
                           {"size", record.size},
                           {"sha256", record.sha256}});
    const nlohmann::json json{{"schema", 1},
                              {"mirror", index.mirror},
                              {"loaded", Clock::to_time_t(index.loaded)},
                              {"records", std::move(records)}};
    return write_file(file, json.dump(1));
}

std::string age_of(Clock::time_point then)
{
    const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(Clock::now() - then).count();
    return minutes < 120 ? fmt::format("{} minutes", minutes) : fmt::format("{} hours", minutes / 60);
}

} // namespace

Result<void> AptPackages::prepare(Suites suites)
{
    // apt does not end on a disk that is full: it tries for minutes. The lists of all suites take 60 MB at
    // their height, a kernel's packages somewhat more.
    constexpr std::uintmax_t needed = std::uintmax_t{150} << 20;
    std::error_code unknown;
    fs::create_directories(root_, unknown);
    if (const auto space = fs::space(root_, unknown); !unknown && space.available < needed)
        return std::unexpected(write_error(root_, std::make_error_code(std::errc::no_space_on_device)));
    auto mirror = find_debian_mirror();
    if (!mirror)
        return std::unexpected(mirror.error());
    mirror_ = std::move(*mirror);
    std::error_code code;
    for (const auto* directory : {"state/lists/partial", "cache/archives/partial"})
        if (fs::create_directories(root_ / directory, code); code)
            return std::unexpected(write_error(root_ / directory, code));
    if (const auto written = write_file(root_ / "apt.conf", apt_configuration(root_)); !written)
        return written;
    // Proxy settings may hold a password.
    fs::permissions(root_ / "apt.conf", fs::perms::owner_read | fs::perms::owner_write, code);
    return write_file(root_ / "sources.list", source_lines(mirror_, suites));
}

Result<std::vector<PackageRecord>> AptPackages::records(Suites suites, bool force, const Progress& progress)
{
    const auto file = index_file(root_, suites);
    auto known = read_index(file);
    const bool is_fresh = known && Clock::now() - known->loaded < fresh && known->loaded <= Clock::now();
    if (is_fresh && !force)
        return std::move(known->records);
    auto loaded = refresh(suites, progress);
    if (loaded) {
        const Index index{.mirror = mirror_.uri, .loaded = Clock::now(), .records = *loaded};
        if (const auto written = write_index(file, index); !written)
            return std::unexpected(written.error());
        return loaded;
    }
    if (!known)
        return loaded;
    progress.say(fmt::format("the package index could not be refreshed ({}): using the one of {} ago",
                             loaded.error().message, age_of(known->loaded)));
    return std::move(known->records);
}

Result<std::vector<PackageRecord>> AptPackages::refresh(Suites suites, const Progress& progress)
{
    if (const auto ready = prepare(suites); !ready)
        return std::unexpected(ready.error());
    progress.say("loading the package index");
    const auto update = run_process({"apt-get", "-q", "update"},
                                    {.environment = apt_environment(root_), .sink = {}, .tick = {}});
    if (!update)
        return std::unexpected(update.error());
    if (update->status == 0)
        return read_lists();
    // A mirror may lack a suite; that must not cost the others. Everything else is no index at all.
    if (update->errors.find("does not have a Release file") != std::string::npos) {
        progress.say(fmt::format("a suite is left out: {}", first_error(update->errors)));
        return read_lists();
    }
    return unavailable(
        fmt::format("apt could not load the package index: {}; check the network and the mirror from {}",
                    first_error(update->errors), mirror_.origin));
}

Result<std::vector<PackageRecord>> AptPackages::read_lists()
{
    const auto targets =
        run_process({"apt-get", "indextargets", "--format", "$(RELEASE) $(FILENAME)", "Created-By: Packages"},
                    {.environment = apt_environment(root_), .sink = {}, .tick = {}});
    if (!targets)
        return std::unexpected(targets.error());
    std::vector<PackageRecord> records;
    std::istringstream lines(targets->output);
    std::string suite;
    std::string file;
    while (lines >> suite && std::getline(lines >> std::ws, file)) {
        PackageIndexReader reader(suite);
        const auto read = run_process({helper, "cat-file", file},
                                      {.environment = apt_environment(root_),
                                       .sink = [&reader](std::string_view piece) { reader.feed(piece); },
                                       .tick = {}});
        if (!read)
            return std::unexpected(read.error());
        auto found = reader.finish();
        std::move(found.begin(), found.end(), std::back_inserter(records));
    }
    if (records.empty())
        return unavailable(
            fmt::format("the mirror from {} lists no kernel packages: set UBLKCHECK_APT_MIRROR to the URL "
                        "of a Debian mirror",
                        mirror_.origin));
    return records;
}

Result<fs::path> AptPackages::download(const PackageRecord& record, const Progress& progress)
{
    if (const auto ready = prepare(Suites::all); !ready)
        return std::unexpected(ready.error());
    const auto file = root_ / "cache" / "archives" / fs::path(record.filename).filename();
    // apt resumes a shorter file, verifies the hash, and takes one that is whole as it is.
    std::vector<std::string> command{helper, "download-file",
                                     fmt::format("{}/{}", mirror_.uri, record.filename), file.string()};
    if (!record.sha256.empty())
        command.push_back("SHA256:" + record.sha256);
    const auto tick = [&] {
        std::error_code code;
        const auto done = fs::file_size(file, code);
        if (progress.bytes && !code)
            progress.bytes(record.name, done, record.size);
    };
    const auto load = run_process(command, {.environment = apt_environment(root_), .sink = {}, .tick = tick});
    if (!load)
        return std::unexpected(load.error());
    if (load->status == 0)
        return file;
    std::error_code ignored;
    fs::remove(file.string() + ".FAILED", ignored);
    const auto& errors = load->errors;
    if (errors.find("404") != std::string::npos)
        return unavailable(
            fmt::format("{} {} is gone from the archive: ublkcheck kernels lists what there is", record.name,
                        record.version));
    if (errors.find("No space left") != std::string::npos)
        return std::unexpected(write_error(file, std::make_error_code(std::errc::no_space_on_device)));
    return unavailable(fmt::format("{} could not be loaded: {}; check the network, and run again to resume",
                                   record.name, first_error(errors)));
}

} // namespace vm
