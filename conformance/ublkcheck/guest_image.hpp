// What the machine boots: one kernel's modules, the guest program and what its cases start.
#pragma once

#include "conformance/ublkcheck/run_options.hpp"
#include "vm/error.hpp"
#include "vm/kernel.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace conformance {

struct GuestOptions {
    std::filesystem::path programs; // directory of ublkcheck-guest and ublk-serve
    std::filesystem::path driver;   // a ublk_drv module to use in place of the kernel's; empty: the kernel's
    GuestExtras extras{};
};

// Programs that cases start and skip without: fio, mkfs.ext4, e2fsck, mkfs.btrfs. Those that this machine
// lacks.
std::vector<std::string> missing_programs();

// Writes the initramfs. Errors: our own programs are not beside ublkcheck; a driver that is no module, was
// built for another kernel, or is not ublk_drv; a module of the extras that the kernel lacks.
vm::Result<void> write_guest_image(const vm::Kernel& kernel, const GuestOptions& options,
                                   const std::filesystem::path& out);

} // namespace conformance
