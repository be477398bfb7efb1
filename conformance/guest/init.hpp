// The machine's init: sets the machine up, says that it is ready, and runs the cases that the host names.
#pragma once

#include <string_view>

namespace conformance {

// A file with the ids of cases, one a line. Where the guest has it, it runs them before it talks to anybody,
// and then tells all results at once: on a machine with a clock of its own (vm::MachineSpec::exact) they
// depend on nothing but the guest.
inline constexpr std::string_view unattended_file = "/etc/ublkcheck/unattended";

int be_init(); // returns only if the machine cannot be used; the kernel then panics, which the host sees

} // namespace conformance
