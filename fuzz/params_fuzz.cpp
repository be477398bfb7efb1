// SET_PARAMS and GET_PARAMS. The first byte chooses: any bytes into the decoder; any values, of any length
// and followed by anything, out and back in; any geometry through what the engine makes of it.
#include "fuzz/input.hpp"
#include "ublk/engine/parameters.hpp"
#include "ublk/uapi/codec.hpp"

namespace {

using namespace ublk;
using fuzz::Bytes, fuzz::Input, fuzz::require;

constexpr std::size_t header = 8;

void any_bytes(Bytes bytes)
{
    const auto value = uapi::decode_params(bytes);
    std::uint32_t len = 0;
    if (bytes.size() >= sizeof(len))
        std::memcpy(&len, bytes.data(), sizeof(len));
    require(value.has_value() == (bytes.size() > header && len >= header && len <= bytes.size()));
    if (!value)
        return require(fuzz::is_sentence(to_string(value.error())));
    const auto again = uapi::encode_params(*value);
    require(value->len == std::min<std::size_t>(len, sizeof(uapi::Params)) && again.size() == value->len);
    // A longer structure than ours is cut, and its len says so; all else is as it came.
    require(std::ranges::equal(Bytes(again).subspan(4), bytes.subspan(4, again.size() - 4)));
}

// The blocks one by one, so that a mutation changes a field rather than moves them all.
void any_value(Input input)
{
    uapi::Params params;
    const auto len = input.take<std::uint16_t>() % (2 * sizeof(params));
    params.types = input.take<std::uint32_t>();
    params.basic = input.take<uapi::ParamBasic>();
    params.discard = input.take<uapi::ParamDiscard>();
    params.devt = input.take<uapi::ParamDevt>();
    params.zoned = input.take<uapi::ParamZoned>();
    params.dma = input.take<uapi::ParamDmaAlign>();
    params.gap = input.take<std::uint32_t>();
    params.seg = input.take<uapi::ParamSegment>();
    params.integrity = input.take<uapi::ParamIntegrity>();
    params.len = static_cast<std::uint32_t>(len);

    auto encoded = uapi::encode_params(params);
    const auto meant = std::clamp(len, header, sizeof(params));
    require(encoded.size() == meant);
    for (std::size_t cut = 0; cut < encoded.size(); ++cut)
        require(!uapi::decode_params(Bytes(encoded).first(cut)).has_value());
    // What follows belongs to a newer kernel: it is neither read nor an error.
    const auto tail = input.rest();
    encoded.insert(encoded.end(), tail.begin(), tail.end());
    const auto decoded = uapi::decode_params(encoded);
    require(decoded.has_value() == (len >= header && len <= encoded.size() && encoded.size() > header));
    if (!decoded)
        return;
    uapi::Params expected;
    std::memcpy(&expected, &params, meant);
    expected.len = static_cast<std::uint32_t>(meant);
    require(*decoded == expected);
}

void any_geometry(Input input)
{
    engine::Geometry geometry;
    geometry.block_size = 512U << (input.take<std::uint8_t>() % 4U);
    geometry.size = input.take<std::uint64_t>() / geometry.block_size * geometry.block_size;
    geometry.attrs = uapi::Attrs::from_raw(input.take<std::uint32_t>());
    const auto can = input.take<std::uint8_t>();
    geometry.discard = (can & 1U) != 0;
    geometry.write_zeroes = (can & 2U) != 0;
    geometry.discard_granularity = input.take<std::uint32_t>();
    const auto max_io = input.take<std::uint32_t>();

    const auto params = engine::make_params(geometry, max_io);
    const auto& basic = params.basic;
    require(params.len == sizeof(params));
    require(basic.dev_sectors == geometry.size / 512 && basic.attrs == geometry.attrs.raw());
    require(1U << basic.logical_bs_shift == geometry.block_size);
    // As the driver takes them: logical <= physical, and no request beyond a tag's buffer.
    require(basic.logical_bs_shift <= basic.physical_bs_shift && basic.physical_bs_shift <= 12);
    require(std::uint64_t{basic.max_sectors} * 512 <= max_io);
    require(basic.io_min_shift < 32 && basic.io_opt_shift < 32 && basic.io_min_shift <= basic.io_opt_shift);

    const bool discard = (params.types & static_cast<std::uint32_t>(uapi::ParamType::discard)) != 0;
    const bool read_only = geometry.attrs.has(uapi::Attr::read_only);
    require(discard == (!read_only && (geometry.discard || geometry.write_zeroes)));
    require((params.discard.max_discard_sectors != 0) == (discard && geometry.discard));
    require((params.discard.max_write_zeroes_sectors != 0) == (discard && geometry.write_zeroes));
    if (discard)
        require(params.discard.max_discard_segments == 1 &&
                params.discard.discard_granularity >= geometry.block_size);
    const auto encoded = uapi::encode_params(params);
    require(encoded.size() == sizeof(params) && uapi::decode_params(encoded) == params);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    Input input(data, size);
    switch (input.take<std::uint8_t>() % 3U) {
    case 0:
        any_bytes(input.rest());
        break;
    case 1:
        any_value(input);
        break;
    default:
        any_geometry(input);
    }
    return 0;
}
