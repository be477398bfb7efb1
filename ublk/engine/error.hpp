// Why something about a ublk device could not be done. Errors are values; nothing here throws.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <system_error>

namespace ublk {

struct Error {
    std::string operation;               // what was tried, first in the message: "START_DEV", "open PATH"
    int code = 0;                        // positive errno
    std::optional<std::uint32_t> device; // device id
    std::optional<std::uint16_t> queue;
    std::optional<std::uint16_t> tag;
    std::string hint; // what to do about it; may be empty

    // One line without a full stop: "START_DEV, device 3: Device or resource busy (EBUSY): HINT".
    std::string message() const;

    friend bool operator==(const Error& error, std::errc other)
    {
        return std::error_code(error.code, std::generic_category()) == other;
    }
};

template <typename T>
using Result = std::expected<T, Error>;

// "EBUSY"; "errno 4095" if the code has no name.
std::string errno_name(int code);

// The usual mend for an errno of an operation (a control command's name or "open PATH"); empty if none is
// known.
std::string usual_hint(const std::string& operation, int code);

// An error with its usual hint. `code` is a positive errno.
Error make_error(std::string operation, int code, std::optional<std::uint32_t> device = std::nullopt,
                 std::optional<std::uint16_t> queue = std::nullopt,
                 std::optional<std::uint16_t> tag = std::nullopt);

} // namespace ublk
