// UBLK-DATA-OP: what a descriptor says of a request.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/partition_verbs.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <linux/fs.h>
#include <ranges>
#include <utility>

namespace conformance {

namespace uapi = ublk::uapi;

CASE("UBLK-DATA-OP-001", contract, "Each call of an application reaches the server as the operation it is")
{
    Driver driver;
    Live live(driver, discard_params(uapi::Attr::volatile_cache | uapi::Attr::fua));
    for (const auto& [what, op, call] : each_op()) {
        const auto requests = requests_of(live, call);
        expect_true(!requests.empty(), fmt::format("{} reaches the server", what));
        expect_eq(static_cast<unsigned>(op), unsigned{requests.front().desc.op()},
                  fmt::format("operation of {}", what));
        const bool flushes = std::ranges::all_of(
            requests | std::views::drop(1), [](const auto& request) { return is_op(request, IoOp::flush); });
        expect_true(flushes && (requests.size() == 1 || what == "a synchronous write"),
                    fmt::format("{} is one request, which flushes may follow if it is synchronous", what));
    }
}

CASE("UBLK-DATA-OP-002", contract,
     "Sectors are of 512 bytes and count from the disk's beginning, also in a partition")
{
    Driver driver;
    Params params = basic_params();
    params.basic.logical_bs_shift = params.basic.physical_bs_shift = params.basic.io_min_shift = 12;
    {
        Live live(driver, params);
        auto held = live.hold_read(4096 / uapi::sector_size * 3, 8192);
        expect_eq(24U, held.request.desc.start_sector, "start_sector of the fourth block of 4096");
        expect_eq(16U, held.request.desc.nr_sectors, "nr_sectors of two blocks of 4096");
        expect_eq(8192, live.finish(held, 8192), "bytes read");
    }
    const Device device = driver.make({}, true);
    Server server(device);
    server.memory() = partitioned_disk();
    server.go_live();
    auto scan = reread_partitions(device);
    expect_ok(server.serve_until(scan), "BLKRRPART");
    expect_true(server.serve_until([&] { return has_partition(device); }), "the partition is there");
    const auto start = std::stoull(device.sysfs(fmt::format("ublkb{}p1/start", device.id())));
    App app([path = device.block_path() + "p1"] {
        const auto fd = ublk::wire::open_node(path, O_RDONLY | O_DIRECT);
        return fd ? read_block(fd->get()) : -fd.error();
    });
    server.seen.clear();
    expect_eq(4096, server.serve_until(app), "bytes read from the partition");
    const bool there = std::ranges::any_of(
        server.seen, [&](const auto& request) { return request.desc.start_sector == start; });
    expect_true(there, fmt::format("a read of the partition's first block is one of sector {}", start));
}

CASE("UBLK-DATA-OP-003", contract, "A flush has no sectors")
{
    Driver driver;
    Live live(driver, discard_params(uapi::Attr::volatile_cache));
    const auto requests = requests_of(live, [](int fd) { return sys(::fsync(fd)); });
    expect_eq(1U, requests.size(), "requests of fsync");
    expect_eq(0U, requests.front().desc.nr_sectors, "nr_sectors");
}

CASE("UBLK-DATA-OP-004", contract,
     "A descriptor's address is the one that the tag's last command gave, and 0 where the driver copies "
     "nothing")
{
    Driver driver;
    {
        Live live(driver, basic_params(), {.queue_depth = 1});
        auto held = live.hold_read();
        expect_eq(live.server.buffer_addr(0, 0), held.request.desc.addr, "address that FETCH gave");
        Bytes other(65536);
        IoCmd cmd = live.server.cmd(0, 0, 4096);
        cmd.addr = address(other.data());
        const auto token =
            live.server.expect_accepted(IoNr::commit_and_fetch_req, cmd, "COMMIT with another buffer");
        expect_eq(4096, live.server.serve_until(held.app), "bytes read");
        auto next = App::read(live.device, 0, 4096);
        expect_true(live.server.wait(token, patience) == 0L, "the next read completes that COMMIT");
        expect_eq(cmd.addr, live.server.desc(0, 0).addr, "address that COMMIT gave");
        live.server.commit(0, 0, 4096);
        expect_eq(4096, live.server.serve_until(next), "bytes read");
    }
    if (offers(Feature::user_copy)) {
        Live live(driver, basic_params(), {.queue_depth = 1, .flags = Feature::user_copy});
        auto held = live.hold_read();
        expect_eq(0U, held.request.desc.addr, "address on a USER_COPY device");
        expect_error(EIO, live.finish(held, -EIO), "read");
    }
}

CASE("UBLK-DATA-OP-005", contract,
     "No more requests are out than the queue has tags, each with a tag of its own")
{
    constexpr unsigned depth = 3, apps = 8;
    Driver driver;
    Live live(driver, basic_params(), {.nr_hw_queues = 1, .queue_depth = depth});
    std::vector<unsigned> held;
    live.server.handler = [&](const Server::Request& request) -> std::optional<std::int32_t> {
        held.push_back(request.tag);
        return std::nullopt;
    };
    std::vector<App> reads;
    for (unsigned i = 0; i < apps; ++i)
        reads.push_back(App::read(live.device, std::uint64_t{i} * 128, 4096));
    live.server.serve_until([&] { return held.size() >= depth; });
    live.server.serve_for(settle);
    std::ranges::sort(held);
    expect_true(held == std::vector{0U, 1U, 2U},
                fmt::format("{} requests of {} are out", held.size(), depth));
    for (const unsigned tag : std::exchange(held, {}))
        live.server.commit(0, tag, 4096);
    live.server.handler = [&](const Server::Request& request) {
        return live.server.serve_from_memory(request);
    };
    for (auto& read : reads)
        expect_eq(4096, live.server.serve_until(read), "bytes read");
}

CASE("UBLK-DATA-OP-006", contract, "A request goes to the queue that its CPU belongs to")
{
    Driver driver;
    Live live(driver, basic_params(), {.nr_hw_queues = 4});
    for (unsigned queue = 0; queue < live.device.queues(); ++queue) {
        for (const unsigned cpu : queue_cpus(live.device, queue)) {
            auto held = hold(live.server, write_data(live.device, pattern(4096), 0, cpu));
            expect_eq(queue, held.request.q, fmt::format("queue of a write from CPU {}", cpu));
            expect_eq(4096, live.finish(held, 4096), "bytes written");
        }
    }
}

CASE("UBLK-DATA-OP-007", contract, "Reads that one thread sends in order reach the server in order")
{
    constexpr unsigned reads = 16;
    Driver driver;
    Live live(driver, basic_params(), {.nr_hw_queues = 1, .queue_depth = reads});
    // A scheduler may order them.
    std::ofstream(fmt::format("/sys/block/ublkb{}/queue/scheduler", live.device.id())) << "none";
    expect_true(live.device.sysfs("queue/scheduler").starts_with("[none]"), "scheduler is none");
    live.server.seen.clear();
    auto app = app_with(live.device, O_RDONLY | O_DIRECT, [](int fd) {
        auto ring = ublk::wire::Ring::open({.entries = reads, .sqe128 = false});
        if (!ring)
            return -static_cast<long>(ring.error());
        const Pages pages(std::size_t{reads} * 4096);
        for (unsigned i = 0; i < reads; ++i) // far enough from each other not to be merged, not by sector
            io_uring_prep_read(ring->sqe(), fd, pages.bytes().data() + std::size_t{i} * 4096, 4096,
                               std::uint64_t{(i * 5) % reads} * 65536);
        long done = ring->submit();
        for (unsigned i = 0; i < reads && done >= 0; ++i) {
            const auto completion = ring->wait(patience);
            done = completion ? std::min<long>(done, completion->res) : -ETIME;
        }
        return done;
    });
    expect_eq(static_cast<long>(reads), live.server.serve_until(app), "reads sent, and none failed");
    std::vector<std::uint64_t> sectors, sent;
    for (const auto& request : live.server.seen)
        sectors.push_back(request.desc.start_sector);
    for (unsigned i = 0; i < reads; ++i)
        sent.push_back(std::uint64_t{(i * 5) % reads} * 128);
    expect_true(sectors == sent, "the server sees the sectors in the order in which they were read");
}

} // namespace conformance
