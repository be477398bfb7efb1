// UBLK-PARAM-DISC, -DMA, -SEG: discard, memory alignment and segments, and the limits that follow from them.
#include "conformance/driver/case.hpp"
#include "conformance/driver/live.hpp"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <linux/fs.h>
#include <memory>
#include <sys/ioctl.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

Params with_discard(const uapi::ParamDiscard& discard)
{
    Params params = basic_params();
    params.types |= uapi::ParamTypes(ParamType::discard).raw();
    params.discard = discard;
    return params;
}

constexpr uapi::ParamDiscard sound_discard{.discard_granularity = 4096,
                                           .max_discard_sectors = 256,
                                           .max_write_zeroes_sectors = 64,
                                           .max_discard_segments = 1};

Params with_dma(std::uint32_t mask)
{
    Params params = basic_params();
    params.types |= uapi::ParamTypes(ParamType::dma_align).raw();
    params.dma.alignment = mask;
    return params;
}

Params with_segment(std::uint64_t boundary_mask, std::uint32_t bytes, std::uint16_t count)
{
    Params params = basic_params();
    params.types |= uapi::ParamTypes(ParamType::segment).raw();
    params.seg = {.seg_boundary_mask = boundary_mask, .max_segment_size = bytes, .max_segments = count};
    return params;
}

// ioctl(BLKDISCARD or BLKZEROOUT) over the first `bytes` of the disk.
App range_ioctl(const Device& device, unsigned long request, std::uint64_t bytes)
{
    return App([=, path = device.block_path()] {
        const auto fd = ublk::wire::open_node(path, O_RDWR);
        if (!fd)
            return -static_cast<long>(fd.error());
        std::uint64_t range[2] = {0, bytes};
        return sys(::ioctl(fd->get(), request, range));
    });
}

} // namespace

CASE("UBLK-PARAM-DISC-001", contract, "A disk that discards does so in exactly one segment")
{
    Driver driver;
    const auto device = driver.make();
    auto discard = sound_discard;
    for (const std::uint16_t segments : {0, 2, 0xffff}) {
        discard.max_discard_segments = segments;
        expect_error(EINVAL, device.set_params(with_discard(discard)), fmt::format("{} segments", segments));
    }
    expect_ok(device.set_params(with_discard(sound_discard)), "one segment");
    discard.max_discard_sectors = 0;
    discard.max_discard_segments = 0;
    expect_ok(device.set_params(with_discard(discard)), "no segment, no discard");
}

CASE("UBLK-PARAM-DISC-002", contract,
     "A discard block has a granularity, even where nothing can be discarded")
{
    Driver driver;
    const auto device = driver.make();
    auto discard = sound_discard;
    discard.discard_granularity = 0;
    for (const std::uint32_t sectors : {0, 256}) {
        discard.max_discard_sectors = sectors;
        expect_error(EINVAL, device.set_params(with_discard(discard)),
                     fmt::format("max_discard_sectors {}", sectors));
    }
    expect_ok(device.set_params(with_discard(sound_discard)));
}

CASE("UBLK-PARAM-DISC-003", contract, "The disk shows the discard block's limits")
{
    for (const std::uint32_t granularity : {512, 8192}) {
        auto discard = sound_discard;
        discard.discard_granularity = granularity;
        Driver driver;
        const Live live(driver, with_discard(discard));
        const auto number = [&](const char* name) { return sysfs_number(live.device, name); };
        expect_eq(256U * uapi::sector_size, number("queue/discard_max_hw_bytes"), "discard_max_hw_bytes");
        expect_eq(64U * uapi::sector_size, number("queue/write_zeroes_max_bytes"), "write_zeroes_max_bytes");
        // A physical block has 4096 bytes here.
        expect_eq(std::max(granularity, 4096U), number("queue/discard_granularity"), "discard_granularity");
        expect_true(number("queue/max_discard_segments") >= 1, "max_discard_segments is at least 1");
    }
}

CASE("UBLK-PARAM-DISC-005", contract,
     "Without a discard block nothing is discarded, and zeroing writes zeroes")
{
    Driver driver;
    Live live(driver);
    auto discard = range_ioctl(live.device, BLKDISCARD, 8192);
    expect_error(EOPNOTSUPP, live.server.serve_until(discard), "BLKDISCARD");
    std::ranges::fill(live.server.memory(), std::byte{0xee});
    live.server.seen.clear();
    auto zero = range_ioctl(live.device, BLKZEROOUT, 8192);
    expect_ok(live.server.serve_until(zero), "BLKZEROOUT");
    for (const auto& request : live.server.seen)
        expect_eq(static_cast<unsigned>(IoOp::write), request.desc.op(), "operation at the server");
    const auto first = live.server.memory().begin();
    expect_true(std::all_of(first, first + 8192, [](std::byte b) { return b == std::byte{}; }),
                "the server was given zeroes");
    expect_true(first[8192] == std::byte{0xee}, "what follows is untouched");
}

CASE("UBLK-PARAM-DISC-006", contract, "The discard block does not count without its type bit")
{
    Params params = with_discard({.discard_granularity = 0,
                                  .max_discard_sectors = 8,
                                  .max_write_zeroes_sectors = 8,
                                  .max_discard_segments = 77});
    params.types = uapi::ParamTypes(ParamType::basic).raw();
    Driver driver;
    const Live live(driver, params);
    expect_eq(0U, sysfs_number(live.device, "queue/discard_max_hw_bytes"), "discard_max_hw_bytes");
    expect_eq(0U, sysfs_number(live.device, "queue/write_zeroes_max_bytes"), "write_zeroes_max_bytes");
}

CASE("UBLK-PARAM-DMA-001", contract,
     "The memory alignment block is known from Linux 6.15 on; before, it is dropped")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.set_params(with_dma(511)));
    Params stored;
    expect_ok(device.get_params(stored));
    const bool known = kernel_version() >= uapi::KernelVersion{6, 15};
    expect_eq(known, uapi::ParamTypes::from_raw(stored.types).has(ParamType::dma_align),
              "GET_PARAMS shows the type");
}

CASE("UBLK-PARAM-DMA-002", contract, "Memory alignment is a mask of low bits, smaller than a page",
     since(6, 15))
{
    Driver driver;
    const auto device = driver.make();
    const std::uint32_t page = page_size();
    for (const std::uint32_t mask : {page, 2 * page - 1, 5U, 512U, ~0U})
        expect_error(EINVAL, device.set_params(with_dma(mask)), fmt::format("mask {:#x}", mask));
    for (const std::uint32_t mask : {0U, 3U, 511U, page - 1}) {
        const Live live(driver, with_dma(mask));
        expect_eq(mask == 0 ? 511U : mask, sysfs_number(live.device, "queue/dma_alignment"), "dma_alignment");
    }
}

CASE("UBLK-PARAM-DMA-003", contract, "Direct I/O on memory that is not aligned enough is refused at once",
     since(6, 15))
{
    Driver driver;
    Live live(driver, with_dma(4095));
    const auto read_at = [&](std::size_t into_page) {
        return App([path = live.device.block_path(), into_page] {
            const auto fd = ublk::wire::open_node(path, O_RDONLY | O_DIRECT);
            if (!fd)
                return -static_cast<long>(fd.error());
            const std::unique_ptr<std::byte, decltype(&std::free)> buffer(
                static_cast<std::byte*>(std::aligned_alloc(4096, 8192)), &std::free);
            return sys(::pread(fd->get(), buffer.get() + into_page, 4096, 0));
        });
    };
    live.server.seen.clear();
    auto unaligned = read_at(512);
    expect_error(EINVAL, live.server.serve_until(unaligned), "512 bytes into a page");
    expect_eq(0U, live.server.seen.size(), "requests at the server");
    auto aligned = read_at(0);
    expect_eq(4096, live.server.serve_until(aligned), "bytes read to the start of a page");
}

CASE("UBLK-PARAM-SEG-001", contract,
     "A segment boundary is a mask of low bits that covers 4096 bytes or more", since(6, 15))
{
    Driver driver;
    const auto device = driver.make();
    for (const std::uint64_t mask : {0ULL, 2047ULL, 4094ULL, 4096ULL, 0x10fffULL, ~0ULL})
        expect_error(EINVAL, device.set_params(with_segment(mask, 65536, 16)),
                     fmt::format("mask {:#x}", mask));
    for (const std::uint64_t mask : {4095ULL, 65535ULL, (1ULL << 32) - 1})
        expect_ok(device.set_params(with_segment(mask, 65536, 16)), fmt::format("mask {:#x}", mask));
}

CASE("UBLK-PARAM-SEG-002", contract, "A segment may always have 4096 bytes", since(6, 15))
{
    Driver driver;
    const auto device = driver.make();
    for (const std::uint32_t bytes : {0U, 512U, 4095U})
        expect_error(EINVAL, device.set_params(with_segment(4095, bytes, 16)),
                     fmt::format("{} bytes", bytes));
    expect_ok(device.set_params(with_segment(4095, 4096, 16)), "4096 bytes");
}

CASE("UBLK-PARAM-SEG-003", contract, "The disk shows the segment limits; no count is the block layer's own",
     since(6, 15))
{
    for (const std::uint16_t count : {0, 1, 16}) {
        Driver driver;
        const Live live(driver, with_segment(65535, 32768, count));
        expect_eq(count == 0 ? 128U : count, sysfs_number(live.device, "queue/max_segments"), "max_segments");
        expect_eq(32768U, sysfs_number(live.device, "queue/max_segment_size"), "max_segment_size");
    }
}

} // namespace conformance
