#include "vm/kernel_packages.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include <fmt/format.h>

namespace vm {
namespace {

constexpr std::array<std::string_view, 4> prefixes = {"linux-image-", "linux-binary-", "linux-modules-",
                                                      "linux-base-"};

bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Order of a character in the non-digit parts of a Debian version: '~' before the end, letters before the
// rest.
int weight(std::string_view text, std::size_t at)
{
    if (at >= text.size() || is_digit(text[at]))
        return 0;
    const auto c = text[at];
    if (c == '~')
        return -1;
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter ? c : c + 256;
}

int compare_parts(std::string_view a, std::string_view b)
{
    while (!a.empty() || !b.empty()) {
        std::size_t i = 0;
        while ((i < a.size() && !is_digit(a[i])) || (i < b.size() && !is_digit(b[i]))) {
            if (const int difference = weight(a, i) - weight(b, i); difference != 0)
                return difference;
            ++i;
        }
        a.remove_prefix(std::min(i, a.size()));
        b.remove_prefix(std::min(i, b.size()));
        const auto digits = [](std::string_view& text) {
            const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
            auto number = text.substr(0, static_cast<std::size_t>(end - text.begin()));
            text.remove_prefix(number.size());
            number.remove_prefix(std::min(number.find_first_not_of('0'), number.size()));
            return number;
        };
        const auto left = digits(a);
        const auto right = digits(b);
        if (left.size() != right.size())
            return left.size() < right.size() ? -1 : 1;
        if (const int difference = left.compare(right); difference != 0)
            return difference;
    }
    return 0;
}

using ByName = std::map<std::string, const PackageRecord*, std::less<>>;

// The sibling of a package that its index no longer lists. Those are built from the source package `linux`
// (only image and binary come from linux-signed-amd64), and the pool's names follow from name and version.
PackageRecord unindexed_sibling(const PackageRecord& binary, std::string name)
{
    auto version = binary.version;
    if (const auto epoch = version.find(':'); epoch != std::string::npos)
        version.erase(0, epoch + 1);
    auto filename = fmt::format("pool/main/l/linux/{}_{}_amd64.deb", name, version);
    return {.name = std::move(name),
            .version = binary.version,
            .suite = binary.suite,
            .filename = std::move(filename),
            .size = 0,
            .sha256 = {}};
}

void add_split(PackagedKernel& kernel, const ByName& newest, const PackageRecord& binary)
{
    kernel.layout = PackageLayout::split;
    kernel.packages.push_back(binary);
    for (const auto* part : {"linux-modules-", "linux-base-"}) {
        auto name = part + kernel.release;
        const auto found = newest.find(name);
        if (found != newest.end() && found->second->version == binary.version) {
            kernel.packages.push_back(*found->second);
        } else {
            kernel.packages.push_back(unindexed_sibling(binary, std::move(name)));
            kernel.layout = PackageLayout::unindexed;
        }
    }
}

} // namespace

std::string_view layout_name(PackageLayout layout)
{
    switch (layout) {
    case PackageLayout::whole:
        return "image";
    case PackageLayout::split:
        return "binary+modules";
    case PackageLayout::unindexed:
        return "binary+modules (modules in no index)";
    }
    return "unknown";
}

bool is_kernel_package(std::string_view name)
{
    const auto prefix = std::find_if(prefixes.begin(), prefixes.end(), [name](std::string_view candidate) {
        return name.starts_with(candidate);
    });
    if (prefix == prefixes.end())
        return false;
    const auto release = name.substr(prefix->size());
    if (!KernelVersion::parse(release) || !release.ends_with("amd64"))
        return false; // metapackages have no number, -dbg and -unsigned end otherwise
    return release.find("-rt-") == std::string_view::npos && release.find("+rt-") == std::string_view::npos;
}

int compare_debian_versions(std::string_view a, std::string_view b)
{
    const auto split = [](std::string_view text) {
        std::string_view epoch = "0";
        if (const auto colon = text.find(':'); colon != std::string_view::npos) {
            epoch = text.substr(0, colon);
            text.remove_prefix(colon + 1);
        }
        std::string_view revision;
        if (const auto dash = text.rfind('-'); dash != std::string_view::npos) {
            revision = text.substr(dash + 1);
            text = text.substr(0, dash);
        }
        return std::array{epoch, text, revision};
    };
    const auto left = split(a);
    const auto right = split(b);
    for (std::size_t i = 0; i < left.size(); ++i)
        if (const int difference = compare_parts(left.at(i), right.at(i)); difference != 0)
            return difference;
    return 0;
}

void PackageIndexReader::feed(std::string_view piece)
{
    while (!piece.empty()) {
        const auto end = piece.find('\n');
        if (end == std::string_view::npos) {
            rest_ += piece;
            return;
        }
        if (rest_.empty()) {
            line(piece.substr(0, end));
        } else {
            rest_ += piece.substr(0, end);
            line(rest_);
            rest_.clear();
        }
        piece.remove_prefix(end + 1);
    }
}

std::vector<PackageRecord> PackageIndexReader::finish()
{
    if (!rest_.empty())
        line(rest_);
    end_of_record();
    return std::move(records_);
}

void PackageIndexReader::line(std::string_view text)
{
    if (text.empty())
        return end_of_record();
    const auto value_of = [text](std::string_view field) -> std::string_view {
        return text.starts_with(field) ? text.substr(field.size()) : std::string_view{};
    };
    if (const auto name = value_of("Package: "); !name.empty()) {
        wanted_ = is_kernel_package(name);
        record_ = {.name = std::string(name),
                   .version = {},
                   .suite = suite_,
                   .filename = {},
                   .size = 0,
                   .sha256 = {}};
    }
    if (!wanted_)
        return;
    if (const auto version = value_of("Version: "); !version.empty())
        record_.version = version;
    else if (const auto filename = value_of("Filename: "); !filename.empty())
        record_.filename = filename;
    else if (const auto hash = value_of("SHA256: "); !hash.empty())
        record_.sha256 = hash;
    else if (const auto size = value_of("Size: "); !size.empty())
        std::from_chars(size.data(), size.data() + size.size(), record_.size);
}

void PackageIndexReader::end_of_record()
{
    // A record without name, hash or place cannot be fetched: the index is not one we can use.
    if (wanted_ && !record_.version.empty() && !record_.filename.empty() && !record_.sha256.empty())
        records_.push_back(std::move(record_));
    wanted_ = false;
    record_ = {};
}

std::vector<PackagedKernel> kernels_in(const std::vector<PackageRecord>& records, std::string_view flavour)
{
    ByName newest;
    for (const auto& record : records) {
        auto& best = newest[record.name];
        if (best == nullptr || compare_debian_versions(best->version, record.version) < 0)
            best = &record;
    }
    std::map<std::string, PackagedKernel, std::less<>> kernels;
    const auto suffix = fmt::format("-{}", flavour);
    for (const auto& [name, record] : newest) {
        const bool image = name.starts_with("linux-image-");
        if (!is_kernel_package(name) || !(image || name.starts_with("linux-binary-")))
            continue;
        const auto release = name.substr(image ? prefixes[0].size() : prefixes[1].size());
        const auto version = KernelVersion::parse(release);
        // "-amd64" also ends "-cloud-amd64": the flavour is everything behind the version and +debNN.
        const auto dash =
            release.find('-', release.find("-rc") == std::string::npos ? 0 : release.find("-rc") + 1);
        if (!version || dash == std::string::npos || release.substr(dash) != suffix)
            continue;
        const auto split = newest.contains("linux-binary-" + release);
        if (split && image)
            continue; // a shell that only depends on the others
        // Debian's releases do not say that they are candidates, the packages' versions do.
        const auto packaged = KernelVersion::parse(record->version);
        PackagedKernel kernel{.release = release,
                              .version = packaged && packaged->release_candidate ? *packaged : *version,
                              .suite = record->suite,
                              .package_version = record->version,
                              .layout = PackageLayout::whole,
                              .packages = {}};
        if (split)
            add_split(kernel, newest, *record);
        else
            kernel.packages.push_back(*record);
        kernels.insert_or_assign(release, std::move(kernel));
    }
    std::vector<PackagedKernel> sorted;
    sorted.reserve(kernels.size());
    for (auto& [release, kernel] : kernels)
        sorted.push_back(std::move(kernel));
    std::sort(sorted.begin(), sorted.end(), [](const PackagedKernel& a, const PackagedKernel& b) {
        if (a.version != b.version)
            return a.version < b.version;
        return compare_debian_versions(a.release, b.release) < 0;
    });
    return sorted;
}

} // namespace vm
