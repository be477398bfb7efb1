// Which kernels a package index offers: records in, kernels out. Pure; no apt, no network.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vm/kernel_version.hpp"

namespace vm {

// One binary package as the archive's index describes it.
struct PackageRecord {
    std::string name;       // "linux-image-6.12.107+deb13-cloud-amd64"
    std::string version;    // "6.12.107-1"
    std::string suite;      // "trixie-backports"
    std::string filename;   // below the mirror's URL: "pool/main/l/..."
    std::uint64_t size = 0; // bytes; 0 when no index tells
    std::string sha256;     // hex; empty when no index tells
};

// How Debian cut the kernel into packages.
enum class PackageLayout {
    whole,     // up to 6.18: linux-image-V holds image and modules
    split,     // from 6.19: linux-binary-V, linux-modules-V, linux-base-V (lists of built-in modules)
    unindexed, // split, superseded: modules and base are in no index, but may still be in the pool
};
std::string_view layout_name(PackageLayout layout);

struct PackagedKernel {
    std::string release; // "7.3.4+deb13-cloud-amd64"
    KernelVersion version;
    std::string suite;
    std::string package_version; // "7.3.4-1~bpo13+1"
    PackageLayout layout = PackageLayout::whole;
    std::vector<PackageRecord> packages; // what to download; for `unindexed` some without size and hash
};

// Reads the kernel packages out of an index in the Packages format, fed in pieces of any size.
class PackageIndexReader {
  public:
    explicit PackageIndexReader(std::string suite) : suite_(std::move(suite)) {}
    void feed(std::string_view piece);
    // Call once, after the last piece.
    std::vector<PackageRecord> finish();

  private:
    void line(std::string_view text);
    void end_of_record();

    std::string suite_;
    std::string rest_; // an unfinished line
    bool wanted_ = false;
    PackageRecord record_;
    std::vector<PackageRecord> records_;
};

// True for the image, binary, modules and base packages of signed kernels: no debug symbols, no unsigned
// twins, no real-time kernels, no metapackages.
bool is_kernel_package(std::string_view name);

// <0, 0, >0 as a is older than, equal to, newer than b, by Debian's rules (deb-version(7)).
int compare_debian_versions(std::string_view a, std::string_view b);

// The kernels of one flavour ("cloud-amd64", "amd64"), oldest first. A release that several records offer
// comes from the highest package version; an image package without anything in it is left out.
std::vector<PackagedKernel> kernels_in(const std::vector<PackageRecord>& records, std::string_view flavour);

} // namespace vm
