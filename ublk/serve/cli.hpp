// The command line of ublk-serve, checked: what comes out can be carried out as far as the line can tell.
#pragma once

#include "ublk/engine/device.hpp"

#include <cstdint>
#include <expected>
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

enum class BackendType : std::uint8_t { null, memory, file };

struct AddCommand {
    BackendType type = BackendType::memory;
    std::uint64_t size = 0; // bytes; 0 with a file: all of it
    std::string file;
    std::uint32_t block_size = 512; // bytes
    bool direct = false;
    bool read_only = false;
    bool daemon = false;
    std::string json; // file name, "-" for standard output, empty for none
    engine::DeviceOptions device;
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
};
struct DeleteCommand {
    std::uint32_t id = 0;
};
using Command = std::variant<AddCommand, ListCommand, InfoCommand, StopCommand, DeleteCommand>;

// What to print instead of doing anything: help (exit_ok) or what is wrong (exit_usage).
struct Notice {
    int exit_code = exit_usage;
    std::string text;
};

// `args` without the program's name.
std::expected<Command, Notice> parse(std::vector<std::string> args);

const char* to_string(BackendType type);

} // namespace ublk::serve
