// UBLK-CDEV-MMAP: mapping the descriptor areas of /dev/ublkcN.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/live.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/mman.h>
#include <vector>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

struct Area {
    std::uint64_t offset = 0;
    std::size_t bytes = 0;
};

std::uint64_t stride(const Device& device)
{
    const auto desc_size = std::max<unsigned>(device.added().io_desc_size, uapi::min_io_desc_size);
    return uapi::desc_area_stride(desc_size, page_size());
}

Area area_of(const Device& device, unsigned queue)
{
    const auto desc_size = std::max<unsigned>(device.added().io_desc_size, uapi::min_io_desc_size);
    return {queue * stride(device), uapi::desc_area_bytes(device.depth(), desc_size, page_size())};
}

// One mmap(), and its end.
class Mapping {
  public:
    Mapping(int fd, Area area, int protection = PROT_READ, int flags = MAP_SHARED)
        : bytes_(area.bytes),
          base_(::mmap(nullptr, bytes_, protection, flags, fd, static_cast<off_t>(area.offset))),
          result_(base_ == MAP_FAILED ? -errno : 0)
    {
    }
    ~Mapping()
    {
        if (result_ == 0)
            ::munmap(base_, bytes_);
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    long result() const { return result_; } // 0 or -errno
    void* base() const { return base_; }
    std::vector<std::byte> content() const
    {
        const auto* first = static_cast<const std::byte*>(base_);
        return {first, first + bytes_};
    }
    bool zero() const
    {
        return std::ranges::all_of(content(), [](std::byte b) { return b == std::byte{}; });
    }

  private:
    std::size_t bytes_;
    void* base_;
    long result_;
};

long map_result(int fd, Area area, int protection = PROT_READ, int flags = MAP_SHARED)
{
    return Mapping(fd, area, protection, flags).result();
}

} // namespace

CASE("UBLK-CDEV-MMAP-001", contract,
     "Each queue's descriptors map at its own offset, readable, in whole pages")
{
    Driver driver;
    for (const unsigned depth : {1U, 4U, 200U, uapi::max_queue_depth}) {
        const auto device = driver.make({.nr_hw_queues = 2, .queue_depth = depth});
        const Fd fd = device.open_char_soon(O_RDWR);
        for (unsigned q = 0; q < device.queues(); ++q)
            expect_ok(map_result(fd.get(), area_of(device, q)), fmt::format("depth {}, queue {}", depth, q));
    }
}

CASE("UBLK-CDEV-MMAP-002", contract, "A map shorter or longer than the queue's area is refused")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 200});
    const Fd fd = device.open_char_soon(O_RDWR);
    const auto area = area_of(device, 0);
    for (const auto bytes : {page_size(), area.bytes + page_size(), std::size_t{stride(device)}})
        expect_error(EINVAL, map_result(fd.get(), {0, bytes}), fmt::format("{} bytes", bytes));
    expect_ok(map_result(fd.get(), area), "the area's own length");
}

CASE("UBLK-CDEV-MMAP-003", contract, "There is nothing to map behind the last queue")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2});
    const Fd fd = device.open_char_soon(O_RDWR);
    const auto bytes = area_of(device, 0).bytes;
    const auto end = device.queues() * stride(device);
    for (const auto offset : {end, end + page_size(), uapi::io_buf_offset, std::uint64_t{1} << 41})
        expect_error(EINVAL, map_result(fd.get(), {offset, bytes}), fmt::format("offset {:#x}", offset));
    expect_ok(map_result(fd.get(), {end - stride(device), bytes}), "the last queue");
}

CASE("UBLK-CDEV-MMAP-004", behaviour, "Any offset inside a queue's stretch maps the start of its area")
{
    Driver driver;
    Live live(driver, basic_params(), {.nr_hw_queues = 2});
    auto held = live.hold_read(64);
    const auto area = area_of(live.device, held.request.q);
    const Mapping start(live.server.fd(), area);
    expect_ok(start.result(), "at the start");
    expect_true(!start.zero(), "the area shows the request");
    for (const auto into : {page_size(), stride(live.device) - page_size()}) {
        const Mapping other(live.server.fd(), {area.offset + into, area.bytes});
        expect_ok(other.result(), fmt::format("{} bytes into it", into));
        expect_true(other.content() == start.content(), "both show the same");
    }
    expect_eq(4096, live.finish(held, 4096), "bytes read");
}

CASE("UBLK-CDEV-MMAP-005", contract, "Descriptors do not map writable, neither shared nor private")
{
    Driver driver;
    const auto device = driver.make();
    const auto area = area_of(device, 0);
    {
        const Fd fd = device.open_char_soon(O_RDWR);
        for (const int flags : {MAP_SHARED, MAP_PRIVATE})
            expect_error(EPERM, map_result(fd.get(), area, PROT_READ | PROT_WRITE, flags));
        expect_error(EPERM, map_result(fd.get(), area, PROT_WRITE), "write alone");
    }
    const Fd fd = device.open_char_soon(O_RDONLY);
    expect_error(EACCES, map_result(fd.get(), area, PROT_READ | PROT_WRITE), "a read-only file");
}

CASE("UBLK-CDEV-MMAP-006", contract, "A descriptor map cannot be made writable afterwards")
{
    Driver driver;
    const auto device = driver.make();
    const Fd fd = device.open_char_soon(O_RDWR);
    const auto area = area_of(device, 0);
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
        const Mapping mapping(fd.get(), area, PROT_READ, flags);
        expect_ok(mapping.result());
        expect_error(EACCES, sys(::mprotect(mapping.base(), area.bytes, PROT_READ | PROT_WRITE)), "mprotect");
    }
}

CASE("UBLK-CDEV-MMAP-007", contract,
     "One address space maps a device: its threads may, another process may not")
{
    Driver driver;
    const auto device = driver.make();
    const Fd fd = device.open_char_soon(O_RDWR);
    const auto area = area_of(device, 0);
    Child other([&](Child& parent) {
        parent.hear();
        expect_error(EINVAL, map_result(fd.get(), area), "mmap in another process");
        return 0;
    });
    const Mapping mapping(fd.get(), area);
    expect_ok(mapping.result());
    other.tell();
    expect_eq(0, other.join(), "exit status of the child");
    Worker thread;
    expect_ok(thread.run([&](ublk::wire::Ring&) { return map_result(fd.get(), area); }), "another thread");
}

// The claim lasts no longer than the open file. That an mmap that is refused has it too is item 14 of the
// reports' index.
CASE("UBLK-CDEV-MMAP-012", behaviour, "An mmap that is refused claims the device for its address space too")
{
    Driver driver;
    const auto device = driver.make();
    const Fd fd = device.open_char_soon(O_RDWR);
    const auto area = area_of(device, 0);
    Child first([&](Child& parent) {
        expect_error(EPERM, map_result(fd.get(), area, PROT_READ | PROT_WRITE), "a writable mmap");
        parent.tell();
        parent.hear();
        return 0;
    });
    first.hear();
    expect_error(EINVAL, map_result(fd.get(), area), "mmap in a process that would be let");
    first.tell();
    expect_eq(0, first.join(), "exit status of the child");
}

CASE("UBLK-CDEV-MMAP-008", contract, "Once ublkcN is closed, another process may open and map it")
{
    Driver driver;
    const auto device = driver.make();
    const auto area = area_of(device, 0);
    Child first([&](Child&) {
        const Fd fd = device.open_char_soon(O_RDWR);
        expect_ok(map_result(fd.get(), area), "mmap in the first process");
        return 0;
    });
    expect_eq(0, first.join(), "exit status of the child");
    const Fd fd = device.open_char_soon(O_RDWR);
    expect_ok(map_result(fd.get(), area), "mmap in the next process");
}

CASE("UBLK-CDEV-MMAP-009", contract,
     "A descriptor is zero until its first request, then fixed until the next")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    Server server(device);
    const Mapping mapping(server.fd(), area_of(device, 0));
    expect_true(mapping.zero(), "the area is zero before the first request");
    server.go_live();

    auto first_app = App::read(device, 16, 4096);
    const auto first = server.expect_request("the first read");
    auto second_app = App::read(device, 32, 8192);
    const auto second = server.expect_request("the second read");
    expect_eq(16U, server.desc(first.q, first.tag).start_sector, "first sector, the other tag in use");
    expect_eq(32U, server.desc(second.q, second.tag).start_sector, "second sector");
    expect_eq(16U, server.desc(second.q, second.tag).nr_sectors, "second length");
    server.commit(second.q, second.tag, 8192);
    expect_eq(8192, server.serve_until(second_app), "bytes of the second read");
    const auto now = server.desc(first.q, first.tag);
    expect_true(std::memcmp(&now, &first.desc, sizeof(now)) == 0, "the held descriptor is as it came");
    server.commit(first.q, first.tag, 4096);
    expect_eq(4096, server.serve_until(first_app), "bytes of the first read");
}

CASE("UBLK-CDEV-MMAP-010", contract,
     "A map holds from before START_DEV until its end, whatever becomes of the device")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    std::optional<Server> server(device);
    std::optional<Mapping> mapping(std::in_place, server->fd(), area_of(device, 0));
    expect_ok(mapping->result(), "before SET_PARAMS");
    server->go_live();
    auto app = App::read(device, 48, 4096);
    expect_eq(4096, server->serve_until(app), "bytes read");
    const auto content = mapping->content();
    expect_true(!mapping->zero(), "the map shows the request");
    auto stop = device.begin(CtrlNr::stop_dev);
    expect_ok(server->serve_until(stop), "STOP_DEV");
    server.reset();
    auto del = device.begin_del();
    del.expect_pending("DEL_DEV of a mapped device");
    expect_true(mapping->content() == content, "the map shows the same after STOP_DEV and DEL_DEV");
    mapping.reset();
    expect_ok(del.result(), "DEL_DEV after munmap");
}

} // namespace conformance
