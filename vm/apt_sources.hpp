// Where this machine's apt gets Debian from, read from its own configuration.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "vm/error.hpp"

namespace vm {

// One archive of apt's configuration: each combination of its URIs and suites.
struct AptSource {
    std::string uri; // without a trailing slash
    std::vector<std::string> suites;
    std::vector<std::string> components;
    std::string signed_by; // a path; empty when not given or not a path
};

// The one-line format (*.list) and the deb822 format (*.sources). Disabled entries, source packages,
// comments and lines that are neither are left out.
std::vector<AptSource> parse_one_line_sources(std::string_view text);
std::vector<AptSource> parse_deb822_sources(std::string_view text);

struct DebianMirror {
    std::string uri;               // "scheme://host/debian"
    std::filesystem::path keyring; // holds the keys that sign the archive
    std::string origin;            // where the URI was found, for messages
};

// The most Debian-like of the given sources, or nothing: it must offer component `main` of a Debian suite.
std::string pick_mirror(const std::vector<AptSource>& sources);

// The machine's mirror and keyring. UBLKCHECK_APT_MIRROR and UBLKCHECK_APT_KEYRING override what is found;
// `etc_apt` is /etc/apt except in tests. Errors (unavailable): no mirror, no keyring; each names its mend.
Result<DebianMirror> find_debian_mirror(const std::filesystem::path& etc_apt = "/etc/apt");

} // namespace vm
