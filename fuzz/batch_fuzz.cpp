// Batches as PREP_IO_CMDS, COMMIT_IO_CMDS and FETCH_IO_CMDS carry them: any flags, any elements, and buffers
// that end anywhere. The bytes are held against the layout written out by hand.
#include "fuzz/input.hpp"
#include "ublk/uapi/codec.hpp"

namespace {

using namespace ublk::uapi;
using fuzz::Bytes, fuzz::Input, fuzz::require;

std::uint64_t number_at(Bytes bytes, std::size_t offset, std::size_t size)
{
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
        value |= std::to_integer<std::uint64_t>(bytes[offset + i]) << (8 * i);
    return value;
}

// struct ublk_elem_header, then the buffer's address, then the zone's sector, each where the flags say so.
void check_layout(Bytes bytes, const BatchEntry& entry, BatchFlags flags)
{
    require(number_at(bytes, 0, 2) == entry.head.tag);
    require(number_at(bytes, 2, 2) == entry.head.buf_index);
    require(number_at(bytes, 4, 4) == static_cast<std::uint32_t>(entry.head.result));
    const bool address = (flags.raw() & 2U) != 0, zone = (flags.raw() & 1U) != 0;
    if (address)
        require(number_at(bytes, 8, 8) == entry.buf_addr);
    if (zone)
        require(number_at(bytes, address ? 16 : 8, 8) == entry.zone_lba);
}

// What the flags leave out is lost on the way.
BatchEntry as_carried(BatchEntry entry, BatchFlags flags)
{
    if (!flags.has(BatchFlag::has_buf_addr))
        entry.buf_addr = 0;
    if (!flags.has(BatchFlag::has_zone_lba))
        entry.zone_lba = 0;
    return entry;
}

void check_batch(std::span<const BatchEntry> entries, BatchFlags flags)
{
    const std::size_t each = batch_elem_bytes(flags);
    require(each == 8U + ((flags.raw() & 1U) != 0 ? 8U : 0U) + ((flags.raw() & 2U) != 0 ? 8U : 0U));
    const auto encoded = encode_batch(entries, flags);
    require(encoded.size() == entries.size() * each);
    for (std::size_t i = 0; i < entries.size(); ++i)
        check_layout(Bytes(encoded).subspan(i * each, each), entries[i], flags);

    for (std::size_t cut = 0; cut <= encoded.size(); ++cut) {
        const auto decoded = decode_batch(Bytes(encoded).first(cut), flags);
        require(decoded.has_value() == (cut % each == 0));
        if (!decoded) {
            require(decoded.error().got == cut && decoded.error().need == each);
            continue;
        }
        require(decoded->size() == cut / each);
        for (std::size_t i = 0; i < decoded->size(); ++i)
            require((*decoded)[i] == as_carried(entries[i], flags));
    }
}

void check_tags(std::span<const std::uint16_t> tags)
{
    const auto encoded = encode_tags(tags);
    require(encoded.size() == tags.size() * 2);
    for (std::size_t i = 0; i < tags.size(); ++i)
        require(number_at(encoded, 2 * i, 2) == tags[i]);
    for (std::size_t cut = 0; cut <= encoded.size(); ++cut) {
        const auto decoded = decode_tags(Bytes(encoded).first(cut));
        require(decoded.has_value() == (cut % 2 == 0));
        if (decoded)
            require(std::ranges::equal(*decoded, tags.first(cut / 2)));
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    constexpr std::size_t most = 64;
    Input input(data, size);
    const auto flags = BatchFlags::from_raw(input.take<std::uint16_t>());
    std::vector<BatchEntry> entries;
    std::vector<std::uint16_t> tags;
    while (!input.empty() && entries.size() < most) {
        auto& entry = entries.emplace_back();
        entry.head = input.take<BatchElem>();
        entry.buf_addr = input.take<std::uint64_t>();
        entry.zone_lba = input.take<std::uint64_t>();
        tags.push_back(entry.head.tag);
    }
    check_batch(entries, flags);
    check_tags(tags);
    // A buffer as the kernel may find it: no whole number of elements of this size.
    const auto any = std::as_bytes(std::span(data, size));
    if (const auto decoded = decode_batch(any, flags))
        require(std::ranges::equal(encode_batch(*decoded, flags), any));
    return 0;
}
