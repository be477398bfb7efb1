#include "ublk/backends/protected_memory.hpp"

#include <algorithm>
#include <cerrno>

namespace ublk::backends {

namespace {

void copy_inverted(std::span<const std::byte> from, std::byte* to)
{
    std::ranges::transform(from, to, [](std::byte byte) { return ~byte; });
}

} // namespace

Result<ProtectedMemory> ProtectedMemory::create(std::uint64_t size, std::uint32_t block_size, T10Type type,
                                                bool read_only)
{
    auto data = Memory::create(size, block_size, read_only);
    if (!data)
        return std::unexpected(std::move(data.error()));
    auto tuples = Memory::create(size / block_size * t10_tuple_bytes, t10_tuple_bytes);
    if (!tuples)
        return std::unexpected(std::move(tuples.error()));
    return ProtectedMemory(std::move(*data), std::move(*tuples), block_size, type);
}

ProtectedMemory::ProtectedMemory(Memory data, Memory tuples, std::uint32_t block_size, T10Type type)
    : data_(std::move(data)), tuples_(std::move(tuples)),
      integrity_{.interval = block_size,
                 .metadata_bytes = t10_tuple_bytes,
                 .tag_bytes = sizeof(T10Tuple::application),
                 .checksum = uapi::PiChecksum::crc16_t10dif,
                 .reference_tags = type == T10Type::type1},
      type_(type)
{
}

engine::Geometry ProtectedMemory::geometry() const
{
    engine::Geometry geometry = data_.geometry();
    geometry.integrity = integrity_;
    return geometry;
}

std::uint64_t ProtectedMemory::first_block(const engine::Io& io) const noexcept
{
    return (io.start_sector << uapi::sector_shift) / integrity_.interval;
}

engine::ByteRange ProtectedMemory::tuples_of(const engine::Io& io) const noexcept
{
    const std::uint64_t blocks = (std::uint64_t{io.nr_sectors} << uapi::sector_shift) / integrity_.interval;
    return {first_block(io) * t10_tuple_bytes, blocks * t10_tuple_bytes};
}

std::int32_t ProtectedMemory::handle(engine::Io& io) const noexcept
{
    using enum uapi::IoOp;
    if (io.op == write)
        return handle_write(io);
    const std::int32_t done = data_.handle(io);
    if (done < 0 || io.op == flush)
        return done;
    const auto range = tuples_of(io);
    const auto metadata = io.metadata(integrity_);
    if (io.op == read)
        copy_inverted({tuples_.at(range.offset), metadata.size()}, metadata.data());
    else
        tuples_.zero(range);
    return done;
}

std::int32_t ProtectedMemory::handle_write(engine::Io& io) const noexcept
{
    const auto metadata = io.metadata(integrity_);
    if (!metadata.empty() && !holds(io))
        return -EILSEQ;
    const std::int32_t done = data_.handle(io);
    if (done < 0)
        return done;
    std::byte* const place = tuples_.at(tuples_of(io).offset);
    if (!metadata.empty()) {
        copy_inverted(metadata, place);
        return done;
    }
    for (std::size_t i = 0; i < io.data.size() / integrity_.interval; ++i)
        copy_inverted(to_bytes(t10_protect(type_, block_of(io, i), first_block(io) + i)),
                      place + i * t10_tuple_bytes);
    return done;
}

bool ProtectedMemory::holds(const engine::Io& io) const noexcept
{
    const auto metadata = io.metadata(integrity_);
    for (std::size_t i = 0; i < io.data.size() / integrity_.interval; ++i) {
        const auto bytes = metadata.subspan(i * t10_tuple_bytes).first<t10_tuple_bytes>();
        if (!t10_holds(type_, from_bytes(bytes), block_of(io, i), first_block(io) + i))
            return false;
    }
    return true;
}

} // namespace ublk::backends
