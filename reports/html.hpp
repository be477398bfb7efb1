// A run as one HTML file for people: no other file, no network and no script is needed to read it.
#pragma once

#include "reports/result.hpp"
#include "reports/results_json.hpp"

#include <string>
#include <vector>

namespace reports {

// The whole page. What kernels and servers wrote is text in it and nothing else: see html_text() in text.hpp.
std::string html(const RunResult& run);

// The page beside index.json: the kernels, their counts, and links to the pages of their runs.
std::string index_html(const std::vector<IndexEntry>& runs);

} // namespace reports
