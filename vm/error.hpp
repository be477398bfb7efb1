// Why something about kernels or machines could not be done, in one sentence that names input, reason and
// mend.
#pragma once

#include <expected>
#include <string>

namespace vm {

struct Error {
    enum class Kind {
        usage,       // the user asked for something that does not exist or is malformed: exit 2
        unavailable, // asked right, but it cannot be had here and now: exit 3
    };
    Kind kind = Kind::unavailable;
    std::string message; // one line, no trailing full stop needed; says what to do about it
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> usage_error(std::string message)
{
    return std::unexpected(Error{Error::Kind::usage, std::move(message)});
}
inline std::unexpected<Error> unavailable(std::string message)
{
    return std::unexpected(Error{Error::Kind::unavailable, std::move(message)});
}

} // namespace vm
