// An archive's package index, in pieces of any size, to the kernels it offers; and the order of versions, on
// whatever versions the index names. The first byte is the size of the pieces.
#include "fuzz/input.hpp"
#include "vm/kernel_packages.hpp"

#include <set>

namespace {

using fuzz::require;

std::vector<vm::PackageRecord> read_in_pieces(std::string_view text, std::size_t piece)
{
    vm::PackageIndexReader reader("suite");
    for (; !text.empty(); text.remove_prefix(std::min(piece, text.size())))
        reader.feed(text.substr(0, piece));
    return reader.finish();
}

bool same(const vm::PackageRecord& a, const vm::PackageRecord& b)
{
    return a.name == b.name && a.version == b.version && a.suite == b.suite && a.filename == b.filename &&
           a.size == b.size && a.sha256 == b.sha256;
}

int sign(int value)
{
    return (value > 0) - (value < 0);
}

// An order: what sorting by it relies on.
void check_order(const std::vector<std::string>& versions)
{
    const auto compare = [](const auto& a, const auto& b) { return sign(vm::compare_debian_versions(a, b)); };
    for (const auto& a : versions) {
        require(compare(a, a) == 0);
        for (const auto& b : versions) {
            require(compare(a, b) == -compare(b, a));
            for (const auto& c : versions)
                require(compare(a, b) > 0 || compare(b, c) > 0 || compare(a, c) <= 0);
        }
        const auto version = vm::KernelVersion::parse(a);
        if (!version)
            continue;
        const auto again = vm::KernelVersion::parse(version->text());
        require(again == version && version->has_prefix(*version));
    }
}

void check_kernels(const std::vector<vm::PackageRecord>& records, std::string_view flavour)
{
    std::set<std::string> releases;
    const vm::PackagedKernel* before = nullptr;
    const auto kernels = vm::kernels_in(records, flavour);
    for (const auto& kernel : kernels) {
        require(kernel.release.ends_with(flavour) && releases.insert(kernel.release).second);
        require(kernel.packages.size() == (kernel.layout == vm::PackageLayout::whole ? 1U : 3U));
        for (const auto& package : kernel.packages)
            require(package.name.ends_with(kernel.release) && package.version == kernel.package_version);
        require(before == nullptr || !(kernel.version < before->version));
        before = &kernel;
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    constexpr std::size_t most_versions = 8;
    fuzz::Input input(data, size);
    const std::size_t piece = 1U + input.take<std::uint8_t>();
    const auto text = input.text();
    const auto records = read_in_pieces(text, text.size() + 1);
    require(std::ranges::equal(records, read_in_pieces(text, piece), same));
    std::vector<std::string> versions;
    for (const auto& record : records) {
        require(vm::is_kernel_package(record.name));
        require(!record.version.empty() && !record.filename.empty() && !record.sha256.empty());
        if (versions.size() < most_versions)
            versions.push_back(record.version);
    }
    versions.emplace_back(text.substr(0, 20));
    check_order(versions);
    for (const auto* flavour : {"cloud-amd64", "amd64"})
        check_kernels(records, flavour);
    return 0;
}
