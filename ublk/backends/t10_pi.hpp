// Protection information as T10 defines it: beside each block 8 bytes, a checksum of its data (the guard), a
// tag of the application's, and a reference tag. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ublk::backends {

// type1: the reference tag is the lower half of the block's number. type3: it is the application's.
enum class T10Type : std::uint8_t { type1 = 1, type3 = 3 };

struct T10Tuple {
    std::uint16_t guard = 0;
    std::uint16_t application = 0;
    std::uint32_t reference = 0;
    constexpr bool operator==(const T10Tuple&) const = default;
};

// As it lies beside the block: big endian.
inline constexpr std::size_t t10_tuple_bytes = 8, t10_guard_at = 0, t10_reference_at = 4;
using T10Bytes = std::array<std::byte, t10_tuple_bytes>;
constexpr T10Bytes to_bytes(const T10Tuple& tuple)
{
    constexpr auto byte = [](std::uint32_t value, unsigned shift) {
        return static_cast<std::byte>(value >> shift);
    };
    return {byte(tuple.guard, 8),       byte(tuple.guard, 0),      byte(tuple.application, 8),
            byte(tuple.application, 0), byte(tuple.reference, 24), byte(tuple.reference, 16),
            byte(tuple.reference, 8),   byte(tuple.reference, 0)};
}
constexpr T10Tuple from_bytes(std::span<const std::byte, t10_tuple_bytes> bytes)
{
    const auto at = [&](std::size_t place) { return std::to_integer<std::uint32_t>(bytes[place]); };
    return {static_cast<std::uint16_t>(at(0) << 8 | at(1)), static_cast<std::uint16_t>(at(2) << 8 | at(3)),
            at(4) << 24 | at(5) << 16 | at(6) << 8 | at(7)};
}

// The guard of a block: CRC-16/T10-DIF of its data.
std::uint16_t t10_guard(std::span<const std::byte> data) noexcept;

// What protects the block with that number; type3 has no reference tag of its own, and gets 0.
T10Tuple t10_protect(T10Type type, std::span<const std::byte> data, std::uint64_t block) noexcept;
// Whether the tuple fits the block. One that says that it protects nothing, by an application tag of all ones
// (of type3 the reference tag as well), fits any.
bool t10_holds(T10Type type, const T10Tuple& tuple, std::span<const std::byte> data,
               std::uint64_t block) noexcept;

} // namespace ublk::backends
