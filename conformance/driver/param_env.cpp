// UBLK-PARAM-ENV: the envelope of SET_PARAMS and GET_PARAMS.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/live.hpp"

#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr std::size_t oldest_size = offsetof(Params, dma); // what Linux 6.12 knows of struct ublk_params
constexpr auto all_of_buffer = 4096U;

std::uint32_t types(uapi::ParamTypes set)
{
    return set.raw();
}

// Parameters at the start of a buffer longer than any kernel's structure.
struct LongBuffer {
    Params params;
    std::byte rest[all_of_buffer - sizeof(Params)] = {};
};
static_assert(sizeof(LongBuffer) == all_of_buffer);

long set_raw(const Device& device, const void* buffer, std::size_t len)
{
    return device.driver().control(CtrlNr::set_params, device.cmd(buffer, len));
}

long get_raw(const Device& device, const void* buffer, std::size_t len)
{
    return device.driver().control(CtrlNr::get_params, device.cmd(buffer, len));
}

Params stored(const Device& device, Where where = Where::current())
{
    Params params;
    expect_ok(device.get_params(params), "GET_PARAMS", where);
    return params;
}

Params with_discard(std::uint32_t granularity)
{
    Params params = basic_params();
    params.types = types(ParamType::basic | ParamType::discard);
    params.discard = {.discard_granularity = granularity,
                      .max_discard_sectors = 128,
                      .max_write_zeroes_sectors = 128,
                      .max_discard_segments = 1};
    return params;
}

template <typename T>
bool all_zero(const T& block)
{
    const T zero{};
    return std::memcmp(&block, &zero, sizeof(T)) == 0;
}

// How many bytes GET_PARAMS with this params.len writes, seen against two fillings.
std::size_t written_by_get(const Device& device, std::uint32_t len)
{
    std::size_t last = 0;
    for (const int fill : {0x5a, 0xa5}) {
        LongBuffer buffer;
        std::memset(static_cast<void*>(&buffer), fill, sizeof(buffer));
        buffer.params.len = len;
        LongBuffer before = buffer;
        expect_ok(get_raw(device, &buffer, sizeof(buffer)), fmt::format("GET_PARAMS of {} bytes", len));
        const auto* old = reinterpret_cast<const unsigned char*>(&before);
        const auto* now = reinterpret_cast<const unsigned char*>(&buffer);
        for (std::size_t i = 0; i < sizeof(buffer); ++i) {
            if (old[i] != now[i])
                last = std::max(last, i + 1);
        }
    }
    return last;
}

} // namespace

CASE("UBLK-PARAM-ENV-001", contract,
     "SET_PARAMS and GET_PARAMS refuse a buffer too short, absent or unreadable")
{
    Driver driver;
    const auto device = driver.make();
    GuardedPages pages;
    const Params good = basic_params();
    for (const auto nr : {CtrlNr::set_params, CtrlNr::get_params}) {
        for (const std::size_t len : {0, 1, 8})
            expect_error(EINVAL, driver.control(nr, device.cmd(&good, len)), fmt::format("length {}", len));
        expect_error(EINVAL, driver.control(nr, device.cmd(nullptr, sizeof(good))), "address 0");
        expect_error(EFAULT, driver.control(nr, device.cmd(pages.end(), sizeof(good))), "unreadable");
    }
    expect_ok(device.set_params(good));
}

CASE("UBLK-PARAM-ENV-002", contract,
     "The length in the parameters is 1 up to the command's, and SET names types")
{
    Driver driver;
    const auto device = driver.make();
    Params params = basic_params();
    for (const std::uint32_t len : {std::size_t{0}, sizeof(params) + 1, std::size_t{0xffffffff}}) {
        params.len = len;
        expect_error(EINVAL, set_raw(device, &params, sizeof(params)), fmt::format("SET, len {}", len));
        expect_error(EINVAL, get_raw(device, &params, sizeof(params)), fmt::format("GET, len {}", len));
    }
    params.len = sizeof(params);
    params.types = 0;
    expect_error(EINVAL, set_raw(device, &params, sizeof(params)), "SET without types");
    expect_ok(get_raw(device, &params, sizeof(params)), "GET without types");
    expect_ok(device.set_params(basic_params()));
}

CASE("UBLK-PARAM-ENV-003", contract,
     "Parameters longer than the kernel's structure are cut, whatever the rest holds")
{
    Driver driver;
    const auto device = driver.make();
    LongBuffer buffer{.params = basic_params(1234)};
    std::memset(buffer.rest, 0xff, sizeof(buffer.rest));
    buffer.params.len = sizeof(buffer);
    expect_ok(set_raw(device, &buffer, sizeof(buffer)));
    expect_eq(1234U, stored(device).basic.dev_sectors, "dev_sectors");
}

CASE("UBLK-PARAM-ENV-004", contract,
     "A short SET_PARAMS replaces its prefix only; blocks beyond keep their content")
{
    Driver driver;
    const auto device = driver.make();
    Params prefix = with_discard(4096);
    prefix.len = offsetof(Params, discard);
    expect_error(EINVAL, device.set_params(prefix), "a discard block that was never given");

    expect_ok(device.set_params(with_discard(8192)), "the whole structure");
    prefix.basic.dev_sectors = 2048;
    expect_ok(device.set_params(prefix), "the basic block alone");
    const Params now = stored(device);
    expect_eq(2048U, now.basic.dev_sectors, "dev_sectors");
    expect_eq(8192U, now.discard.discard_granularity, "discard_granularity");
}

CASE("UBLK-PARAM-ENV-005", contract, "SET_PARAMS clears type bits that it does not know")
{
    Driver driver;
    const auto device = driver.make();
    Params params = basic_params();
    params.types |= 1U << 30 | 1U << 31;
    expect_ok(device.set_params(params));
    expect_eq(types(ParamType::basic | ParamType::devt), stored(device).types, "types");
}

CASE("UBLK-PARAM-ENV-006", contract, "SET_PARAMS without the basic block is refused")
{
    Driver driver;
    const auto device = driver.make();
    Params params = with_discard(4096);
    params.types = types(ParamType::discard);
    expect_error(EINVAL, device.set_params(params));
    params.types |= types(ParamType::basic);
    expect_ok(device.set_params(params));
}

CASE("UBLK-PARAM-ENV-007", contract,
     "SET_PARAMS refuses the device number block, so an answer of GET_PARAMS too")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.set_params(basic_params()));
    Params answer = stored(device);
    expect_error(EINVAL, device.set_params(answer), "what GET_PARAMS said");
    answer.types &= ~types(ParamType::devt);
    expect_ok(device.set_params(answer), "the same without DEVT");
}

CASE("UBLK-PARAM-ENV-008", contract,
     "Parameters are fixed from START_DEV until the last opener of the disk is gone")
{
    Driver driver;
    Live live(driver, basic_params(4096));
    const Params other = basic_params(8);
    expect_error(EACCES, live.device.set_params(other), "while live");
    expect_eq(4096U, stored(live.device).basic.dev_sectors, "dev_sectors");

    std::expected<Fd, int> disk;
    App opener([&] {
        disk = ublk::wire::open_node(live.device.block_path(), O_RDONLY);
        return disk ? 0L : -disk.error();
    });
    expect_ok(live.server.serve_until(opener), "opening the disk");
    auto stop = live.device.begin(CtrlNr::stop_dev);
    expect_ok(live.server.serve_until(stop), "STOP_DEV");
    expect_error(EACCES, live.device.set_params(other), "stopped, the disk still open");
    disk->reset();
    expect_true(eventually([&] { return live.device.set_params(other) == 0; }),
                "SET_PARAMS works again after the disk's last close");
}

CASE("UBLK-PARAM-ENV-009", contract, "A refused SET_PARAMS takes the parameters accepted before with it")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.set_params(basic_params()));
    Params bad = basic_params();
    bad.basic.logical_bs_shift = 8;
    expect_error(EINVAL, device.set_params(bad));
    expect_error(EINVAL, device.start(), "START_DEV");
}

CASE("UBLK-PARAM-ENV-010", behaviour, "After a refused SET_PARAMS nothing of it can be read back")
{
    Driver driver;
    const auto device = driver.make();
    Params bad = with_discard(4096);
    bad.basic.logical_bs_shift = 8;
    expect_error(EINVAL, device.set_params(bad));
    const Params now = stored(device);
    expect_eq(types(ParamType::devt), now.types, "types");
    const bool cleared = now.len == 0 && all_zero(now.basic) && all_zero(now.discard);
    // Older kernels clear the types alone.
    const bool kept = now.basic.logical_bs_shift == 8 && now.discard.discard_granularity == 4096;
    expect_true(fixed_in({{7, 1, 0}}) ? cleared : kept, "length and blocks are as after a refusal");
}

CASE("UBLK-PARAM-ENV-011", contract, "A SET_PARAMS that faults half-way leaves no parameters to start with")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.set_params(basic_params()));
    GuardedPages pages;
    const Params params = basic_params(16);
    std::byte* at = pages.end() - offsetof(Params, discard);
    std::memcpy(at, &params, offsetof(Params, discard));
    expect_error(EFAULT, set_raw(device, at, sizeof(params)));
    auto start = device.begin_start();
    const auto res = start.wait(patience);
    expect_true(res.has_value(), "START_DEV does not take half-read parameters and wait");
    expect_error(EINVAL, *res, "START_DEV");
}

CASE("UBLK-PARAM-ENV-012", contract, "Of several SET_PARAMS before START_DEV the last one counts")
{
    Driver driver;
    const auto device = driver.make();
    expect_ok(device.set_params(basic_params(800)));
    expect_ok(device.set_params(basic_params(1600)));
    Server server(device);
    server.go_live();
    expect_eq(1600U, sysfs_number(device, "size"), "size");
}

CASE("UBLK-PARAM-ENV-013", contract,
     "Before any SET_PARAMS, GET_PARAMS works and shows the device numbers alone")
{
    Driver driver;
    const auto device = driver.make();
    const Params params = stored(device);
    expect_eq(0U, params.len, "len");
    expect_eq(types(ParamType::devt), params.types, "types");
    expect_true(all_zero(params.basic), "the basic block is zero");
}

CASE("UBLK-PARAM-ENV-014", contract,
     "GET_PARAMS tells the numbers of both nodes, the disk's only while there is one")
{
    Driver driver;
    const auto device = driver.make();
    struct stat node{};
    expect_ok(sys(::stat(device.char_path().c_str(), &node)));
    auto devt = stored(device).devt;
    expect_eq(major(node.st_rdev), devt.char_major, "char_major");
    expect_eq(minor(node.st_rdev), devt.char_minor, "char_minor");
    expect_eq(0U, devt.disk_major | devt.disk_minor, "disk numbers before START_DEV");

    Server server(device);
    server.go_live();
    expect_ok(sys(::stat(device.block_path().c_str(), &node)));
    devt = stored(device).devt;
    expect_eq(major(node.st_rdev), devt.disk_major, "disk_major");
    expect_eq(minor(node.st_rdev), devt.disk_minor, "disk_minor");

    auto stop = device.begin(CtrlNr::stop_dev);
    expect_ok(server.serve_until(stop), "STOP_DEV");
    devt = stored(device).devt;
    expect_eq(0U, devt.disk_major | devt.disk_minor, "disk numbers after STOP_DEV");
}

CASE("UBLK-PARAM-ENV-015", contract,
     "GET_PARAMS writes the bytes asked for or the kernel's structure, if shorter")
{
    Driver driver;
    const auto device = driver.make();
    Params prefix = basic_params();
    prefix.len = offsetof(Params, discard);
    expect_ok(device.set_params(prefix));
    for (const std::size_t len : {std::size_t{1}, std::size_t{9}, offsetof(Params, discard), oldest_size - 1})
        expect_eq(len, written_by_get(device, len), fmt::format("bytes written, len {}", len));
    const auto whole = written_by_get(device, all_of_buffer);
    expect_true(whole >= oldest_size && whole < all_of_buffer / 2,
                fmt::format("a structure of {} bytes is the kernel's own", whole));
    expect_eq(whole, written_by_get(device, all_of_buffer / 2), "bytes written, another long buffer");
    expect_eq(prefix.len, stored(device).len, "len as stored, not recomputed");
}

CASE("UBLK-PARAM-ENV-016", contract, "GET_PARAMS works in every state of a device",
     needs(Feature::user_recovery))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::user_recovery});
    const auto expect_sectors = [&](std::string_view state) {
        Params params;
        expect_ok(device.get_params(params), state);
        expect_eq(640U, params.basic.dev_sectors, fmt::format("dev_sectors, {}", state));
    };
    expect_ok(device.set_params(basic_params(640)));
    expect_sectors("added");
    std::optional<Server> server(device);
    server->go_live();
    expect_sectors("live");
    server.reset();
    expect_true(eventually([&] { return device.state() == DevState::quiesced; }),
                "the device is quiesced after its server's end");
    expect_sectors("quiesced");
    expect_ok(device.stop(), "STOP_DEV");
    expect_sectors("stopped");
}

CASE("UBLK-PARAM-ENV-017", contract, "Reserved members of the parameter blocks are not looked at")
{
    Driver driver;
    const auto plain = driver.make();
    Params params = with_discard(4096);
    params.discard.reserved0 = 0xffff;
    // Kernels that do not know these two types drop them.
    params.types |= types(ParamType::dma_align | ParamType::segment);
    params.dma.alignment = 511;
    params.seg = {.seg_boundary_mask = 4095, .max_segment_size = 4096, .max_segments = 16};
    std::memset(params.dma.pad, 0xff, sizeof(params.dma.pad));
    std::memset(params.seg.pad, 0xff, sizeof(params.seg.pad));
    expect_ok(plain.set_params(params), "discard, DMA alignment, segments");

    if (offers(Feature::integrity)) {
        const auto device = driver.make({.flags = Feature::integrity | Feature::user_copy});
        params.types |= types(ParamType::integrity);
        params.integrity = {.interval_exp = 9, .metadata_size = 8};
        std::memset(params.integrity.pad, 0xff, sizeof(params.integrity.pad));
        expect_ok(device.set_params(params), "integrity");
    }
    if (offers(Feature::zoned)) {
        const auto device = driver.make({.flags = Feature::zoned | Feature::user_copy});
        Params zoned = basic_params();
        zoned.types |= types(ParamType::zoned);
        zoned.basic.chunk_sectors = 1024;
        zoned.zoned.max_zone_append_sectors = 128;
        std::memset(zoned.zoned.reserved, 0xff, sizeof(zoned.zoned.reserved));
        expect_ok(device.set_params(zoned), "zoned");
    }
}

} // namespace conformance
