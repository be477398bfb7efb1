// Kernel release numbers, ordered the way kernels are released.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vm {

// The upstream number at the head of a release: "7.3.4+deb13-cloud-amd64" is 7.3.4, "7.3-rc7" is 7.3 and
// comes before 7.3 itself. Anything behind the number (a distribution's suffix) is ignored.
struct KernelVersion {
    std::vector<unsigned> parts;               // at least two: major, minor, and perhaps patch
    std::optional<unsigned> release_candidate; // 7 for -rc7

    static std::optional<KernelVersion> parse(std::string_view text);

    // The line a stable series belongs to: "7.3" of 7.3.4.
    std::string line() const;
    std::string text() const;

    // True for 7.3.4 and "7.3" or "7.3.4": each part of the prefix equals ours. "7.3" takes no release
    // candidates: who wants one names it ("7.3-rc7").
    bool has_prefix(const KernelVersion& prefix) const;

    std::strong_ordering operator<=>(const KernelVersion& other) const;
    bool operator==(const KernelVersion& other) const { return (*this <=> other) == 0; }
};

} // namespace vm
