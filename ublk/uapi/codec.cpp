#include "ublk/uapi/codec.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace ublk::uapi {
namespace {

constexpr std::size_t params_header = offsetof(Params, basic);
static_assert(std::has_unique_object_representations_v<Params>, "a hole would lose bytes on the way");

template <typename T>
void append(std::vector<std::byte>& out, const T& value)
{
    const auto bytes = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
    out.insert(out.end(), bytes.begin(), bytes.end());
}

template <typename T>
std::vector<std::byte> encode_array(std::span<const T> values)
{
    const auto bytes = std::as_bytes(values);
    return {bytes.begin(), bytes.end()};
}

template <typename T>
std::expected<std::vector<T>, DecodeError> decode_array(std::span<const std::byte> bytes,
                                                        std::string_view what)
{
    if (bytes.size() % sizeof(T) != 0)
        return std::unexpected(DecodeError{what, bytes.size(), sizeof(T), DecodeError::Rule::multiple_of});
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty())
        std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

// Takes the next T off the front; the caller has checked that it is there.
template <typename T>
T take(std::span<const std::byte>& bytes)
{
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    bytes = bytes.subspan(sizeof(T));
    return value;
}

} // namespace

std::string to_string(const DecodeError& error)
{
    constexpr std::array<std::string_view, 3> rules{"at least", "exactly", "a multiple of"};
    return fmt::format("{}: {} bytes, need {} {}", error.what, error.got,
                       rules.at(static_cast<std::size_t>(error.rule)), error.need);
}

ShmemBufReg decode_shmem_reg(std::span<const std::byte> bytes)
{
    ShmemBufReg reg;
    if (!bytes.empty())
        std::memcpy(&reg, bytes.data(), std::min(bytes.size(), sizeof(reg)));
    return reg;
}

std::expected<Params, DecodeError> decode_params(std::span<const std::byte> bytes)
{
    constexpr std::string_view what = "ublk_params";
    if (bytes.size() <= params_header)
        return std::unexpected(DecodeError{what, bytes.size(), params_header + 1});
    std::uint32_t len = 0;
    std::memcpy(&len, bytes.data(), sizeof(len));
    if (len > bytes.size())
        return std::unexpected(DecodeError{what, bytes.size(), len});
    if (len < params_header)
        return std::unexpected(DecodeError{"ublk_params.len", len, params_header});
    Params params;
    std::memcpy(&params, bytes.data(), std::min<std::size_t>(len, sizeof(params)));
    params.len = static_cast<std::uint32_t>(std::min<std::size_t>(len, sizeof(params)));
    return params;
}

std::vector<std::byte> encode_params(const Params& params)
{
    const auto bytes = std::bit_cast<std::array<std::byte, sizeof(Params)>>(params);
    const auto meant = std::clamp<std::size_t>(params.len, params_header, sizeof(Params));
    return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(meant)};
}

std::vector<std::byte> encode_batch(std::span<const BatchEntry> entries, BatchFlags flags)
{
    std::vector<std::byte> out;
    out.reserve(entries.size() * batch_elem_bytes(flags));
    for (const auto& entry : entries) {
        append(out, entry.head);
        if (flags.has(BatchFlag::has_buf_addr))
            append(out, entry.buf_addr);
        if (flags.has(BatchFlag::has_zone_lba))
            append(out, entry.zone_lba);
    }
    return out;
}

std::expected<std::vector<BatchEntry>, DecodeError> decode_batch(std::span<const std::byte> bytes,
                                                                 BatchFlags flags)
{
    const std::size_t each = batch_elem_bytes(flags);
    if (bytes.size() % each != 0)
        return std::unexpected(
            DecodeError{"batch element array", bytes.size(), each, DecodeError::Rule::multiple_of});
    std::vector<BatchEntry> entries(bytes.size() / each);
    for (auto& entry : entries) {
        entry.head = take<BatchElem>(bytes);
        if (flags.has(BatchFlag::has_buf_addr))
            entry.buf_addr = take<std::uint64_t>(bytes);
        if (flags.has(BatchFlag::has_zone_lba))
            entry.zone_lba = take<std::uint64_t>(bytes);
    }
    return entries;
}

std::vector<std::byte> encode_tags(std::span<const std::uint16_t> tags)
{
    return encode_array(tags);
}
std::expected<std::vector<std::uint16_t>, DecodeError> decode_tags(std::span<const std::byte> bytes)
{
    return decode_array<std::uint16_t>(bytes, "tag array");
}

std::vector<std::byte> encode_zones(std::span<const ZoneReport> zones)
{
    return encode_array(zones);
}
std::expected<std::vector<ZoneReport>, DecodeError> decode_zones(std::span<const std::byte> bytes)
{
    return decode_array<ZoneReport>(bytes, "blk_zone array");
}

std::array<std::byte, features_len> encode_features(std::uint64_t bits)
{
    return std::bit_cast<std::array<std::byte, features_len>>(bits);
}
std::expected<std::uint64_t, DecodeError> decode_features(std::span<const std::byte> bytes)
{
    if (bytes.size() != features_len)
        return std::unexpected(
            DecodeError{"GET_FEATURES answer", bytes.size(), features_len, DecodeError::Rule::exactly});
    return take<std::uint64_t>(bytes);
}

} // namespace ublk::uapi
