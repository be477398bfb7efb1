// UBLK-DATA-FLAG, -SPLIT, -TMO: the flags of a request, its size, and how long it may take.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/filesystem.hpp"
#include "conformance/driver/integrity_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <ranges>
#include <utility>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

using uapi::Attr;
using uapi::IoFlag;

bool has(const Server::Request& request, IoFlag flag)
{
    return request.desc.flags().has(flag);
}
bool any_has(const std::vector<Server::Request>& requests, IoFlag flag)
{
    return std::ranges::any_of(requests, [flag](const auto& request) { return has(request, flag); });
}

long synchronous_write(int fd)
{
    return write_block(fd, RWF_DSYNC);
}

constexpr std::size_t big = 1024 * 1024;

// The requests that reading or writing `big` bytes at `sector` at once makes.
std::vector<Server::Request> split_of(Live& live, bool write, std::uint64_t sector = 0)
{
    auto requests = requests_of(live, [write, sector](int fd) {
        const Pages pages(big);
        auto* data = pages.bytes().data();
        const auto offset = static_cast<off_t>(sector * uapi::sector_size);
        return sys(write ? ::pwrite(fd, data, big, offset) : ::pread(fd, data, big, offset));
    });
    std::uint64_t sectors = 0;
    for (const auto& request : requests)
        sectors += request.desc.nr_sectors;
    expect_eq(big / uapi::sector_size, sectors, "sectors of all requests");
    return requests;
}

unsigned largest(const std::vector<Server::Request>& requests)
{
    const auto found =
        std::ranges::max_element(requests, {}, [](const auto& request) { return request.desc.nr_sectors; });
    return found == requests.end() ? 0 : found->desc.nr_sectors;
}

} // namespace

CASE(
    "UBLK-DATA-FLAG-001", contract,
    "A synchronous write has FUA where the device has a cache and FUA; with a cache alone a flush follows it")
{
    for (const auto attrs :
         {uapi::Attrs(), uapi::Attrs(Attr::volatile_cache), Attr::volatile_cache | Attr::fua}) {
        Driver driver;
        Live live(driver, discard_params(attrs));
        expect_true(!any_has(requests_of(live, [](int fd) { return write_block(fd); }), IoFlag::fua),
                    "a plain write has no FUA");
        const auto requests = requests_of(live, synchronous_write);
        const bool cache = attrs.has(Attr::volatile_cache), fua = attrs.has(Attr::fua);
        expect_true(!requests.empty() && is_op(requests.front(), IoOp::write), "the first is the write");
        expect_eq(cache && fua, has(requests.front(), IoFlag::fua), "FUA of a synchronous write");
        const auto rest = requests | std::views::drop(1);
        expect_true(
            std::ranges::all_of(rest, [](const auto& request) { return is_op(request, IoOp::flush); }),
            "what follows is flushes");
        expect_true(cache ? fua || !rest.empty() : rest.empty(),
                    "a flush follows where the device has a cache and no FUA, and none without a cache");
    }
}

CASE("UBLK-DATA-FLAG-002", contract, "Zeroing that must keep the space has NOUNMAP; punching a hole has not")
{
    Driver driver;
    Live live(driver, discard_params());
    const auto nounmap = [&](std::string_view what, bool expected, const std::function<long(int)>& call) {
        const auto requests = requests_of(live, call);
        expect_true(!requests.empty() && is_op(requests.front(), IoOp::write_zeroes),
                    fmt::format("{} is zeroing", what));
        expect_eq(expected, has(requests.front(), IoFlag::nounmap), fmt::format("NOUNMAP of {}", what));
    };
    nounmap("BLKZEROOUT", true, [](int fd) { return range_ioctl(fd, BLKZEROOUT, 8192); });
    nounmap("FALLOC_FL_ZERO_RANGE", true,
            [](int fd) { return sys(::fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 8192)); });
    nounmap("FALLOC_FL_PUNCH_HOLE", false,
            [](int fd) { return sys(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192)); });
}

CASE("UBLK-DATA-FLAG-003", contract, "A filesystem's metadata has META, its data has not", timeout(60s))
{
    Driver driver;
    Live live(driver, basic_params(65536));
    Ext4 filesystem(live.server);
    const auto written = [&](bool data) {
        live.server.seen.clear();
        App app([path = filesystem.directory() + "/file", data] {
            const auto fd = ublk::wire::open_node(path, O_RDWR | O_CREAT | O_DIRECT);
            if (!fd)
                return -static_cast<long>(fd.error());
            return data ? write_block(fd->get()) : sys(::fsync(fd->get()));
        });
        expect_not_negative(live.server.serve_until(app), data ? "write" : "open and fsync");
        return std::exchange(live.server.seen, {});
    };
    expect_true(any_has(written(false), IoFlag::meta), "making a file and fsync write with META");
    written(true);                    // which allocates
    const auto again = written(true); // and this does not
    expect_true(!again.empty() && is_op(again.front(), IoOp::write), "writing the block again is a write");
    expect_true(!has(again.front(), IoFlag::meta), "without META");
    filesystem.unmount();
}

CASE("UBLK-DATA-FLAG-004", contract, "Requests that carry metadata say so, and no others", needs(integrity))
{
    Driver driver;
    const auto read = [](MetadataLive& live) {
        live.server.seen.clear();
        expect_eq(4096, live.served(App::read(live.device, 0, 4096)), "bytes read");
        return live.server.seen.size() == 1 && has_metadata(live.server.seen.front());
    };
    {
        MetadataLive live(driver);
        expect_eq(4096, live.served(App::write(live.device, 0, 4096, std::byte{1})), "bytes written");
        expect_true(read(live), "a read of a device with metadata has INTEGRITY");
        live.set_switch("read_verify", false);
        expect_true(!read(live), "one that nobody verifies has not");
    }
    Live live(driver, basic_params(), {.flags = Feature::user_copy});
    live.server.handler = [&](const Server::Request& request) { return serve_by_copy(live.server, request); };
    expect_true(!any_has(requests_of(live, [](int fd) { return write_block(fd); }), IoFlag::integrity),
                "a write of a device without metadata has not");
}

CASE("UBLK-DATA-FLAG-005", contract, "No bit of a request is set that has no meaning")
{
    Driver driver;
    Live live(driver, discard_params(Attr::volatile_cache | Attr::fua));
    const auto known = IoFlag::failfast_dev | IoFlag::failfast_transport | IoFlag::failfast_driver |
                       IoFlag::meta | IoFlag::fua | IoFlag::nounmap | IoFlag::swap;
    auto calls = each_op();
    calls.push_back({"punching a hole", IoOp::write_zeroes, [](int fd) {
                         return sys(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192));
                     }});
    for (const auto& [what, op, call] : calls) {
        for (const auto& request : requests_of(live, call)) {
            expect_eq(0U, request.desc.op_flags & ~(known.raw() | 0xffU),
                      fmt::format("bits beyond operation and flags of {}", what));
            expect_true(request.desc.op() <= static_cast<unsigned>(IoOp::write_zeroes) &&
                            request.desc.op() != 4,
                        fmt::format("operation {} of {} is one of a plain device", request.desc.op(), what));
        }
    }
}

CASE("UBLK-DATA-SPLIT-001", contract,
     "No request is larger than max_sectors or max_sectors_kb, and none crosses a chunk's boundary")
{
    Driver driver;
    Params params = basic_params();
    params.basic.max_sectors = 64;
    {
        Live live(driver, params);
        for (const bool write : {false, true}) {
            expect_eq(64U, largest(split_of(live, write)), "nr_sectors of the largest request");
            set_sysfs(live.device, "queue/max_sectors_kb", "8");
            expect_eq(16U, largest(split_of(live, write)), "... with max_sectors_kb of 8");
            set_sysfs(live.device, "queue/max_sectors_kb", "32");
        }
    }
    params.basic.chunk_sectors = 32;
    Live live(driver, params);
    for (const auto& request : split_of(live, false, 8)) {
        const auto first = request.desc.start_sector, last = first + request.desc.nr_sectors - 1;
        expect_eq(first / 32, last / 32, fmt::format("chunk of the last sector, from sector {} on", first));
    }
}

CASE("UBLK-DATA-SPLIT-002", contract,
     "Discards and zeroing are bounded by limits of their own, not by max_sectors")
{
    Driver driver;
    Params params = discard_params();
    params.basic.max_sectors = 64;
    params.discard.max_discard_sectors = 1024;
    params.discard.max_write_zeroes_sectors = 2048;
    Live live(driver, params);
    const auto whole = params.basic.dev_sectors * uapi::sector_size;
    const auto discards = requests_of(live, [whole](int fd) { return range_ioctl(fd, BLKDISCARD, whole); });
    expect_eq(1024U, largest(discards), "nr_sectors of the largest discard");
    const auto zeroes = requests_of(live, [whole](int fd) { return range_ioctl(fd, BLKZEROOUT, whole); });
    expect_eq(2048U, largest(zeroes), "nr_sectors of the largest zeroing");
}

CASE("UBLK-DATA-TMO-001", contract,
     "A request of a privileged device is not failed by time, and is done when it is committed", timeout(60s))
{
    Driver driver;
    Live live(driver);
    set_io_timeout(live.device, 1s);
    auto held = live.hold_read();
    live.server.serve_for(4s);
    expect_true(!held.app.done(), "the read waits, four times as long as io_timeout");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
}

} // namespace conformance
