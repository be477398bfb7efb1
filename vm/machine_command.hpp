// How a MachineSpec reads as QEMU's command line.
#pragma once

#include "vm/machine.hpp"

#include <string>
#include <vector>

namespace vm {

inline constexpr std::string_view snapshot_tag = "ready";

// Descriptors that QEMU inherits.
struct MachineSockets {
    int monitor = -1, console = -1; // connected
    int port = -1;                  // listening
};

struct StartOptions {
    std::filesystem::path saved_state; // not empty: start stopped, from this file's snapshot
    bool sandbox = true;               // QEMU's own seccomp filter
};

std::string kernel_command_line(const MachineSpec& spec);
std::vector<std::string> qemu_arguments(const MachineSpec& spec, const MachineSockets& sockets,
                                        const StartOptions& options);

} // namespace vm
