// One guest in one QEMU process: boot, save, restore, and lines in both directions. Knows nothing of what the
// lines mean.
//
// A Machine belongs to one thread at a time; it has no threads of its own and does all its work inside the
// calls. The console is read during those calls only, and a guest whose output nobody reads is slowed down by
// QEMU; nothing is buffered without bound.
#pragma once

#include "vm/accel.hpp"
#include "vm/error.hpp"

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace vm {

inline constexpr std::string_view port_name = "ublkcheck"; // /sys/class/virtio-ports/*/name in the guest

struct MachineSpec {
    std::filesystem::path image;     // bzImage
    std::filesystem::path initramfs; // see write_initramfs
    std::filesystem::path work_dir;  // made when absent; holds console.log, qemu.log and the saved state
    unsigned memory_mib = 512;
    unsigned cpus = 2;
    Accel accel = Accel::tcg;
    // A clock that counts instructions (one a nanosecond, on one CPU, under TCG) in place of the host's: what
    // the guest does by itself is the same in every boot, to the instruction. Words from the host, save() and
    // restore() come at the host's pace and end that. The port is /dev/ttyS1.
    bool exact = false;
    std::string plugin{};         // of QEMU's translator, with its arguments: "FILE,out=FILE"
    bool sig_enforce = false;     // the kernel refuses modules without a valid signature
    std::string extra_cmdline{};  // appended to the kernel's command line, so it wins
    std::filesystem::path qemu{}; // empty: qemu-system-x86_64 from PATH
};

struct ReadOutcome {
    enum class Kind {
        line,    // text is the line
        timeout, // nothing whole came in time; what came is kept for the next call
        panic,   // the guest's kernel is gone (panic, reset, power-off); text says how. restore() mends it
        dead,    // QEMU is gone; text says how, with the end of its stderr. Only a new Machine mends it
    };
    Kind kind = Kind::timeout;
    std::string text;
    bool overlong = false; // a line longer than max_line_bytes: text is its beginning
};

class Machine {
  public:
    // Starts QEMU and returns when its monitor answers; does not wait for the guest.
    // Errors: QEMU missing or refusing its arguments, image or initramfs unreadable, work_dir unwritable.
    static Result<Machine> boot(const MachineSpec& spec);
    // A new QEMU that continues from a copy of another Machine's saved_state(); the spec must be the same but
    // for work_dir. The other Machine may be running, but must not be inside save().
    static Result<Machine> clone(const MachineSpec& spec, const std::filesystem::path& saved_state);

    Machine(Machine&&) noexcept;
    Machine& operator=(Machine&&) noexcept;
    ~Machine(); // ends QEMU

    // Stops the guest, saves its whole state, lets it run on. The guest should be waiting for a line: bytes
    // on their way at that moment come again after each restore.
    Result<void> save();
    // Back to save() (or to the start of a clone), from any state of the guest, panicked and reset included.
    // Afterwards no byte of the past can be read, and the guest runs.
    Result<void> restore();
    // The file to clone from. Meaningful after save().
    std::filesystem::path saved_state() const;

    // Adds the newline. Waits at most 10 s for a guest that does not read.
    Result<void> send_line(std::string_view line);
    // The next whole line from the port. Lines that came before a panic or QEMU's end are handed out first.
    ReadOutcome read_line(std::chrono::milliseconds timeout);

    // The kernel console since boot or the last restore: the first 64 KiB, the last 192 KiB, and a note
    // between them when something was left out. Everything is also in work_dir/console.log.
    std::string console_since_restore() const;

    bool alive() const;           // QEMU is running (its guest may have panicked)
    std::string describe() const; // "QEMU 7.2.22, TCG, 2 CPUs, 512 MiB, pid 1234"
    int pid() const;

  private:
    struct Impl;
    explicit Machine(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace vm
