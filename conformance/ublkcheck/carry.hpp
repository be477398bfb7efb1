// Programs of this machine that are to run in the guest: found, checked, and taken along with what they need.
#pragma once

#include "conformance/server/profile.hpp"
#include "conformance/ublkcheck/run_options.hpp"

#include <string>

namespace conformance {

// Takes the program that `words` starts along, with its libraries or its script's interpreter, and makes the
// first word its path in the guest. `what` begins each message: "--setup", "the server".
// Errors: usage for no such file, a directory, not executable, neither ELF nor script; no_run for a library
// or an interpreter that this machine lacks.
Expected<void> carry(Words& words, GuestExtras& extras, const std::string& what);

// "HOST:GUEST", checked: a host file, and an absolute guest path.
Expected<void> carry_file(const std::string& pair, GuestExtras& extras);

// The words of a command in a string, as a shell without variables would cut it. Error: an open quote,
// nothing.
Expected<Words> cut_words(const std::string& text, const std::string& what);

} // namespace conformance
