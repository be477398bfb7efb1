#include "ublk/uapi/features.hpp"
#include "ublk/uapi/io.hpp"
#include "ublk/uapi/params.hpp"
#include "ublk/uapi/test/kernel_header.hpp"

#include <bit>
#include <cerrno>
#include <type_traits>

#include <kernel_ublk_cmd.h>

namespace ublk::uapi::test {
namespace {

template <typename T>
constexpr std::int64_t number(T value)
{
    if constexpr (std::is_enum_v<T>)
        return static_cast<std::int64_t>(static_cast<std::underlying_type_t<T>>(value));
    else
        return static_cast<std::int64_t>(value);
}

} // namespace

std::vector<Row> constant_rows()
{
    return {
#include "kernel_constants.inc"
    };
}

std::string header_path()
{
    return UBLKCHECK_UAPI_HEADER;
}

} // namespace ublk::uapi::test
