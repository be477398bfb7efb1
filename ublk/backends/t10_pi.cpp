#include "ublk/backends/t10_pi.hpp"

namespace ublk::backends {

namespace {

// Of eight bytes at a time: row n is what a byte does to the checksum n bytes later.
using Tables = std::array<std::array<std::uint16_t, 256>, 8>;

constexpr Tables make_tables()
{
    constexpr std::uint16_t polynomial = 0x8bb7, top = 0x8000;
    Tables tables{};
    for (unsigned byte = 0; byte < 256; ++byte) {
        auto crc = static_cast<std::uint16_t>(byte << 8);
        for (int bit = 0; bit < 8; ++bit)
            crc = static_cast<std::uint16_t>((crc & top) != 0 ? crc << 1 ^ polynomial : crc << 1);
        tables[0][byte] = crc;
    }
    for (std::size_t row = 1; row < tables.size(); ++row)
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint16_t before = tables[row - 1][byte];
            tables[row][byte] = static_cast<std::uint16_t>(before << 8 ^ tables[0][before >> 8]);
        }
    return tables;
}

constexpr Tables tables = make_tables();

} // namespace

std::uint16_t t10_guard(std::span<const std::byte> data) noexcept
{
    unsigned crc = 0;
    const auto value = [&](std::size_t at) { return std::to_integer<unsigned>(data[at]); };
    for (; data.size() >= tables.size(); data = data.subspan(tables.size()))
        crc = tables[7][value(0) ^ crc >> 8] ^ tables[6][value(1) ^ (crc & 0xffU)] ^ tables[5][value(2)] ^
              tables[4][value(3)] ^ tables[3][value(4)] ^ tables[2][value(5)] ^ tables[1][value(6)] ^
              tables[0][value(7)];
    for (std::size_t at = 0; at < data.size(); ++at)
        crc = (crc << 8 & 0xffffU) ^ tables[0][crc >> 8 ^ value(at)];
    return static_cast<std::uint16_t>(crc);
}

T10Tuple t10_protect(T10Type type, std::span<const std::byte> data, std::uint64_t block) noexcept
{
    return {.guard = t10_guard(data),
            .reference = type == T10Type::type1 ? static_cast<std::uint32_t>(block) : 0};
}

bool t10_holds(T10Type type, const T10Tuple& tuple, std::span<const std::byte> data,
               std::uint64_t block) noexcept
{
    constexpr std::uint16_t no_application = 0xffff;
    constexpr std::uint32_t no_reference = 0xffffffffU;
    if (tuple.application == no_application && (type == T10Type::type1 || tuple.reference == no_reference))
        return true;
    if (type == T10Type::type1 && tuple.reference != static_cast<std::uint32_t>(block))
        return false;
    return tuple.guard == t10_guard(data);
}

} // namespace ublk::backends
