// What is kept of the machines of a run.
#pragma once

#include "conformance/ublkcheck/run_options.hpp"
#include "reports/rundir.hpp"
#include <cstddef>

#include <filesystem>

namespace conformance {

inline constexpr std::size_t console_bytes_kept = std::size_t{4} << 20; // of each machine; the end of it

// Appends the console.log of each machine below `machines` to `file`, under a line with the machine's name,
// and removes `machines`. A console that cannot be kept (a full disk) is lost; `machines` goes all the same.
void keep_consoles(const std::filesystem::path& machines, const std::filesystem::path& file);

// Without a verdict there was no run: the folder goes. Only the console of a kernel that did not come up is
// of use, and is kept beside it; `why` then says where.
Failed discard_run(reports::RunDir& dir, Failed why);

} // namespace conformance
