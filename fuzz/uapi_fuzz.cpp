// Any bytes through the decoders: a value must encode to the bytes it came from, and an error must be one
// that the size explains. The first byte chooses the structure, the second the batch flags.
#include "ublk/uapi/codec.hpp"
#include "ublk/uapi/names.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

using namespace ublk::uapi;
using Bytes = std::span<const std::byte>;

void require(bool holds)
{
    if (!holds)
        std::abort();
}

template <typename T>
void fixed(Bytes bytes)
{
    const auto value = decode<T>(bytes);
    require(value.has_value() == (Layout<T>::open ? bytes.size() >= sizeof(T) : bytes.size() == sizeof(T)));
    if (value)
        require(std::ranges::equal(encode(*value), bytes.first(sizeof(T))));
    else
        require(!to_string(value.error()).empty());
}

template <typename Value>
void array(const Value& value, Bytes bytes, std::size_t each, auto&& encode_again)
{
    require(value.has_value() == (bytes.size() % each == 0));
    if (value)
        require(std::ranges::equal(encode_again(*value), bytes));
}

void params(Bytes bytes)
{
    const auto value = decode_params(bytes);
    if (!value)
        return require(!to_string(value.error()).empty());
    const auto again = encode_params(*value);
    require(again.size() == value->len && again.size() <= bytes.size());
    // A longer structure than ours is cut, and its len says so; all else is as it came.
    require(std::ranges::equal(Bytes(again).subspan(4), bytes.subspan(4, again.size() - 4)));
    require(decode_params(bytes) == value);
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
        return params(bytes);
    case 10:
        return array(decode_batch(bytes, flags), bytes, batch_elem_bytes(flags),
                     [&](const auto& v) { return encode_batch(v, flags); });
    case 11:
        return array(decode_tags(bytes), bytes, 2, [](const auto& v) { return encode_tags(v); });
    case 12:
        return array(decode_zones(bytes), bytes, sizeof(ZoneReport),
                     [](const auto& v) { return encode_zones(v); });
    case 13: {
        const auto reg = decode_shmem_reg(bytes);
        const auto known = std::min(bytes.size(), sizeof(reg));
        return require(std::ranges::equal(Bytes(encode(reg)).first(known), bytes.first(known)));
    }
    default:
        return opcodes(bytes);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 2)
        return 0;
    one(data[0] % 15U, BatchFlags::from_raw(data[1] % 8U), std::as_bytes(std::span(data, size)).subspan(2));
    return 0;
}
