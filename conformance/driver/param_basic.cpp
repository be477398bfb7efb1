// UBLK-PARAM-BASIC: what the basic block may say, and what the disk then looks like. Sectors are 512 bytes.
#include "conformance/driver/case.hpp"
#include "conformance/driver/live.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <linux/fs.h>
#include <memory>
#include <sys/ioctl.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr std::uint32_t mebibyte = 1U << 20;

std::uint8_t page_shift()
{
    return static_cast<std::uint8_t>(std::countr_zero(page_size()));
}

// basic_params() with the basic block changed by `change`.
template <typename F>
Params basic_with(F change)
{
    Params params = basic_params();
    change(params.basic);
    return params;
}

Params with_attrs(uapi::Attrs attrs)
{
    return basic_with([&](auto& basic) { basic.attrs = attrs.raw(); });
}

// A disk with these parameters; value of one of its sysfs numbers.
std::uint64_t seen_in_sysfs(const Params& params, const std::string& name, Where where = Where::current())
{
    Driver driver;
    const Live live(driver, params, {}, where);
    return sysfs_number(live.device, name, where);
}

// A 4096-byte write, then fsync(); -errno of the first that fails.
long write_and_sync(int fd)
{
    const std::unique_ptr<void, decltype(&std::free)> data(std::aligned_alloc(4096, 4096), &std::free);
    std::memset(data.get(), 0x5c, 4096);
    const long written = sys(::pwrite(fd, data.get(), 4096, 0));
    return written < 0 ? written : sys(::fsync(fd));
}

} // namespace

CASE("UBLK-PARAM-BASIC-001", contract,
     "Logical blocks have 512 bytes to a page, and the disk shows their size")
{
    Driver driver;
    const auto device = driver.make();
    const auto shift_of = [](std::uint8_t shift) {
        return basic_with([&](auto& basic) {
            basic.logical_bs_shift = shift;
            basic.physical_bs_shift = std::max(basic.physical_bs_shift, shift);
        });
    };
    for (const int shift : {0, 8, page_shift() + 1, 255})
        expect_error(EINVAL, device.set_params(shift_of(shift)), fmt::format("shift {}", shift));
    for (int shift = 9; shift <= page_shift(); ++shift) {
        expect_eq(1U << shift, seen_in_sysfs(shift_of(shift), "queue/logical_block_size"),
                  "logical_block_size");
    }
}

CASE("UBLK-PARAM-BASIC-002", contract,
     "Physical blocks are no smaller than logical ones, and the disk shows them")
{
    Driver driver;
    const auto device = driver.make();
    const auto shifts = [](std::uint8_t logical, std::uint8_t physical) {
        return basic_with([&](auto& basic) {
            basic.logical_bs_shift = logical;
            basic.physical_bs_shift = physical;
        });
    };
    expect_error(EINVAL, device.set_params(shifts(12, 11)), "2048 below 4096");
    expect_error(EINVAL, device.set_params(shifts(9, 0)), "1 below 512");
    for (const auto physical : {9, 12, 16}) {
        expect_eq(1U << physical, seen_in_sysfs(shifts(9, physical), "queue/physical_block_size"),
                  "physical_block_size");
    }
}

CASE("UBLK-PARAM-BASIC-003", contract, "Physical block, minimum and optimal I/O sizes end at 256 MiB")
{
    Driver driver;
    const auto device = driver.make();
    for (const auto member : {&uapi::ParamBasic::physical_bs_shift, &uapi::ParamBasic::io_min_shift,
                              &uapi::ParamBasic::io_opt_shift}) {
        const auto with = [&](std::uint8_t shift) {
            return basic_with([&](auto& basic) { basic.*member = shift; });
        };
        expect_ok(device.set_params(with(28)), "shift 28");
        for (const int shift : {29, 31, 64, 255})
            expect_error(EINVAL, device.set_params(with(shift)), fmt::format("shift {}", shift));
    }
}

CASE("UBLK-PARAM-BASIC-004", behaviour,
     "The minimum I/O size is the one asked for, but at least a physical block")
{
    for (const auto shift : {0, 9, 12, 16}) {
        const auto params = basic_with([&](auto& basic) { basic.io_min_shift = shift; });
        expect_eq(std::max(1U << shift, 4096U), seen_in_sysfs(params, "queue/minimum_io_size"),
                  fmt::format("minimum_io_size for shift {}", shift));
    }
}

CASE("UBLK-PARAM-BASIC-005", behaviour,
     "The optimal I/O size is the one asked for; less than a physical block is none")
{
    for (const auto shift : {0, 9, 12, 16}) {
        const auto params = basic_with([&](auto& basic) { basic.io_opt_shift = shift; });
        expect_eq(shift < 12 ? 0U : 1U << shift, seen_in_sysfs(params, "queue/optimal_io_size"),
                  fmt::format("optimal_io_size for shift {}", shift));
    }
}

CASE("UBLK-PARAM-BASIC-006", contract, "A request cannot be longer than the buffers that ADD_DEV announced")
{
    Driver driver;
    const auto device = driver.make({.max_io_buf_bytes = 64 * 1024});
    // The last two wrap in 32 bits when turned into bytes.
    for (const std::uint32_t sectors : {129U, 136U, 1U << 23, ~0U})
        expect_error(EINVAL, device.set_params(basic_with([&](auto& basic) { basic.max_sectors = sectors; })),
                     fmt::format("max_sectors {}", sectors));
    for (const std::uint32_t sectors : {127U, 128U})
        expect_ok(device.set_params(basic_with([&](auto& basic) { basic.max_sectors = sectors; })),
                  fmt::format("max_sectors {}", sectors));
}

CASE("UBLK-PARAM-BASIC-007", contract, "A request can always be as long as a page")
{
    Driver driver;
    const auto device = driver.make();
    const std::uint32_t page = page_size() / uapi::sector_size;
    for (const std::uint32_t sectors : {0U, 1U, page - 1})
        expect_error(EINVAL, device.set_params(basic_with([&](auto& basic) { basic.max_sectors = sectors; })),
                     fmt::format("max_sectors {}", sectors));
    expect_ok(device.set_params(basic_with([&](auto& basic) { basic.max_sectors = page; })), "a page");
}

CASE("UBLK-PARAM-BASIC-008", behaviour,
     "The disk's request limit is max_sectors in whole blocks, softly capped")
{
    const auto limits = [](std::uint32_t sectors, std::uint8_t block_shift, std::uint8_t io_opt_shift) {
        Driver driver;
        const Live live(driver, basic_with([&](auto& basic) {
                            basic.max_sectors = sectors;
                            basic.logical_bs_shift = block_shift;
                            basic.io_opt_shift = io_opt_shift;
                        }),
                        {.queue_depth = 1, .max_io_buf_bytes = 16 * mebibyte});
        return std::pair(sysfs_number(live.device, "queue/max_hw_sectors_kb"),
                         sysfs_number(live.device, "queue/max_sectors_kb"));
    };
    expect_true(limits(128, 9, 12) == std::pair(64UL, 64UL), "128 sectors are 64 KiB");
    expect_true(limits(15, 12, 12) == std::pair(4UL, 4UL), "15 sectors are one block of 4 KiB");
    const std::uint64_t cap = kernel_version() >= uapi::KernelVersion{6, 17} ? 4096 : 1280;
    const auto large = limits(32768, 9, 12);
    expect_eq(16384U, large.first, "max_hw_sectors_kb of 32768 sectors");
    expect_eq(cap, large.second, "max_sectors_kb of 32768 sectors");
    expect_eq(8192U, limits(32768, 9, 23).second, "max_sectors_kb where the optimal size is 8 MiB");
}

CASE("UBLK-PARAM-BASIC-009", contract,
     "No request crosses a chunk boundary; a chunk need not be a power of two")
{
    constexpr std::uint32_t chunk = 24;
    Driver driver;
    Live live(driver, basic_with([](auto& basic) { basic.chunk_sectors = chunk; }));
    expect_eq(chunk, sysfs_number(live.device, "queue/chunk_sectors"), "chunk_sectors");
    live.server.seen.clear();
    auto app = App::read(live.device, 16, 64 * 1024);
    expect_eq(64 * 1024, live.server.serve_until(app), "bytes read");
    std::uint32_t sectors = 0;
    for (const auto& request : live.server.seen) {
        const auto start = request.desc.start_sector, end = start + request.desc.nr_sectors;
        expect_eq(start / chunk, (end - 1) / chunk, fmt::format("chunk of sectors {} to {}", start, end));
        sectors += request.desc.nr_sectors;
    }
    expect_eq(128U, sectors, "sectors that the server was asked for");
}

CASE("UBLK-PARAM-BASIC-010", contract, "The disk shows the virtual boundary mask")
{
    const auto params = basic_with([](auto& basic) { basic.virt_boundary_mask = 4095; });
    expect_eq(4095U, seen_in_sysfs(params, "queue/virt_boundary_mask"), "virt_boundary_mask");
    expect_eq(0U, seen_in_sysfs(basic_params(), "queue/virt_boundary_mask"), "virt_boundary_mask, none set");
}

CASE("UBLK-PARAM-BASIC-011", contract, "The disk has dev_sectors sectors: none, one, or any odd number")
{
    for (const std::uint64_t sectors : {0, 1, 8191}) {
        Driver driver;
        Live live(driver, basic_params(sectors));
        expect_eq(sectors, sysfs_number(live.device, "size"), "size");
        auto bytes = std::make_shared<std::uint64_t>(~0ULL);
        auto app = app_with(live.device, O_RDONLY,
                            [bytes](int fd) { return sys(::ioctl(fd, BLKGETSIZE64, bytes.get())); });
        expect_ok(live.server.serve_until(app), "BLKGETSIZE64");
        expect_eq(sectors * uapi::sector_size, *bytes, "bytes");
    }
}

CASE("UBLK-PARAM-BASIC-012", contract,
     "A read-only disk takes no write, discard or zeroing, and asks for none")
{
    Params params = with_attrs(Attr::read_only);
    params.types |= uapi::ParamTypes(ParamType::discard).raw();
    params.discard = {.discard_granularity = 4096,
                      .max_discard_sectors = 128,
                      .max_write_zeroes_sectors = 128,
                      .max_discard_segments = 1};
    Driver driver;
    Live live(driver, params);
    expect_eq(1U, sysfs_number(live.device, "ro"), "ro");
    auto write = App::write(live.device, 0, 4096, std::byte{1});
    expect_error(EPERM, live.server.serve_until(write), "write");
    for (const unsigned long request : {BLKDISCARD, BLKZEROOUT}) {
        auto app = app_with(live.device, O_RDWR, [=](int fd) {
            std::uint64_t range[2] = {0, 4096};
            return sys(::ioctl(fd, request, range));
        });
        expect_error(EPERM, live.server.serve_until(app),
                     request == BLKDISCARD ? "BLKDISCARD" : "BLKZEROOUT");
    }
    for (const auto& request : live.server.seen)
        expect_eq(0, request.desc.op(), "operation that the server was asked for");
    auto read = App::read(live.device, 0, 4096);
    expect_eq(4096, live.server.serve_until(read), "bytes read");
}

CASE("UBLK-PARAM-BASIC-013", contract, "The disk is rotational if the attribute says so")
{
    expect_eq(1U, seen_in_sysfs(with_attrs(Attr::rotational), "queue/rotational"), "rotational");
    expect_eq(0U, seen_in_sysfs(with_attrs({}), "queue/rotational"), "rotational");
}

CASE("UBLK-PARAM-BASIC-014", contract, "Only a disk with a volatile cache is ever asked to flush it")
{
    for (const bool cached : {true, false}) {
        Driver driver;
        Live live(driver, with_attrs(cached ? uapi::Attrs(Attr::volatile_cache) : uapi::Attrs{}));
        expect_eq(cached ? "write back" : "write through", live.device.sysfs("queue/write_cache"),
                  "write_cache");
        live.server.seen.clear();
        auto app = app_with(live.device, O_RDWR | O_DIRECT | O_DSYNC, &write_and_sync);
        expect_ok(live.server.serve_until(app), "a synchronous write and fsync");
        expect_eq(1U, count_seen(live.server, IoOp::write), "writes");
        expect_eq(cached, count_seen(live.server, IoOp::flush) > 0, "the server saw a flush");
        for (const auto& request : live.server.seen)
            expect_true(!request.desc.flags().has(uapi::IoFlag::fua), "no request has FUA");
    }
}

CASE("UBLK-PARAM-BASIC-015", contract, "FUA needs the volatile cache attribute to take effect")
{
    for (const auto cache : {uapi::Attrs{}, uapi::Attrs(Attr::volatile_cache)}) {
        for (const auto fua : {uapi::Attrs{}, uapi::Attrs(Attr::fua)}) {
            const bool both = !cache.empty() && !fua.empty();
            expect_eq(both ? 1U : 0U, seen_in_sysfs(with_attrs(cache | fua), "queue/fua"),
                      fmt::format("fua for attributes {:#x}", (cache | fua).raw()));
        }
    }
}

CASE("UBLK-PARAM-BASIC-016", behaviour, "Unknown attributes are kept and have no effect")
{
    Driver driver;
    const auto unknown = uapi::Attrs::from_raw(0xfffffff0U);
    const Live live(driver, with_attrs(unknown));
    Params stored;
    expect_ok(live.device.get_params(stored));
    expect_eq(unknown.raw(), stored.basic.attrs, "attrs");
    expect_eq(0U, sysfs_number(live.device, "ro"), "ro");
}

CASE("UBLK-PARAM-BASIC-017", behaviour, "Without segment and DMA blocks the disk has the widest limits")
{
    Driver driver;
    const Live live(driver);
    expect_eq(65535U, sysfs_number(live.device, "queue/max_segments"), "max_segments");
    expect_eq(0xffffffffU, sysfs_number(live.device, "queue/max_segment_size"), "max_segment_size");
    expect_eq(3U, sysfs_number(live.device, "queue/dma_alignment"), "dma_alignment");
}

CASE("UBLK-PARAM-BASIC-018", contract, "The disk has the device's queues, each with queue_depth requests")
{
    namespace fs = std::filesystem;
    for (const unsigned depth : {1, 5, 64}) {
        Driver driver;
        const Live live(driver, basic_params(), {.nr_hw_queues = 2, .queue_depth = depth});
        const auto disk = fs::path("/sys/block") / fs::path(live.device.block_path()).filename();
        // A scheduler counts its own requests.
        std::ofstream(disk / "queue/scheduler") << "none" << std::flush;
        expect_eq(depth, sysfs_number(live.device, "queue/nr_requests"), "nr_requests");
        const auto queues = std::distance(fs::directory_iterator(disk / "mq"), fs::directory_iterator());
        expect_eq(live.device.queues(), queues, "directories in mq");
    }
}

} // namespace conformance
