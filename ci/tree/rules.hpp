// Rules that the source tree as a whole keeps: which part may include which, and how long files and functions
// may be. Each check returns its complaints, one line each; none means that the rule holds.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ci {

struct Source {
    std::string path; // from the root of the repository, with '/'
    std::string text;
};

// Every .c, .cpp, .h and .hpp below the directories that hold our code.
std::vector<Source> read_tree(const std::filesystem::path& root);

// The arrows between the parts. A directory that has no rule yet is a complaint too.
std::vector<std::string> arrow_complaints(const std::vector<Source>& sources);

// Lines: median of the files at most 150, nine in ten at most 400, none over 600.
std::vector<std::string> file_length_complaints(const std::vector<Source>& sources);

// At most 70 lines from a function's opening brace to its closing one. Functions are found by the way they
// are formatted: both braces alone at the start of a line.
std::vector<std::string> function_length_complaints(const std::vector<Source>& sources);

} // namespace ci
