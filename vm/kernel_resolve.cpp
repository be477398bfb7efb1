// What KERNEL= names.
#include <algorithm>
#include <set>
#include <sstream>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "vm/kernel.hpp"

namespace vm {
namespace {

namespace fs = std::filesystem;

const KernelVersion oldest_line{.parts = {6, 12}, .release_candidate = {}};

std::vector<std::string> split(std::string_view text, char separator)
{
    std::vector<std::string> parts;
    std::istringstream stream{std::string(text)};
    for (std::string part; std::getline(stream, part, separator);)
        if (!part.empty())
            parts.push_back(std::move(part));
    return parts;
}

bool is_there(const fs::path& path)
{
    std::error_code ignored; // too long or not permitted: not there for us
    return fs::exists(path, ignored);
}

bool is_local(const std::string& word)
{
    return word.find('/') != std::string::npos || word.ends_with(".deb") ||
           word.find(".deb,") != std::string::npos || word.find(':') != std::string::npos || is_there(word);
}

std::vector<std::string> tokens_of(std::string_view text)
{
    const auto first = text.find_first_not_of(" \t\n,");
    if (first == std::string_view::npos)
        return {};
    const std::string whole(text.substr(first, text.find_last_not_of(" \t\n,") - first + 1));
    if (is_there(whole)) // a path with spaces or commas in it
        return {whole};
    std::vector<std::string> tokens;
    std::istringstream stream(whole);
    for (std::string word; stream >> word;) {
        if (is_local(word)) {
            tokens.push_back(std::move(word));
            continue;
        }
        auto parts = split(word, ',');
        std::move(parts.begin(), parts.end(), std::back_inserter(tokens));
    }
    return tokens;
}

// True when the text is a number and nothing else: 7.3, 7.3.4, 7.3-rc7.
bool is_bare_version(std::string_view token)
{
    const auto version = KernelVersion::parse(token);
    return version && version->text() == token;
}

Error no_such_kernel(std::string_view token, const std::vector<std::string>& newest)
{
    return {Error::Kind::usage, fmt::format("there is no packaged kernel '{}'; the newest of each line are "
                                            "{}; ublkcheck kernels --refresh lists all",
                                            token, fmt::join(newest, ", "))};
}

} // namespace

Result<KernelStore> KernelStore::open(KernelOptions options, Progress progress)
{
    auto cache = Cache::open();
    if (!cache)
        return std::unexpected(cache.error());
    auto packages = std::make_unique<AptPackages>(cache->root() / "apt");
    return KernelStore(std::move(*cache), std::move(packages), std::move(options), std::move(progress));
}

std::string_view KernelStore::flavour_of(std::string_view token) const
{
    if (token.ends_with("-cloud-amd64"))
        return "cloud-amd64";
    return token.ends_with("-amd64") ? "amd64" : std::string_view(options_.flavour);
}

KernelStore::Candidates KernelStore::cached_candidates(std::string_view flavour) const
{
    Candidates found;
    for (const auto& [key, manifest] : cache_.kernels()) {
        const auto version = KernelVersion::parse(manifest.version);
        const bool cloud = key.ends_with("-cloud-amd64");
        if (version && key.ends_with(fmt::format("-{}", flavour)) && cloud == flavour.starts_with("cloud"))
            found.push_back({.release = key, .version = *version, .package = {}, .cached = true});
    }
    return found;
}

Result<KernelStore::Candidates> KernelStore::candidates(std::string_view flavour, Suites suites, bool force)
{
    auto found = cached_candidates(flavour);
    Result<std::vector<PackageRecord>> records;
    {
        const auto lock = cache_.lock(progress_);
        if (!lock)
            return std::unexpected(lock.error());
        records = packages_->records(suites, force, progress_);
    }
    if (!records) {
        if (found.empty())
            return std::unexpected(records.error());
        progress_.say(fmt::format("only cached kernels can be used: {}", records.error().message));
        records.emplace();
    }
    for (auto& kernel : kernels_in(*records, flavour)) {
        const auto same = std::find_if(found.begin(), found.end(),
                                       [&](const Candidate& have) { return have.release == kernel.release; });
        if (same != found.end())
            same->package = std::move(kernel);
        else
            found.push_back(
                {.release = kernel.release, .version = kernel.version, .package = kernel, .cached = false});
    }
    std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
        if (a.version != b.version)
            return a.version < b.version;
        return compare_debian_versions(a.release, b.release) < 0;
    });
    return found;
}

std::vector<const KernelStore::Candidate*> KernelStore::matches(const Candidates& candidates,
                                                                std::string_view token)
{
    std::vector<const Candidate*> newest_of_line;
    for (const auto& candidate : candidates) {
        if (candidate.version.release_candidate || candidate.version < oldest_line)
            continue;
        if (!newest_of_line.empty() && newest_of_line.back()->version.line() == candidate.version.line())
            newest_of_line.back() = &candidate;
        else
            newest_of_line.push_back(&candidate);
    }
    if (token == "all")
        return newest_of_line;
    if (token == "latest")
        return newest_of_line.empty() ? newest_of_line : std::vector{newest_of_line.back()};
    const auto wanted = KernelVersion::parse(token);
    const bool bare = is_bare_version(token);
    const auto fits = [&](const Candidate& candidate) {
        if (bare)
            return candidate.version.has_prefix(*wanted);
        return candidate.release == token || candidate.release.starts_with(fmt::format("{}-", token));
    };
    const auto best = std::find_if(candidates.rbegin(), candidates.rend(), fits);
    return best == candidates.rend() ? std::vector<const Candidate*>{}
                                     : std::vector<const Candidate*>{&*best};
}

std::string KernelStore::shortest_name(const Candidates& candidates, const Candidate& candidate)
{
    const auto number = candidate.version.text();
    const auto named = matches(candidates, number);
    return !named.empty() && named.front()->release == candidate.release ? number : candidate.release;
}

Result<std::vector<KernelSpec>> KernelStore::resolve_packaged(const std::string& token)
{
    const auto version = KernelVersion::parse(token);
    if (token != "latest" && token != "all" && !version)
        return usage_error(
            fmt::format("KERNEL='{}' is neither a version (7.3, 7.3.4), nor latest, nor all, nor an "
                        "existing file: correct it; ublkcheck kernels lists the versions",
                        token));
    const auto flavour = flavour_of(token);
    const auto specs = [](const Candidates& candidates, const std::vector<const Candidate*>& chosen) {
        std::vector<KernelSpec> result;
        for (const auto* one : chosen)
            result.push_back({.kind = KernelSpec::Kind::packaged,
                              .label = one->release,
                              .typed = shortest_name(candidates, *one),
                              .package = one->package,
                              .files = {}});
        return result;
    };
    // A complete version that is cached needs no index: repeating one case works at once and offline.
    if (version && !options_.refresh && (version->parts.size() > 2 || version->release_candidate)) {
        const auto cached = cached_candidates(flavour);
        if (const auto found = matches(cached, token); !found.empty())
            return specs(cached, found);
    }
    const auto first = options_.all_suites ? Suites::all : Suites::usual;
    auto known = candidates(flavour, first, options_.refresh);
    if (!known)
        return std::unexpected(known.error());
    auto found = matches(*known, token);
    if (found.empty()) {
        known = candidates(flavour, Suites::all, options_.refresh);
        if (!known)
            return std::unexpected(known.error());
        found = matches(*known, token);
    }
    if (found.empty()) {
        std::vector<std::string> newest;
        for (const auto* one : matches(*known, "all"))
            newest.push_back(one->version.text());
        return std::unexpected(no_such_kernel(token, newest));
    }
    return specs(*known, found);
}

Result<KernelSpec> KernelStore::resolve_local(const std::string& token) const
{
    using Kind = KernelSpec::Kind;
    const auto spec = [&](Kind kind, std::vector<fs::path> files) {
        return KernelSpec{
            .kind = kind, .label = token, .typed = token, .package = {}, .files = std::move(files)};
    };
    if (token.ends_with(".deb")) {
        std::vector<fs::path> files;
        const bool one = is_there(token);
        for (const auto& file : one ? std::vector{token} : split(token, ',')) {
            if (!file.ends_with(".deb"))
                return usage_error(
                    fmt::format("'{}' stands between packages and is none: give only .deb files, "
                                "separated by commas",
                                file));
            if (!is_there(file))
                return usage_error(fmt::format("there is no file {}: correct the path", file));
            files.push_back(fs::absolute(file));
        }
        return spec(Kind::deb_files, std::move(files));
    }
    if (!is_there(token)) {
        const auto colon = token.rfind(':');
        if (colon == std::string::npos || colon == 0)
            return usage_error(fmt::format("there is no file {}: correct the path", token));
        const fs::path image = token.substr(0, colon);
        const fs::path modules = token.substr(colon + 1);
        for (const auto& path : {image, modules})
            if (!is_there(path))
                return usage_error(
                    fmt::format("there is no {}, of KERNEL={}: correct the path", path.string(), token));
        return spec(Kind::image, {fs::absolute(image), fs::absolute(modules)});
    }
    if (fs::is_directory(token))
        return spec(Kind::build_tree, {fs::absolute(token)});
    return usage_error(
        fmt::format("KERNEL={} is an image without its modules: give KERNEL={}:DIRECTORY, with the "
                    "/lib/modules/<release> that belongs to it",
                    token, token));
}

Result<std::vector<KernelSpec>> KernelStore::resolve(std::string_view text)
{
    const auto tokens = tokens_of(text);
    if (tokens.empty())
        return usage_error("KERNEL= is empty: give a version (7.3), latest, all, or a file");
    std::vector<KernelSpec> specs;
    std::set<std::string> seen;
    const auto add = [&](KernelSpec spec) {
        if (seen.insert(spec.label).second)
            specs.push_back(std::move(spec));
    };
    for (const auto& token : tokens) {
        if (is_local(token)) {
            auto spec = resolve_local(token);
            if (!spec)
                return std::unexpected(spec.error());
            add(std::move(*spec));
            continue;
        }
        auto found = resolve_packaged(token);
        if (!found)
            return found;
        for (auto& spec : *found)
            add(std::move(spec));
    }
    return specs;
}

Result<std::vector<ListedKernel>> KernelStore::list()
{
    const auto known =
        candidates(options_.flavour, options_.all_suites ? Suites::all : Suites::usual, options_.refresh);
    if (!known)
        return std::unexpected(known.error());
    std::vector<ListedKernel> lines;
    for (const auto& one : *known)
        if (one.version >= oldest_line) // earlier ones have no ublk driver
            lines.push_back({.release = one.release,
                             .typed = shortest_name(*known, one),
                             .layout = one.package ? std::string(layout_name(one.package->layout)) : "",
                             .suite = one.package ? one.package->suite : "",
                             .cached = one.cached});
    return lines;
}

} // namespace vm
