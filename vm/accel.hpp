// KVM or TCG. That /dev/kvm opens proves nothing (nested and restricted hosts boot no kernel through it), so
// only a trial boot tells.
#pragma once

#include "vm/error.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace vm {

enum class Accel { kvm, tcg };
enum class AccelRequest { automatic, kvm, tcg };

std::string_view to_string(Accel accel); // "KVM", "TCG"

struct AccelChoice {
    Accel accel = Accel::tcg;
    std::string why; // one line for the terminal: "KVM", "TCG (no /dev/kvm)", "TCG (as asked)", ...
};

// Decides once for a run. For `automatic`, and for `kvm`, the kernel is booted under KVM until its console
// says something, for at most 20 s; the answer is kept in `cache_dir` for this host boot, QEMU and image.
// A request for `kvm` that does not work is an error that says why; so is a missing QEMU.
Result<AccelChoice> choose_accel(AccelRequest request, const std::filesystem::path& image,
                                 const std::filesystem::path& initramfs,
                                 const std::filesystem::path& cache_dir);

// Where QEMU is, and its version ("7.2.22"). The error names the package to install.
struct QemuProgram {
    std::filesystem::path path;
    std::string version;
};
Result<QemuProgram> find_qemu(const std::filesystem::path& given = {});

} // namespace vm
