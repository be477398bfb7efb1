// results.json, the result of a run over one kernel, and index.json, the list of such runs. README.md
// documents both formats, schema/ holds them as JSON Schema.
#pragma once

#include "reports/result.hpp"

#include <array>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace reports {

// The whole file, indented, with a newline at the end. Invalid UTF-8 is replaced.
std::string results_json(const RunResult& run);

// Any bytes in; a result, or a sentence that names the member and what is wrong with it. A summary that does
// not add up to the cases is an error: such a file was cut or edited.
std::expected<RunResult, std::string> read_results_json(std::string_view text);

// One run of several.
struct IndexEntry {
    std::string folder{}; // relative to the folder of index.json
    std::string kernel{}; // release
    int exit = exit_no_run;
    int planned = 0;
    std::array<int, all_verdicts.size()> counts{}; // in the order of all_verdicts

    bool operator==(const IndexEntry&) const = default;
};
IndexEntry index_entry(std::string folder, const RunResult& run);

std::string index_json(const std::vector<IndexEntry>& runs);
std::expected<std::vector<IndexEntry>, std::string> read_index_json(std::string_view text);

// What several runs exit with together: unexpected verdicts before a kernel that was not judged.
int exit_code(const std::vector<IndexEntry>& runs);

} // namespace reports
