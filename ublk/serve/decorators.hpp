// The decorators of `ublk-serve add --with NAME:KEY=VALUE,...`, as a command line names them.
#pragma once

#include "ublk/backends/decorators/decorated.hpp"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <variant>

namespace ublk::serve {

// `record`, before there is a recorder: its file, and how many requests it keeps of each queue.
struct RecordRequest {
    std::string file;
    std::uint32_t last = 4096;
};

using DecoratorRequest = std::variant<backends::FaultOptions, backends::DelayOptions, backends::ShortOptions,
                                      backends::CorruptOptions, backends::CrashOptions, RecordRequest>;

// `block_size` is the device's, in bytes: what `short` answers in. The error says what is wrong and what to
// give, without the text itself: "op 'wirte' is none: give read, write, ...".
std::expected<DecoratorRequest, std::string> parse_decorator(std::string_view text, std::uint32_t block_size);

// For --help: every decorator with its keys.
std::string decorator_help();

} // namespace ublk::serve
