// The command line of ublk-serve, checked: what comes out can be carried out as far as the line can tell.
#pragma once

#include "ublk/backends/t10_pi.hpp"
#include "ublk/backends/zoned.hpp"
#include "ublk/engine/device.hpp"
#include "ublk/observe/log.hpp"
#include "ublk/serve/decorators.hpp"

#include <csignal>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace ublk::serve {

// Exit codes of the program.
enum Exit : int {
    exit_ok = 0,
    exit_failed = 1,     // the operation failed
    exit_usage = 2,      // the command line makes no sense
    exit_impossible = 3, // not on this machine: no driver, no permission
};

enum class BackendType : std::uint8_t { null, memory, file, zoned };

struct AddCommand {
    BackendType type = BackendType::memory;
    std::uint64_t size = 0; // bytes; 0 with a file: all of it
    std::string file;
    std::uint32_t block_size = 512; // bytes
    bool direct = false;
    bool read_only = false;
    bool daemon = false;
    bool dry_run = false;                  // check everything, make nothing
    bool auto_path = false;                // the data path is chosen when the kernel has been asked
    std::optional<std::uint32_t> recovers; // no new device: this one is taken over
    std::vector<int> ends_on{SIGINT, SIGTERM, SIGHUP}; // signals
    std::string shmem;                                 // file of the data path shmem
    std::string json;                                  // file name, "-" for standard output, empty for none
    std::string metrics; // where to serve them, an address of this machine; empty for nowhere
    bool paranoid = false;
    observe::Level log_level = observe::Level::warning;
    engine::DeviceOptions device;
    std::optional<backends::T10Type> integrity; // of a device that keeps protection information
    backends::ZonedOptions zones;               // of a zoned device; size and block size as above
    std::vector<DecoratorRequest> decorators;   // the first is the outermost
};
struct ListCommand {
    std::string json;
};
struct InfoCommand {
    std::uint32_t id = 0;
    std::string json;
};
struct StopCommand {
    std::uint32_t id = 0;
    bool if_unused = false;
};
struct QuiesceCommand {
    std::uint32_t id = 0;
};
struct ResizeCommand {
    std::uint32_t id = 0;
    std::uint64_t size = 0; // bytes
};
struct DeleteCommand {
    std::uint32_t id = 0;
};
// For the udev rule: prints user and group of an unprivileged device.
struct OwnerCommand {
    std::uint32_t id = 0;
};
struct TopCommand {
    unsigned interval = 1;   // seconds between tables
    std::uint64_t count = 0; // tables; 0 for no end
    std::string json;        // one snapshot to there instead
};
using Command = std::variant<AddCommand, ListCommand, InfoCommand, StopCommand, QuiesceCommand, ResizeCommand,
                             DeleteCommand, OwnerCommand, TopCommand>;

// What to print instead of doing anything: help (exit_ok) or what is wrong (exit_usage).
struct Notice {
    int exit_code = exit_usage;
    std::string text;
};

// `args` without the program's name.
std::expected<Command, Notice> parse(std::vector<std::string> args);

const char* to_string(BackendType type);
const char* to_string(std::optional<backends::T10Type> integrity); // "none", "t10-type1", "t10-type3"

} // namespace ublk::serve
