// The guest's whole file system: one cpio archive that the kernel unpacks at boot. Nothing else of the host's
// disk reaches the guest.
#pragma once

#include "vm/error.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace vm {

struct InitramfsSpec {
    // Becomes /init; its shared libraries come along. Host path.
    std::filesystem::path init;
    // Each becomes /bin/<file name>, its shared libraries and ELF interpreter at the paths where the guest's
    // loader looks. A name without a slash is looked up in PATH and the sbin directories.
    std::vector<std::filesystem::path> programs;
    // Host file -> absolute guest path; the mode bits are kept.
    std::vector<std::pair<std::filesystem::path, std::string>> files;
    // .ko, .ko.xz, .ko.zst or .ko.gz, in load order: unpacked here, so that the guest loads bytes as they are
    // with finit_module, from /modules/NNN-name.ko in the order of names.
    std::vector<std::filesystem::path> modules;
};

// Writes a newc cpio archive to `out` through a temporary file beside it and a rename, so that `out` is whole
// or absent. The same input gives the same bytes. The archive also holds /dev/console, empty /proc /sys /dev
// /tmp /run /mnt /root, and an /etc/passwd and /etc/group that know root and nobody.
//
// Errors: a program or library that this machine lacks (unavailable, names the Debian package where it is
// known), a module or file that cannot be read (usage), an `out` that cannot be written (unavailable).
Result<void> write_initramfs(const InitramfsSpec& spec, const std::filesystem::path& out);

// Where a program is on this machine: as given when the name has a slash, else the first executable file of
// that name in PATH, /usr/local/sbin, /usr/sbin or /sbin. The error names the Debian package that has it.
Result<std::filesystem::path> find_program(const std::filesystem::path& name);

} // namespace vm
