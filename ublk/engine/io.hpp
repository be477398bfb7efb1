// What a backend sees: one request, the rules of its answer, and the arithmetic every backend needs.
// Sectors are 512 bytes; everything named offset, length or size is in bytes.
#pragma once

#include "ublk/uapi/io.hpp"
#include "ublk/uapi/params.hpp"

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

namespace ublk::engine {

constexpr bool carries_data(uapi::IoOp op)
{
    return op == uapi::IoOp::read || op == uapi::IoOp::write;
}

// The same on a zoned device.
constexpr bool carries_zone_data(uapi::IoOp op)
{
    return op == uapi::IoOp::zone_append || op == uapi::IoOp::report_zones;
}
constexpr std::uint64_t payload_bytes(uapi::IoOp op, std::uint32_t nr_sectors)
{
    return op == uapi::IoOp::report_zones ? std::uint64_t{nr_sectors} * sizeof(uapi::ZoneReport)
                                          : std::uint64_t{nr_sectors} << uapi::sector_shift;
}

// Metadata that each interval of data carries with it, protection information as a part of it
// (UBLK_F_INTEGRITY, 7.0).
struct Integrity {
    std::uint32_t interval = 0; // bytes of data, a power of two from 512 to the block size; 0: there is none
    std::uint8_t metadata_bytes = 0; // of an interval
    std::uint8_t pi_offset = 0;      // byte of the metadata that its protection information begins at
    std::uint8_t tag_bytes = 0;      // of the protection information, for the application
    uapi::PiChecksum checksum = uapi::PiChecksum::none;
    bool reference_tags = false; // they number the intervals

    // Metadata of so many bytes of data.
    constexpr std::uint64_t bytes_of(std::uint64_t data) const
    {
        return interval == 0 ? 0 : data / interval * metadata_bytes;
    }
    constexpr bool operator==(const Integrity&) const = default;
};

// One request. `data` is the tag's buffer cut to the request: filled by the kernel for a write, to be filled
// by the backend for a read, empty for the rest; or, with the data path shmem, memory that the application
// shares, and may change at any time; or what the backend's own place() gave. It is the backend's until the
// request is answered. Where the payload is never mapped (zero copy), `data` is empty for reads and writes
// too: only ring operations reach it.
struct Io {
    uapi::IoOp op = uapi::IoOp::read;
    uapi::IoFlags flags;
    std::uint64_t start_sector = 0; // of the whole disk; all ones for a flush
    std::uint32_t nr_sectors = 0;
    std::span<std::byte> data;
    std::uint16_t tag = 0;
    std::uint16_t queue = 0;
    std::uint32_t progress = 0; // an asynchronous backend's own: how far it got

    // Of a backend that serves integrity: the metadata, interval by interval, which lies behind the data and
    // is the backend's as that is. Empty if the request carries none.
    std::span<std::byte> metadata(const Integrity& integrity) const
    {
        if (!flags.has(uapi::IoFlag::integrity))
            return {};
        return {data.data() + data.size(), static_cast<std::size_t>(integrity.bytes_of(data.size()))};
    }
    // Bytes of payload; 0 for what has none.
    constexpr std::uint64_t length() const
    {
        return carries_data(op) ? std::uint64_t{nr_sectors} << uapi::sector_shift : data.size();
    }
};

// Serves requests synchronously. handle() is called by all queue threads at once, on different requests.
// Its answer: bytes done for read and write, 0 for the rest, or a negative errno.
template <typename B>
concept SyncBackend = requires(B& backend, Io& io) {
    { backend.handle(io) } noexcept -> std::same_as<std::int32_t>;
};

// An operation on the queue's ring. A read or write is between a file and the payload of the request,
// wherever that is: the tag's buffer, or the pages of the application.
struct RingOp {
    enum class Kind : std::uint8_t { read, write, sync, allocate };
    Kind kind = Kind::read;
    int fd = -1;
    std::uint64_t offset = 0; // bytes, in the file
    std::uint64_t length = 0; // bytes
    std::uint32_t at = 0;     // byte of the payload that a read or write begins at
    int flags = 0;            // write: RWF_*; allocate: the mode of fallocate(2)
};
inline constexpr std::int32_t op_pending = INT32_MIN;

// Serves requests with operations on the queue's ring. begin() and resume() answer as handle() does, or fill
// in `op` and answer op_pending: then resume() is called with that operation's result (bytes, or -errno) when
// it is done, and with what `io` was when op_pending was answered: it may be changed to remember how far it
// got. Both are called by all queue threads at once, on different requests.
template <typename B>
concept AsyncBackend = requires(B& backend, Io& io, RingOp& op, std::int32_t result) {
    { backend.begin(io, op) } noexcept -> std::same_as<std::int32_t>;
    { backend.resume(io, result, op) } noexcept -> std::same_as<std::int32_t>;
};

template <typename B>
concept Backend = SyncBackend<B> || AsyncBackend<B>;

// Whether a backend can serve payload that is not mapped: it uses ring operations, or says that it does not
// look at payload (`static constexpr bool ignores_payload = true`).
template <typename B>
concept ServesUnmapped = AsyncBackend<B> || requires { requires B::ignores_payload; };

// A backend of a zoned device says so (`static constexpr bool serves_zones = true`); for others the payload
// of these two is not moved. ZONE_APPEND names the zone's first sector in `start_sector`, and the backend
// puts there where it wrote. REPORT_ZONES asks for `nr_sectors` zones from the one that holds `start_sector`;
// `data` is as many uapi::ZoneReport, and the rest of those that the device does not have is zeroes.
template <typename B>
concept ServesZones = requires { requires B::serves_zones; };

// A host-managed zoned device. Zones have all the same size.
struct Zones {
    std::uint64_t size = 0;       // bytes, a power of two; 0: the device is not zoned
    std::uint32_t max_open = 0;   // 0: no limit; not above max_active, unless that is 0
    std::uint32_t max_active = 0; // open or closed; 0: no limit
    std::uint64_t max_append = 0; // bytes of one ZONE_APPEND
};

// A backend that keeps metadata says so (`static constexpr bool serves_integrity = true`) and has geometry()
// tell of it. That of a write is in Io::metadata(), that of a read is to be put there. The block layer of the
// kernel makes and checks the protection information of whoever brings none of their own, and takes -EILSEQ
// for its violation.
template <typename B>
concept ServesIntegrity = requires { requires B::serves_integrity; };

// A backend whose blocks are in memory may have payload there instead of in the tag's buffer, which spares it
// a copy where the driver, or the engine for it, moves payload to any address (the data paths get_data and
// user_copy). has_places(): whether any request can get one, fixed once queues run; only then place() is
// asked, before anybody checked the request: where the payload of this read or write is to be, all of it;
// empty, in the buffer. handle() finds the answer in Io::data: there a write has been done before it is
// called, and a read is taken from there after it returned. begin() answers such a request at once.
template <typename B>
concept PlacesPayload = requires(B& backend, const Io& io) {
    { backend.has_places() } noexcept -> std::same_as<bool>;
    { backend.place(io) } noexcept -> std::same_as<std::span<std::byte>>;
};

// What a backend is, as the device's parameters have to tell it.
struct Geometry {
    std::uint64_t size = 0;       // bytes, a multiple of block_size
    std::uint32_t block_size = 0; // bytes: 512, 1024, 2048 or 4096
    uapi::Attrs attrs;
    bool discard = false;
    bool write_zeroes = false;
    std::uint32_t discard_granularity = 0; // bytes; counts with discard
    Zones zones;
    Integrity integrity;
};

struct ByteRange {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

// The bytes that a request addresses in a device of `size` bytes. Error: -EINVAL if they cannot be counted in
// 64 bits, -EIO if they end beyond the device.
constexpr std::expected<ByteRange, std::int32_t> byte_range(const Io& io, std::uint64_t size)
{
    if (io.start_sector > (UINT64_MAX >> uapi::sector_shift))
        return std::unexpected(-EINVAL);
    const ByteRange range{io.start_sector << uapi::sector_shift,
                          std::uint64_t{io.nr_sectors} << uapi::sector_shift};
    if (range.length > UINT64_MAX - range.offset)
        return std::unexpected(-EINVAL);
    if (range.offset > size || range.length > size - range.offset)
        return std::unexpected(-EIO);
    return range;
}

// The same, where only a request that is all inside counts.
constexpr bool is_inside(const Io& io, std::uint64_t size)
{
    const std::uint64_t sectors = size >> uapi::sector_shift;
    return io.start_sector <= sectors && io.nr_sectors <= sectors - io.start_sector;
}

// Whether a backend's answer is all that a request with payload asked for.
constexpr bool is_whole(const Io& io, std::int32_t answer)
{
    // In 32 bits, and the same expression as in a backend that does just that: then this is one comparison.
    constexpr std::uint32_t most_sectors = INT32_MAX >> uapi::sector_shift;
    return carries_data(io.op) && io.nr_sectors - 1 < most_sectors &&
           answer == static_cast<std::int32_t>(io.length());
}

// What is committed for a backend's answer. The driver of Linux 7.3 takes a short write for a complete one,
// and loses the tail of a read that ends inside a sector: neither may reach it. A short read comes back for
// its rest only where the driver itself copies (`short_reads`); elsewhere 7.3 takes it for complete, too.
// `length`: of the request's payload.
constexpr std::int32_t commit_result(uapi::IoOp op, std::uint64_t length, std::int32_t answer,
                                     bool short_reads)
{
    constexpr std::int32_t lowest_errno = -4095;
    if (answer < 0)
        return answer >= lowest_errno ? answer : -EIO;
    if (!carries_data(op) && length == 0)
        return 0;
    const auto done = static_cast<std::uint64_t>(answer);
    if (done == 0 || done > length)
        return -EIO;
    if (done == length)
        return answer;
    return op == uapi::IoOp::read && short_reads && done % uapi::sector_size == 0 ? answer : -EIO;
}
constexpr std::int32_t commit_result(const Io& io, std::int32_t answer, bool short_reads = true)
{
    return is_whole(io, answer) ? answer : commit_result(io.op, io.length(), answer, short_reads);
}

} // namespace ublk::engine
