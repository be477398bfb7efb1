// UBLK-DESC: the size of a descriptor. UBLK-PART: who has the partition table read, and when.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/live.hpp"
#include "conformance/driver/partition_verbs.hpp"
#include "conformance/driver/user_verbs.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/mman.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

AddOptions with_desc_size(unsigned bytes, unsigned queues = 1, unsigned depth = 4)
{
    return {.nr_hw_queues = queues,
            .queue_depth = depth,
            .flags = Feature::io_desc_size,
            .io_desc_size = static_cast<std::uint16_t>(bytes)};
}

ublk::wire::DescriptorMap map_descriptors(const Server& server, unsigned queue, unsigned desc_size)
{
    auto map = ublk::wire::DescriptorMap::map(server.fd(), queue, server.device().depth(), desc_size);
    if (!map)
        fail(fmt::format("queue {} maps with {} bytes a descriptor", queue, desc_size),
             errno_text(map.error()));
    return std::move(*map);
}

bool zero(const std::byte* from, const std::byte* to)
{
    return std::all_of(from, to, [](std::byte b) { return b == std::byte{}; });
}

// Holds one read for each tag and looks at all slots, taken to be `desc_size` bytes apart.
void expect_slots_apart(Live& live, unsigned desc_size)
{
    const unsigned depth = live.device.depth();
    std::vector<Live::Held> held;
    for (unsigned i = 0; i < depth; ++i) {
        held.push_back(live.hold_read(8 * i + 8, 4096));
        const auto& request = held.back().request;
        const auto map = map_descriptors(live.server, request.q, desc_size);
        const auto desc = map.read(request.tag);
        expect_eq(8 * i + 8, desc.start_sector, fmt::format("start_sector of tag {}", request.tag));
        expect_eq(8U, desc.nr_sectors, fmt::format("nr_sectors of tag {}", request.tag));
    }
    for (unsigned q = 0; q < live.device.queues(); ++q) {
        const auto map = map_descriptors(live.server, q, desc_size);
        for (unsigned tag = 0; tag < depth; ++tag) {
            const std::byte* slot = map.data() + std::size_t{tag} * desc_size;
            expect_true(zero(slot + uapi::min_io_desc_size, slot + desc_size),
                        fmt::format("bytes 24 to {} of slot {} are zero", desc_size, tag));
        }
        expect_true(zero(map.data() + std::size_t{depth} * desc_size, map.data() + map.size()),
                    "nothing is behind the last slot");
    }
    for (auto& one : held)
        expect_eq(4096, live.finish(one, 4096), "bytes read");
}

} // namespace

CASE("UBLK-DESC-001", contract,
     "A descriptor has 24 to 256 bytes, in steps of 8; ADD_DEV refuses other sizes",
     needs(Feature::io_desc_size))
{
    Driver driver;
    for (const unsigned bytes : {0U, 8U, 16U, 23U, 25U, 28U, 30U, 252U, 257U, 264U, 512U, 65528U, 65535U})
        expect_error(EINVAL, driver.add(with_desc_size(bytes)), fmt::format("{} bytes", bytes));
    for (unsigned bytes = uapi::min_io_desc_size; bytes <= uapi::max_io_desc_size; bytes += 8) {
        const Added added = driver.add(with_desc_size(bytes));
        expect_ok(added, fmt::format("{} bytes", bytes));
        expect_true(Features::from_raw(added.info.flags).has(Feature::io_desc_size), "the flag is kept");
        expect_eq(bytes, added.info.io_desc_size, "the size returned");
        const Device device(driver, added.info);
        expect_eq(bytes, device.info().io_desc_size, "the size of the device");
        expect_ok(device.del(), "DEL_DEV");
    }
}

CASE("UBLK-DESC-002", contract,
     "Descriptors are as far apart as they are long, and what is behind their 24 bytes is zero",
     needs(Feature::io_desc_size), timeout(60s))
{
    Driver driver;
    for (const unsigned bytes : {24U, 32U, 40U, 136U, 256U}) {
        Live live(driver, basic_params(), with_desc_size(bytes, 2, 33));
        expect_slots_apart(live, bytes);
        const auto area = uapi::desc_area_bytes(live.device.depth(), bytes, page_size());
        const auto stride = uapi::desc_area_stride(bytes, page_size());
        const auto map = [&](std::uint64_t offset, std::size_t length) {
            void* at =
                ::mmap(nullptr, length, PROT_READ, MAP_SHARED, live.server.fd(), static_cast<off_t>(offset));
            if (at != MAP_FAILED)
                ::munmap(at, length);
            return at == MAP_FAILED ? -errno : 0;
        };
        expect_error(EINVAL, map(0, area + page_size()), fmt::format("{} bytes: a page too many", bytes));
        expect_error(EINVAL, map(live.device.queues() * stride, area),
                     fmt::format("{} bytes: behind the last queue", bytes));
        expect_ok(map(live.device.queues() * stride - page_size(), area),
                  fmt::format("{} bytes: the last page of the last queue's stretch", bytes));
    }
}

CASE("UBLK-DESC-003", contract,
     "The largest descriptors of the deepest queue work, or there is no memory for them and nothing is left",
     needs(Feature::io_desc_size))
{
    Driver driver;
    const auto options = with_desc_size(uapi::max_io_desc_size, 1, uapi::max_queue_depth);
    for (unsigned round = 0; round < 3; ++round) {
        const Added added = driver.add(options);
        expect_any_error({0, ENOMEM}, added, "ADD_DEV");
        if (added.res != 0) {
            expect_eq(0U, lowest_free_id(), "the id that is free");
            continue;
        }
        const Device device(driver, added.info);
        expect_eq(0U, device.id(), "the id that it has");
        {
            const Server server(device, {.copy_buffers = false});
            const auto map = map_descriptors(server, 0, uapi::max_io_desc_size);
            expect_eq(std::size_t{1} << 20, map.size(), "bytes of the queue's area");
            expect_true(zero(map.data(), map.data() + map.size()), "the area is zero");
        }
        expect_ok(device.del(), "DEL_DEV");
    }
}

CASE("UBLK-DESC-004", contract,
     "Where IO_DESC_SIZE is not asked for, or not known and so dropped, descriptors have 24 bytes")
{
    Driver driver;
    auto options = with_desc_size(64);
    if (offers(Feature::io_desc_size))
        options.flags = {};
    if (offers(Feature::no_auto_part_scan)) // no reads but the case's own
        options.flags |= Feature::no_auto_part_scan;
    const Added added = driver.add(options);
    expect_ok(added, "ADD_DEV");
    expect_true(!Features::from_raw(added.info.flags).has(Feature::io_desc_size), "the flag is not there");
    DevInfo info = added.info;
    info.io_desc_size = 0;
    const Device device(driver, info);
    Server server(device);
    server.go_live();
    std::vector<App> reads;
    for (unsigned i = 0; i < device.depth(); ++i) {
        reads.push_back(App::read(device, 8 * i + 8, 4096));
        const auto request = server.expect_request("a read");
        expect_eq(8 * i + 8, request.desc.start_sector, fmt::format("start_sector of tag {}", request.tag));
        expect_eq(8U, request.desc.nr_sectors, fmt::format("nr_sectors of tag {}", request.tag));
        if (i + 1 == device.depth()) {
            for (unsigned tag = 0; tag < device.depth(); ++tag)
                server.commit(0, tag, 4096);
        }
    }
    for (auto& read : reads)
        expect_eq(4096, server.serve_until(read), "bytes read");
}

CASE("UBLK-PART-001", contract,
     "Without a flag the partitions are found by themselves: from 6.18 on after START_DEV, before within it")
{
    Driver driver;
    const Device device = driver.make({}, true);
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory() = partitioned_disk();
    server.fetch_all();
    Pending start = device.begin_start();
    const bool after = kernel_version() >= uapi::KernelVersion{6, 18, 0};
    if (after)
        expect_ok(start.result(), "START_DEV while nobody answers the scan");
    const auto first = server.expect_request("the scan's first read");
    expect_true(start.done() == after, "whether START_DEV has returned");
    expect_true(!has_partition(device), "no partition before the server has answered");
    server.commit(first.q, first.tag, server.serve_from_memory(first));
    expect_ok(server.serve_until(start), "START_DEV");
    if (!after)
        expect_true(has_partition(device), "START_DEV leaves the partition");
    expect_true(server.serve_until([&] { return has_partition(device); }), "the partition appears");
    expect_eq(std::to_string(partition_sectors), device.sysfs(partition_attribute(device, "size")),
              "sectors of the partition");
}

CASE("UBLK-PART-002", contract,
     "With NO_AUTO_PART_SCAN nothing is read after START_DEV; BLKRRPART finds the partitions",
     needs(Feature::no_auto_part_scan))
{
    Driver driver;
    const Device device = driver.make({.flags = Feature::no_auto_part_scan});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory() = partitioned_disk();
    server.go_live();
    expect_true(server.seen.empty() && !server.next(settle), "no request comes by itself");
    expect_true(!has_partition(device), "no partition is found");
    auto app = reread_partitions(device);
    expect_ok(server.serve_until(app), "BLKRRPART");
    expect_true(!server.seen.empty(), "BLKRRPART reads from the server");
    expect_true(has_partition(device), "BLKRRPART finds the partition");
}

CASE("UBLK-PART-003", contract,
     "If a FETCH came from a server without CAP_SYS_ADMIN nobody reads the partition table, BLKRRPART is "
     "EINVAL")
{
    SharedCounter requests;
    Driver driver;
    const Device device = driver.make({}, true);
    expect_ok(device.set_params(basic_params()));
    Child child([&](Child& self) {
        Driver own;
        Server server(Device(own, device.added()));
        server.memory() = partitioned_disk();
        server.handler = [&](const Server::Request& request) {
            requests.add();
            return std::optional(server.serve_from_memory(request));
        };
        for (unsigned tag = 0; tag < device.depth(); ++tag) {
            if (tag == 2)
                drop_sys_admin();
            server.fetch(0, tag);
        }
        self.tell();
        server.serve_for(10min);
        return 0;
    });
    child.hear();
    expect_ok(device.start(child.pid()), "START_DEV");
    expect_never_scanned(device, requests);
}

CASE("UBLK-PART-004", contract, "NO_AUTO_PART_SCAN is kept where GET_FEATURES offers it, else dropped")
{
    Driver driver;
    const Added added = driver.add({.flags = Feature::no_auto_part_scan});
    expect_ok(added, "ADD_DEV");
    for (const auto flags : {added.info.flags, Device(driver, added.info).info().flags})
        expect_eq(offers(Feature::no_auto_part_scan),
                  Features::from_raw(flags).has(Feature::no_auto_part_scan), "whether the flag is there");
}

} // namespace conformance
