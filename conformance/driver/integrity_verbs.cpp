#include "conformance/driver/integrity_verbs.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>

namespace conformance {

namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

Params integrity_params(const uapi::ParamIntegrity& block)
{
    Params params = basic_params();
    params.types |= uapi::ParamTypes(ParamType::integrity).raw();
    params.integrity = block;
    return params;
}

MetadataLive::MetadataLive(Driver& driver, const uapi::ParamIntegrity& block, Where where)
    : device(driver.make({.flags = integrity}, false, where)), server(device, {.copy_buffers = false}, where),
      block_(block)
{
    const auto params = integrity_params(block);
    metadata.resize(metadata_bytes(params.basic.dev_sectors * uapi::sector_size));
    server.handler = [this](const Server::Request& request) { return serve(request); };
    server.go_live(params, where);
}

std::span<std::byte> MetadataLive::beside(std::uint64_t sector, std::size_t bytes)
{
    return std::span(metadata).subspan(metadata_bytes(sector * uapi::sector_size), metadata_bytes(bytes));
}

std::optional<std::int32_t> MetadataLive::serve(const Server::Request& request)
{
    const auto result = serve_by_copy(server, request);
    if (!result || *result <= 0 || !has_metadata(request))
        return result;
    const auto part = beside(request.desc.start_sector, static_cast<std::size_t>(*result));
    const bool out = static_cast<IoOp>(request.desc.op()) == IoOp::write;
    const long moved = out ? metadata_out(server, request, part) : metadata_in(server, request, part);
    return moved == static_cast<long>(part.size()) ? *result : -EIO;
}

void MetadataLive::set_switch(const char* name, bool on, Where where) const
{
    set_sysfs(device, std::string("integrity/") + name, on ? "1" : "0", where);
}

bool has_metadata(const Server::Request& request)
{
    return request.desc.flags().has(uapi::IoFlag::integrity);
}

namespace {

off_t metadata_pos(const Server::Request& request, std::uint64_t offset)
{
    return static_cast<off_t>(uapi::user_copy_pos(request.q, request.tag, offset) | uapi::pos_integrity_flag);
}

// CRC-16/T10-DIF by its definition.
std::uint16_t guard_of(std::span<const std::byte> data)
{
    unsigned crc = 0;
    for (const auto byte : data) {
        crc ^= std::to_integer<unsigned>(byte) << 8;
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc & 0x8000U) != 0 ? (crc << 1 ^ 0x8bb7U) & 0xffffU : crc << 1;
    }
    return static_cast<std::uint16_t>(crc);
}

// What struct io_uring_attr_pi of linux/io_uring.h (6.14) is, which older headers do not have.
struct AttrPi {
    std::uint16_t flags = 0; // what the device is to check
    std::uint16_t application = 0;
    std::uint32_t len = 0;
    std::uint64_t addr = 0;
    std::uint64_t seed = 0; // the reference tag of the first block
    std::uint64_t reserved = 0;
};
static_assert(sizeof(AttrPi) == 32);

using Aligned = std::unique_ptr<std::byte, decltype(&std::free)>;

} // namespace

long metadata_out(const Server& server, const Server::Request& request, std::span<std::byte> to,
                  std::uint64_t offset)
{
    return sys(::pread(server.fd(), to.data(), to.size(), metadata_pos(request, offset)));
}

long metadata_in(const Server& server, const Server::Request& request, std::span<const std::byte> from,
                 std::uint64_t offset)
{
    return sys(::pwrite(server.fd(), from.data(), from.size(), metadata_pos(request, offset)));
}

Bytes t10_tuples(std::uint64_t sector, std::span<const std::byte> data, std::uint16_t application)
{
    Bytes all;
    for (std::size_t at = 0; at < data.size(); at += uapi::sector_size, ++sector) {
        const std::uint64_t tuple = std::uint64_t{guard_of(data.subspan(at, uapi::sector_size))} << 48 |
                                    std::uint64_t{application} << 32 | (sector & 0xffffffffU);
        for (int shift = 56; shift >= 0; shift -= 8)
            all.push_back(static_cast<std::byte>(tuple >> shift));
    }
    return all;
}

long transfer_with_metadata(int fd, int opcode, std::uint64_t sector, std::span<std::byte> data,
                            std::span<std::byte> beside, std::uint16_t checks)
{
    auto ring = wire::Ring::open({.entries = 2, .sqe128 = false});
    if (!ring)
        return -ring.error();
    const AttrPi attr{.flags = checks,
                      .len = static_cast<std::uint32_t>(beside.size()),
                      .addr = reinterpret_cast<std::uintptr_t>(beside.data()),
                      .seed = sector};
    io_uring_sqe* sqe = ring->sqe();
    io_uring_prep_rw(opcode, sqe, fd, data.data(), static_cast<unsigned>(data.size()),
                     sector * uapi::sector_size);
    // attr_ptr and attr_type_mask: the last words of the entry.
    const std::uint64_t attributes[2] = {reinterpret_cast<std::uintptr_t>(&attr), 1};
    std::memcpy(reinterpret_cast<std::byte*>(sqe) + 48, attributes, sizeof(attributes));
    if (const int res = ring->submit(); res < 0)
        return res;
    const auto done = ring->wait(patience);
    return done ? done->res : -ETIME;
}

App with_metadata(const Device& device, bool write, std::uint64_t sector, std::span<std::byte> data,
                  std::span<std::byte> beside)
{
    return app_with(device, O_RDWR | O_DIRECT, [=](int fd) -> long {
        const Aligned buffer(static_cast<std::byte*>(std::aligned_alloc(4096, data.size())), &std::free);
        std::memcpy(buffer.get(), data.data(), data.size());
        const long res = transfer_with_metadata(fd, write ? IORING_OP_WRITE : IORING_OP_READ, sector,
                                                {buffer.get(), data.size()}, beside);
        std::memcpy(data.data(), buffer.get(), data.size());
        return res;
    });
}

} // namespace conformance
