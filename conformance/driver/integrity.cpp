// UBLK-INTEG: metadata beside the data of a request.
#include "conformance/driver/case.hpp"
#include "conformance/driver/integrity_verbs.hpp"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <sys/ioctl.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

using uapi::ParamIntegrity;
using uapi::PiChecksum;

constexpr std::uint64_t far_sector = 2048;

// A request that the application has made; the server has done nothing with it.
Live::Held held_write(MetadataLive& live, const Bytes& data, Where where = Where::current())
{
    return hold(live.server, write_data(live.device, data, far_sector), where);
}

long finish(MetadataLive& live, Live::Held& held, std::int32_t result)
{
    live.server.commit(held.request.q, held.request.tag, result);
    return live.server.serve_until(held.app);
}

ParamIntegrity with_checksum(PiChecksum checksum)
{
    auto block = sound_integrity;
    block.csum_type = static_cast<std::uint8_t>(checksum);
    block.metadata_size = checksum == PiChecksum::crc64_nvme ? 16 : 8;
    return block;
}

App read_at(const Device& device, int flags)
{
    return app_with(device, flags, [](int fd) {
        const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(4096, 8192), &std::free);
        return sys(::pread(fd, buffer.get(), 8192, far_sector * uapi::sector_size));
    });
}

// struct logical_block_metadata_cap and FS_IOC_GETLBMD_CAP of linux/fs.h (6.17), which older headers lack.
struct MetadataCap {
    std::uint32_t flags = 0;
    std::uint16_t interval = 0;
    std::uint8_t size = 0, opaque_size = 0, opaque_offset = 0, pi_size = 0, pi_offset = 0, guard_type = 0;
    std::uint8_t app_tag_size = 0, ref_tag_size = 0, storage_tag_size = 0, pad = 0;
};
static_assert(sizeof(MetadataCap) == 16);
constexpr unsigned long get_metadata_cap = _IOWR(0x15, 2, MetadataCap);

} // namespace

CASE("UBLK-INTEG-001", contract,
     "A request with metadata says so; its tag leads to data and metadata, a bit of the position chooses",
     needs(integrity))
{
    Driver driver;
    MetadataLive live(driver);
    const auto data = pattern(8192);
    auto write = held_write(live, data);
    expect_true(has_metadata(write.request), "the write's descriptor says INTEGRITY");
    Bytes got(data.size()), tuples(16 * 8);
    expect_eq(8192, copy_out(live.server, write.request, got), "bytes of data");
    expect_true(got == data, "they are what was written");
    expect_eq(16 * 8, metadata_out(live.server, write.request, tuples), "bytes of metadata");
    expect_true(tuples == t10_tuples(far_sector, data), "they are the protection of what was written");
    expect_eq(8192, finish(live, write, 8192), "bytes written");

    auto read = read_back(live.device, 4096);
    auto held = hold(live.server, std::move(read.app));
    expect_true(has_metadata(held.request), "the read's descriptor says INTEGRITY");
    const auto content = pattern(4096, 1);
    expect_eq(4096, copy_in(live.server, held.request, content), "bytes of data given");
    expect_eq(64, metadata_in(live.server, held.request, t10_tuples(0, content)), "bytes of metadata given");
    expect_eq(4096, finish(live, held, 4096), "bytes read");
    expect_true(*read.data == content, "the application got the data, and the kernel the protection");
}

CASE("UBLK-INTEG-002", contract, "A request has metadata for each of its intervals, and no more can be moved",
     needs(integrity))
{
    for (const unsigned exponent : {9U, 12U}) {
        auto block = opaque_integrity(24);
        block.interval_exp = static_cast<std::uint8_t>(exponent);
        auto params = integrity_params(block);
        params.basic.logical_bs_shift = static_cast<std::uint8_t>(exponent);
        Driver driver;
        Live live(driver, params, {.flags = integrity});
        auto held = live.hold_write(0, 16384);
        const unsigned whole = (16384U >> exponent) * 24;
        Bytes room(4096);
        const auto out = [&](std::size_t bytes, std::uint64_t offset) {
            return metadata_out(live.server, held.request, std::span(room).first(bytes), offset);
        };
        expect_eq(whole, out(room.size(), 0), "bytes from the beginning");
        expect_eq(5U, out(5, 0), "five bytes");
        expect_eq(3U, out(room.size(), whole - 3), "bytes at three before the end");
        expect_eq(0, out(room.size(), whole), "bytes at the end");
        expect_error(EINVAL, out(room.size(), whole + 1), "behind the end");
        expect_eq(16384, live.finish(held, 16384), "bytes written");
    }
}

CASE("UBLK-INTEG-003", contract, "The metadata of a write can only be got, that of a read only be given",
     needs(integrity))
{
    Driver driver;
    MetadataLive live(driver, opaque_integrity(8));
    Bytes bytes(64);
    auto write = held_write(live, pattern(4096));
    expect_error(EACCES, metadata_in(live.server, write.request, bytes), "pwrite to a write's");
    expect_eq(64, metadata_out(live.server, write.request, bytes), "pread from a write's");
    expect_eq(4096, finish(live, write, 4096), "bytes written");
    auto read = hold(live.server, App::read(live.device, 0, 4096));
    expect_error(EACCES, metadata_out(live.server, read.request, bytes), "pread from a read's");
    expect_eq(64, metadata_in(live.server, read.request, bytes), "pwrite to a read's");
    expect_eq(4096, finish(live, read, 4096), "bytes read");
}

CASE("UBLK-INTEG-004", contract, "Of a request without metadata none can be moved, which is no error",
     needs(integrity))
{
    Driver driver;
    MetadataLive live(driver);
    live.set_switch("write_generate", false);
    Bytes bytes(64);
    auto write = held_write(live, pattern(4096));
    expect_true(!has_metadata(write.request), "a write that nobody protects has no metadata");
    expect_ok(metadata_out(live.server, write.request, bytes), "pread of metadata");
    expect_eq(64, copy_out(live.server, write.request, bytes), "pread of data");
    expect_eq(4096, finish(live, write, 4096), "bytes written");
}

CASE("UBLK-INTEG-012", contract,
     "A device that may have metadata, and whose parameters have none, gives and takes none",
     needs(integrity))
{
    Driver driver;
    Live live(driver, basic_params(), {.flags = integrity});
    Bytes bytes(64);
    auto write = live.hold_write();
    expect_ok(metadata_out(live.server, write.request, bytes), "pread of a write's metadata");
    expect_eq(4096, live.finish(write, 4096), "bytes written");
    auto read = live.hold_read();
    expect_ok(metadata_in(live.server, read.request, bytes), "pwrite of a read's metadata");
    expect_eq(4096, live.finish(read, 4096), "bytes read");
}

CASE("UBLK-INTEG-005", contract,
     "The kernel protects what is written, and finds a read whose protection does not fit", needs(integrity))
{
    for (const auto checksum : {PiChecksum::ip, PiChecksum::crc16_t10dif, PiChecksum::crc64_nvme}) {
        Driver driver;
        MetadataLive live(driver, with_checksum(checksum));
        const auto what = fmt::format("checksum {}", static_cast<unsigned>(checksum));
        expect_eq(8192, live.served(write_data(live.device, pattern(8192), far_sector)), "bytes written");
        const auto read = [&] { return live.served(read_at(live.device, O_RDONLY | O_DIRECT)); };
        expect_eq(8192, read(), what + ": bytes read");
        if (checksum == PiChecksum::crc16_t10dif)
            expect_true(
                std::ranges::equal(live.beside(far_sector, 8192), t10_tuples(far_sector, pattern(8192))),
                "the metadata is T10's");
        auto& guard = live.beside(far_sector + 3, 512)[0];
        auto& datum = live.server.memory()[(far_sector + 5) * uapi::sector_size + 77];
        for (auto* byte : {&guard, &datum}) {
            const bool is_data = byte == &datum;
            *byte ^= std::byte{0x10};
            expect_error(EILSEQ, read(), what + (is_data ? ": a wrong bit of data" : ": a wrong guard"));
            *byte ^= std::byte{0x10};
        }
        expect_eq(8192, read(), what + ": bytes read when all is right again");
        guard ^= std::byte{0x10};
        expect_error(EIO, live.served(read_at(live.device, O_RDONLY)), what + ": through the page cache");
    }
}

CASE("UBLK-INTEG-006", contract, "Metadata without checksum means nothing to the kernel", needs(integrity))
{
    Driver driver;
    MetadataLive live(driver, opaque_integrity(8));
    std::ranges::fill(live.metadata, std::byte{0xa5});
    const auto read = [&] { return live.served(read_at(live.device, O_RDONLY | O_DIRECT)); };
    expect_eq(8192, read(), "bytes read of what was never written");
    expect_eq(8192, live.served(write_data(live.device, pattern(8192), far_sector)), "bytes written");
    expect_true(all_are(live.beside(far_sector, 8192), std::byte{0}),
                "what the application did not bring is zero");
    live.beside(far_sector, 8192)[9] = std::byte{1};
    live.server.memory()[far_sector * uapi::sector_size] ^= std::byte{1};
    expect_eq(8192, read(), "bytes read after changes to both");
}

CASE("UBLK-INTEG-007", contract, "The disk's switches turn protection and its check off, and on again",
     needs(integrity))
{
    Driver driver;
    MetadataLive live(driver);
    const auto write = [&] {
        live.server.seen.clear();
        expect_eq(8192, live.served(write_data(live.device, pattern(8192), far_sector)), "bytes written");
        return has_metadata(live.server.seen.at(0));
    };
    const auto read = [&] { return live.served(read_at(live.device, O_RDONLY | O_DIRECT)); };
    expect_true(write(), "a write has metadata");
    live.beside(far_sector, 512)[0] ^= std::byte{1};
    expect_error(EILSEQ, read(), "a wrong guard");
    live.set_switch("read_verify", false);
    expect_eq(8192, read(), "bytes read with a wrong guard, unchecked");
    live.set_switch("read_verify", true);
    expect_error(EILSEQ, read(), "a wrong guard, checked again");
    live.set_switch("write_generate", false);
    expect_true(!write(), "an unprotected write has no metadata");
    live.set_switch("write_generate", true);
    expect_true(write(), "a write has metadata again");
    expect_eq(8192, read(), "bytes read that were written with it");
}

CASE("UBLK-INTEG-008", contract, "Metadata of an application's own travels byte for byte", needs(integrity))
{
    Driver driver;
    MetadataLive live(driver, opaque_integrity(13));
    auto data = pattern(16384), beside = pattern(live.metadata_bytes(16384), 3);
    expect_eq(16384, live.served(with_metadata(live.device, true, far_sector, data, beside)),
              "bytes written");
    expect_true(std::ranges::equal(live.beside(far_sector, 16384), beside), "the server got the metadata");
    const auto* disk = live.server.memory().data() + far_sector * uapi::sector_size;
    expect_true(std::equal(data.begin(), data.end(), disk), "the server got the data");

    std::ranges::copy(pattern(beside.size(), 4), live.beside(far_sector, 16384).begin());
    Bytes got(16384), got_beside(beside.size());
    expect_eq(16384, live.served(with_metadata(live.device, false, far_sector, got, got_beside)),
              "bytes read");
    expect_true(got == data, "the application got the data");
    expect_true(got_beside == pattern(beside.size(), 4), "the application got the metadata");
}

CASE("UBLK-INTEG-009", contract, "FS_IOC_GETLBMD_CAP tells an application what lies beside a block",
     needs(integrity))
{
    struct Row {
        ParamIntegrity block;
        MetadataCap cap;
    };
    const auto raw = [](PiChecksum checksum) { return static_cast<std::uint8_t>(checksum); };
    const Row rows[] = {
        {opaque_integrity(24), {.flags = 1, .interval = 512, .size = 24, .opaque_size = 24}},
        {sound_integrity,
         {.flags = 3,
          .interval = 512,
          .size = 8,
          .pi_size = 8,
          .guard_type = 2,
          .app_tag_size = 2,
          .ref_tag_size = 4}},
        {{.flags = 1,
          .interval_exp = 9,
          .metadata_size = 20,
          .pi_offset = 12,
          .csum_type = raw(PiChecksum::ip)},
         {.flags = 1,
          .interval = 512,
          .size = 20,
          .opaque_size = 12,
          .pi_size = 8,
          .pi_offset = 12,
          .guard_type = 1,
          .app_tag_size = 2}},
        {{.flags = 3, .interval_exp = 9, .metadata_size = 32, .csum_type = raw(PiChecksum::crc64_nvme)},
         {.flags = 3,
          .interval = 512,
          .size = 32,
          .opaque_size = 16,
          .opaque_offset = 16,
          .pi_size = 16,
          .guard_type = 4,
          .app_tag_size = 2,
          .ref_tag_size = 6}}};
    for (const auto& [block, cap] : rows) {
        Driver driver;
        MetadataLive live(driver, block);
        MetadataCap got;
        expect_ok(live.served(app_with(live.device, O_RDONLY,
                                       [&](int fd) { return sys(::ioctl(fd, get_metadata_cap, &got)); })),
                  "FS_IOC_GETLBMD_CAP");
        expect_eq(cap.flags, got.flags, "lbmd_flags");
        expect_eq(cap.interval, got.interval, "lbmd_interval");
        expect_eq(cap.size, got.size, "lbmd_size");
        expect_eq(cap.opaque_size, got.opaque_size, "lbmd_opaque_size");
        expect_eq(cap.opaque_offset, got.opaque_offset, "lbmd_opaque_offset");
        expect_eq(cap.pi_size, got.pi_size, "lbmd_pi_size");
        expect_eq(cap.pi_offset, got.pi_offset, "lbmd_pi_offset");
        expect_eq(cap.guard_type, got.guard_type, "lbmd_guard_tag_type");
        expect_eq(cap.app_tag_size, got.app_tag_size, "lbmd_app_tag_size");
        expect_eq(cap.ref_tag_size, got.ref_tag_size, "lbmd_ref_tag_size");
    }
}

CASE("UBLK-INTEG-010", contract, "A request of several writes has the metadata of all of them",
     needs(integrity))
{
    constexpr unsigned pieces = 8, piece = 4096;
    Driver driver;
    MetadataLive live(driver);
    const auto data = pattern(std::size_t{pieces} * piece);
    // All in one submission, so that they wait for each other and meet.
    auto app = app_with(live.device, O_WRONLY | O_DIRECT, [&](int fd) -> long {
        auto ring = ublk::wire::Ring::open({.entries = pieces, .sqe128 = false});
        if (!ring)
            return -ring.error();
        const std::unique_ptr<std::byte, decltype(&std::free)> buffer(
            static_cast<std::byte*>(std::aligned_alloc(4096, data.size())), &std::free);
        std::ranges::copy(data, buffer.get());
        for (unsigned i = 0; i < pieces; ++i)
            io_uring_prep_write(ring->sqe(), fd, buffer.get() + i * piece, piece,
                                far_sector * uapi::sector_size + i * piece);
        if (const int res = ring->submit(); res < 0)
            return res;
        long written = 0;
        for (unsigned i = 0; i < pieces; ++i) {
            const auto done = ring->wait(patience);
            if (!done || done->res < 0)
                return done ? done->res : -ETIME;
            written += done->res;
        }
        return written;
    });
    expect_eq(long{pieces} * piece, live.server.serve_until(app), "bytes written");
    const auto longest =
        std::ranges::max(live.server.seen, {}, [](const auto& request) { return request.desc.nr_sectors; });
    expect_true(longest.desc.nr_sectors > piece / uapi::sector_size, "some came as one request");
    expect_true(std::ranges::equal(live.beside(far_sector, data.size()), t10_tuples(far_sector, data)),
                "the metadata is that of all of them");
}

CASE("UBLK-INTEG-011", contract, "A kernel that does not offer INTEGRITY makes the device without it")
{
    if (offers(Feature::integrity))
        skip("needs a kernel that does not offer INTEGRITY");
    Driver driver;
    for (const auto flags : {Features(Feature::integrity), integrity}) {
        const auto added = driver.add({.flags = flags});
        expect_ok(added, "ADD_DEV");
        expect_true(!Features::from_raw(added.info.flags).has(Feature::integrity),
                    "INTEGRITY is not granted");
    }
}

} // namespace conformance
