// ublk-serve of other commits: looked up, built in a work tree of their own, and nothing left of that but the
// program.
#pragma once

#include "conformance/ublkcheck/run_options.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace conformance {

struct Revision {
    std::string typed;  // "HEAD~1"; "." is the work tree as it is, without files that git does not know
    std::string commit; // the whole hash
    std::string short_name() const { return commit.substr(0, 8); }
};

// Of the repository that the current directory is in. Error (usage): no repository, no git, no such commit.
Expected<Revision> find_revision(const std::string& typed);

struct BuildPlace {
    std::filesystem::path folder; // made when needed; holds the work tree while one is built, and the logs
    std::function<void(std::string_view)> note{};
};
// Builds ublk-serve of a revision as users get it (preset release) and copies it to `program`. The work tree
// is always at the same path, so that equal sources give equal programs. The log stays in `folder`. Errors:
// it does not build (names the first complaint and the log), interrupted; no work tree is left either way.
Expected<void> build_revision(const Revision& revision, const BuildPlace& place,
                              const std::filesystem::path& program);

} // namespace conformance
