// Bytes to structures and back, as total functions: any bytes give a value or an error, any value gives
// bytes. Nothing is judged but the shape. What a field may hold is the driver's business, and the model's.
#pragma once

#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/io.hpp"
#include "ublk/uapi/params.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ublk::uapi {

// Why bytes are not what they were taken for. All numbers are bytes.
struct DecodeError {
    std::string_view what; // the structure, as the UAPI spells it
    std::size_t got = 0;
    std::size_t need = 0; // a minimum, the exact size, or what the size must be a multiple of, as `rule` says
    enum class Rule : std::uint8_t { at_least, exactly, multiple_of } rule = Rule::at_least;

    bool operator==(const DecodeError&) const = default;
};
std::string to_string(const DecodeError& error); // "ublk_params: 7 bytes, need at least 9"

// Traits of a structure of fixed size. `open`: bytes may follow it, because it sits in a larger area (the
// SQE's command area, a descriptor slot) or because the driver ignores the rest of a longer buffer (ADD_DEV,
// REG_BUF).
template <typename T>
struct Layout;
template <>
struct Layout<CtrlCmd> {
    static constexpr std::string_view name = "ublksrv_ctrl_cmd";
    static constexpr bool open = true;
};
template <>
struct Layout<DevInfo> {
    static constexpr std::string_view name = "ublksrv_ctrl_dev_info";
    static constexpr bool open = true;
};
template <>
struct Layout<ShmemBufReg> {
    static constexpr std::string_view name = "ublk_shmem_buf_reg";
    static constexpr bool open = true;
};
template <>
struct Layout<IoCmd> {
    static constexpr std::string_view name = "ublksrv_io_cmd";
    static constexpr bool open = true;
};
template <>
struct Layout<BatchIo> {
    static constexpr std::string_view name = "ublk_batch_io";
    static constexpr bool open = true;
};
template <>
struct Layout<IoDesc> {
    static constexpr std::string_view name = "ublksrv_io_desc";
    static constexpr bool open = true;
};
template <>
struct Layout<BatchElem> {
    static constexpr std::string_view name = "ublk_elem_header";
    static constexpr bool open = false;
};
template <>
struct Layout<AutoBufReg> {
    static constexpr std::string_view name = "ublk_auto_buf_reg";
    static constexpr bool open = false;
};
template <>
struct Layout<ZoneReport> {
    static constexpr std::string_view name = "blk_zone";
    static constexpr bool open = false;
};

template <typename T>
concept FixedLayout = requires { Layout<T>::name; } && std::is_trivially_copyable_v<T> &&
                      std::has_unique_object_representations_v<T>;

template <FixedLayout T>
constexpr std::array<std::byte, sizeof(T)> encode(const T& value)
{
    return std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
}

// Reads sizeof(T) bytes; more are an error unless the layout is open, fewer always are.
template <FixedLayout T>
std::expected<T, DecodeError> decode(std::span<const std::byte> bytes)
{
    constexpr bool open = Layout<T>::open;
    if (bytes.size() < sizeof(T) || (!open && bytes.size() > sizeof(T)))
        return std::unexpected(DecodeError{Layout<T>::name, bytes.size(), sizeof(T),
                                           open ? DecodeError::Rule::at_least : DecodeError::Rule::exactly});
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
}

// REG_BUF's payload as the driver reads it: members beyond the end of `bytes` are zero, bytes beyond the
// structure are ignored (7.1).
ShmemBufReg decode_shmem_reg(std::span<const std::byte> bytes);

// SET_PARAMS and GET_PARAMS. The bytes say their own length in `len`; a structure shorter than ours (written
// by an older kernel or server) is whole, its missing blocks are zero; of a longer one the known prefix is
// kept, and `len` becomes sizeof(Params). An error: fewer than 9 bytes, `len` beyond the end, or `len` below
// 8, which does not reach over the header.
std::expected<Params, DecodeError> decode_params(std::span<const std::byte> bytes);
// The first `len` bytes, no fewer than the 8 of the header and no more than sizeof(Params). `len` is written
// as it is, so bytes of a wrong `len` can be made too.
std::vector<std::byte> encode_params(const Params& params);

// One element of PREP_IO_CMDS or COMMIT_IO_CMDS. What the batch's flags do not name is neither written nor
// read.
struct BatchEntry {
    BatchElem head;
    std::uint64_t buf_addr = 0; // has_buf_addr
    std::uint64_t zone_lba = 0; // has_zone_lba; sectors
    constexpr bool operator==(const BatchEntry&) const = default;
};
std::vector<std::byte> encode_batch(std::span<const BatchEntry> entries, BatchFlags flags);
// The size must be a multiple of batch_elem_bytes(flags).
std::expected<std::vector<BatchEntry>, DecodeError> decode_batch(std::span<const std::byte> bytes,
                                                                 BatchFlags flags);

// FETCH_IO_CMDS delivers 16-bit tags in the provided buffer. The size must be even.
std::vector<std::byte> encode_tags(std::span<const std::uint16_t> tags);
std::expected<std::vector<std::uint16_t>, DecodeError> decode_tags(std::span<const std::byte> bytes);

// The answer to REPORT_ZONES. The size must be a multiple of 64. An all-zero last element says that there are
// fewer zones than were asked for; it is given as it is.
std::vector<std::byte> encode_zones(std::span<const ZoneReport> zones);
std::expected<std::vector<ZoneReport>, DecodeError> decode_zones(std::span<const std::byte> bytes);

// The 8 bytes of GET_FEATURES; the driver takes no other size.
std::array<std::byte, features_len> encode_features(std::uint64_t bits);
std::expected<std::uint64_t, DecodeError> decode_features(std::span<const std::byte> bytes);

} // namespace ublk::uapi
