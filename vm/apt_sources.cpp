#include "vm/apt_sources.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <sstream>
#include <system_error>

#include <fmt/format.h>

#include "vm/file_io.hpp"

namespace vm {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> words(std::string_view text)
{
    std::istringstream stream{std::string(text)};
    std::vector<std::string> found;
    for (std::string word; stream >> word;)
        found.push_back(std::move(word));
    return found;
}

std::string without_trailing_slashes(std::string uri)
{
    while (uri.ends_with('/'))
        uri.pop_back();
    return uri;
}

std::string lower(std::string_view text)
{
    std::string result(text);
    for (auto& c : result)
        if (c >= 'A' && c <= 'Z')
            c = static_cast<char>(c - 'A' + 'a');
    return result;
}

bool is_debian_suite(std::string_view suite)
{
    static constexpr std::array<std::string_view, 11> names = {
        "bullseye",  "bookworm", "trixie",  "forky",    "duke",        "sid",
        "oldstable", "stable",   "testing", "unstable", "experimental"};
    for (const auto* pocket : {"-updates", "-backports", "-proposed-updates"})
        if (suite.ends_with(pocket)) {
            suite.remove_suffix(std::string_view(pocket).size());
            break;
        }
    return std::find(names.begin(), names.end(), suite) != names.end();
}

// How sure we are that an archive is Debian itself: other vendors use Debian's suite names as well.
int debian_likeness(const AptSource& source)
{
    const bool main =
        std::find(source.components.begin(), source.components.end(), "main") != source.components.end();
    const bool suite = std::any_of(source.suites.begin(), source.suites.end(), is_debian_suite);
    if (!main || !suite || source.uri.starts_with("cdrom:") ||
        source.uri.find("-security") != std::string::npos)
        return 0;
    int score = 1;
    if (source.signed_by.find("debian-archive") != std::string::npos)
        score += 4;
    if (source.uri.ends_with("/debian") || source.uri.find("/archive/debian/") != std::string::npos)
        score += 2;
    return score;
}

std::string environment(const char* name)
{
    const char* value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nobody here sets variables
    return value == nullptr ? std::string{} : std::string(value);
}

// What cannot be read configures nothing.
std::string slurp(const fs::path& path)
{
    return read_file(path).value_or("");
}

std::vector<AptSource> read_sources(const fs::path& etc_apt)
{
    std::vector<fs::path> files{etc_apt / "sources.list"};
    std::error_code ignored; // no such directory: nothing configured there
    for (const auto& entry : fs::directory_iterator(etc_apt / "sources.list.d", ignored))
        files.push_back(entry.path());
    std::sort(files.begin() + 1, files.end());
    std::vector<AptSource> sources;
    for (const auto& file : files) {
        std::vector<AptSource> found;
        if (file.extension() == ".list")
            found = parse_one_line_sources(slurp(file));
        else if (file.extension() == ".sources")
            found = parse_deb822_sources(slurp(file));
        std::move(found.begin(), found.end(), std::back_inserter(sources));
    }
    return sources;
}

using Stanza = std::map<std::string, std::string>; // field in lower case, value in one line

std::vector<Stanza> stanzas(std::string_view text)
{
    std::vector<Stanza> all(1);
    std::string field;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with('#'))
            continue;
        if (line.find_first_not_of(" \t\r") == std::string::npos) {
            all.emplace_back();
            field.clear();
        } else if (line.front() == ' ' || line.front() == '\t') {
            if (!field.empty())
                all.back()[field].append(" ").append(line);
        } else if (const auto colon = line.find(':'); colon != std::string::npos) {
            field = lower(std::string_view(line).substr(0, colon));
            all.back()[field] = line.substr(colon + 1);
        }
    }
    return all;
}

} // namespace

std::vector<AptSource> parse_one_line_sources(std::string_view text)
{
    std::vector<AptSource> sources;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        line.erase(std::min(line.find('#'), line.size()));
        AptSource source;
        if (const auto open = line.find('['), close = line.find(']');
            open != std::string::npos && close != std::string::npos && open < close) {
            for (const auto& option : words(std::string_view(line).substr(open + 1, close - open - 1)))
                if (lower(option).starts_with("signed-by=/"))
                    source.signed_by = option.substr(std::string_view("signed-by=").size());
            line.erase(open, close - open + 1); // blanks stand on both sides
        }
        const auto fields = words(line);
        if (fields.size() < 4 || fields[0] != "deb")
            continue;
        source.uri = without_trailing_slashes(fields[1]);
        source.suites = {fields[2]};
        source.components.assign(fields.begin() + 3, fields.end());
        sources.push_back(std::move(source));
    }
    return sources;
}

std::vector<AptSource> parse_deb822_sources(std::string_view text)
{
    std::vector<AptSource> sources;
    for (auto& stanza : stanzas(text)) {
        const auto enabled = words(lower(stanza["enabled"]));
        const bool disabled =
            !enabled.empty() && (enabled[0] == "no" || enabled[0] == "false" || enabled[0] == "0");
        const auto types = words(stanza["types"]);
        if (disabled || std::find(types.begin(), types.end(), "deb") == types.end())
            continue;
        const auto signed_by = words(stanza["signed-by"]);
        for (auto& uri : words(stanza["uris"]))
            sources.push_back(
                {.uri = without_trailing_slashes(std::move(uri)),
                 .suites = words(stanza["suites"]),
                 .components = words(stanza["components"]),
                 .signed_by = signed_by.size() == 1 && signed_by[0].starts_with('/') ? signed_by[0] : ""});
    }
    return sources;
}

std::string pick_mirror(const std::vector<AptSource>& sources)
{
    const auto best =
        std::max_element(sources.begin(), sources.end(), [](const AptSource& a, const AptSource& b) {
            return debian_likeness(a) < debian_likeness(b);
        });
    return best == sources.end() || debian_likeness(*best) == 0 ? std::string{} : best->uri;
}

Result<DebianMirror> find_debian_mirror(const fs::path& etc_apt)
{
    DebianMirror mirror{.uri = without_trailing_slashes(environment("UBLKCHECK_APT_MIRROR")),
                        .keyring = environment("UBLKCHECK_APT_KEYRING"),
                        .origin = "UBLKCHECK_APT_MIRROR"};
    if (mirror.uri.empty()) {
        mirror.uri = pick_mirror(read_sources(etc_apt));
        mirror.origin = etc_apt.string();
    }
    if (mirror.uri.empty())
        return unavailable(
            fmt::format("no Debian mirror is configured in {}: set UBLKCHECK_APT_MIRROR to the URL of "
                        "one (the directory that holds dists/ and pool/), or give KERNEL= a file",
                        etc_apt.string()));
    if (mirror.uri.find_first_of(" \t\n[]#") != std::string::npos)
        return usage_error(
            fmt::format("'{}' is not the URL of a mirror: correct UBLKCHECK_APT_MIRROR", mirror.uri));
    // The whole archive keyring: the key file that a host names for its own release does not sign the others.
    if (mirror.keyring.empty())
        for (const auto* path : {"/usr/share/keyrings/debian-archive-keyring.gpg",
                                 "/usr/share/keyrings/debian-archive-keyring.pgp"})
            if (fs::exists(path)) {
                mirror.keyring = path;
                break;
            }
    if (mirror.keyring.empty())
        return unavailable(
            "the keys of the Debian archive are not installed, so no kernel could be verified: "
            "apt-get install debian-archive-keyring");
    if (!fs::exists(mirror.keyring))
        return usage_error(
            fmt::format("UBLKCHECK_APT_KEYRING names {}, which does not exist: correct it or unset it",
                        mirror.keyring.string()));
    return mirror;
}

} // namespace vm
