// Any bytes through the decoders: a value must encode to the bytes it came from, any value must come back
// from its encoding, and no part of an encoding is taken for the whole. The first byte chooses the structure,
// the second the batch flags.
#include "fuzz/input.hpp"
#include "ublk/uapi/codec.hpp"
#include "ublk/uapi/names.hpp"

namespace {

using namespace ublk::uapi;
using fuzz::Bytes, fuzz::require;

template <typename T>
void fixed(Bytes bytes)
{
    const auto value = decode<T>(bytes);
    require(value.has_value() == (Layout<T>::open ? bytes.size() >= sizeof(T) : bytes.size() == sizeof(T)));
    if (value)
        require(std::ranges::equal(encode(*value), bytes.first(sizeof(T))));
    else
        require(fuzz::is_sentence(to_string(value.error())));

    T any{};
    if (!bytes.empty())
        std::memcpy(&any, bytes.data(), std::min(bytes.size(), sizeof(T)));
    const auto encoded = encode(any);
    require(decode<T>(encoded) == any);
    for (std::size_t cut = 0; cut < encoded.size(); ++cut)
        require(decode<T>(Bytes(encoded).first(cut)) ==
                std::unexpected(
                    DecodeError{Layout<T>::name, cut, sizeof(T),
                                Layout<T>::open ? DecodeError::Rule::at_least : DecodeError::Rule::exactly}));
}

// Elements of `each` bytes: whole ones are read, others are an error.
void array(Bytes bytes, std::size_t each, auto&& decode_all, auto&& encode_again)
{
    for (const auto size : {bytes.size(), bytes.size() / each * each, bytes.size() - bytes.size() / 2}) {
        const auto part = bytes.first(size);
        const auto value = decode_all(part);
        require(value.has_value() == (size % each == 0));
        if (!value) {
            require(fuzz::is_sentence(to_string(value.error())));
            continue;
        }
        require(value->size() == size / each);
        const auto encoded = encode_again(*value);
        require(std::ranges::equal(encoded, part));
        require(decode_all(Bytes(encoded)) == value);
    }
}

void opcodes(Bytes bytes)
{
    if (bytes.size() < 4)
        return;
    std::uint32_t op = 0;
    std::memcpy(&op, bytes.data(), sizeof(op));
    require(!ctrl_op_name(op).empty() && !io_op_name(op).empty());
    if (const auto nr = ctrl_nr(op))
        require(op == opcode(*nr) || op == legacy_opcode(*nr));
    if (const auto nr = io_nr(op))
        require(op == opcode(*nr) || op == legacy_opcode(*nr));
}

void features(Bytes bytes)
{
    const auto bits = decode_features(bytes);
    require(bits.has_value() == (bytes.size() == features_len));
    if (bits)
        require(std::ranges::equal(encode_features(*bits), bytes));
    else
        require(fuzz::is_sentence(to_string(bits.error())));
}

// The structures that travel inside one 64-bit field.
void addresses(Bytes bytes)
{
    std::uint64_t addr = 0;
    if (!bytes.empty())
        std::memcpy(&addr, bytes.data(), std::min(bytes.size(), sizeof(addr)));
    require(to_sqe_addr(auto_buf_reg_from_sqe_addr(addr)) == addr);
    require(std::ranges::equal(encode(auto_buf_reg_from_sqe_addr(addr)), std::as_bytes(std::span(&addr, 1))));
    require(to_desc_addr(shmem_addr_from_desc(addr)) == (addr & 0xffff'ffff'ffffU));
}

void one(unsigned which, BatchFlags flags, Bytes bytes)
{
    switch (which) {
    case 0:
        return fixed<CtrlCmd>(bytes);
    case 1:
        return fixed<DevInfo>(bytes);
    case 2:
        return fixed<ShmemBufReg>(bytes);
    case 3:
        return fixed<IoCmd>(bytes);
    case 4:
        return fixed<BatchIo>(bytes);
    case 5:
        return fixed<IoDesc>(bytes);
    case 6:
        return fixed<BatchElem>(bytes);
    case 7:
        return fixed<AutoBufReg>(bytes);
    case 8:
        return fixed<ZoneReport>(bytes);
    case 9:
        return features(bytes);
    case 10:
        return array(
            bytes, batch_elem_bytes(flags), [&](Bytes b) { return decode_batch(b, flags); },
            [&](const auto& v) { return encode_batch(v, flags); });
    case 11:
        return array(bytes, 2, decode_tags, encode_tags);
    case 12:
        return array(bytes, sizeof(ZoneReport), decode_zones, encode_zones);
    case 13: {
        const auto reg = decode_shmem_reg(bytes);
        const auto known = std::min(bytes.size(), sizeof(reg));
        const auto encoded = encode(reg);
        require(std::ranges::equal(Bytes(encoded).first(known), bytes.first(known)));
        return require(
            std::ranges::all_of(Bytes(encoded).subspan(known), [](auto b) { return b == std::byte{0}; }));
    }
    case 14:
        return opcodes(bytes);
    default:
        return addresses(bytes);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 2)
        return 0;
    one(data[0] % 16U, BatchFlags::from_raw(data[1]), std::as_bytes(std::span(data, size)).subspan(2));
    return 0;
}
