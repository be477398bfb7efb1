// Runs apt's programs: no shell, nothing of their output on our terminal.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vm/error.hpp"

namespace vm {

struct ProcessResult {
    int status = 0;     // exit status; 128 + n when killed by signal n
    std::string output; // stdout, unless a sink took it
    std::string errors; // stderr
};

struct ProcessOptions {
    std::vector<std::string> environment;       // added to ours, "NAME=value"
    std::function<void(std::string_view)> sink; // takes stdout piece by piece
    std::function<void()> tick;                 // called about four times a second
};

// Waits for the program; stdin is empty, LC_ALL is C. Error (unavailable): it cannot be started.
Result<ProcessResult> run_process(const std::vector<std::string>& command,
                                  const ProcessOptions& options = {});

} // namespace vm
