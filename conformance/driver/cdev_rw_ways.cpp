// UBLK-CDEV-RW: who copies, by which system calls, when, and from which memory.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/filesystem.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

// Bytes that a copy of a request's first sector brings.
long copy_sector(const Server& server, const Server::Request& request)
{
    Bytes data(uapi::sector_size);
    return copy_out(server, request, data);
}

// A page at whose first touch the toucher waits.
class HeldPage {
  public:
    HeldPage() : fault_(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)))
    {
        uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
        base_ = ::mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        uffdio_register range{
            .range = {address(base_), page_size()}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
        if (!fault_ || base_ == MAP_FAILED || ::ioctl(fault_.get(), UFFDIO_API, &api) != 0 ||
            ::ioctl(fault_.get(), UFFDIO_REGISTER, &range) != 0)
            fail("a page with userfaultfd", errno_text(errno));
    }
    ~HeldPage() { ::munmap(base_, page_size()); }
    HeldPage(const HeldPage&) = delete;
    HeldPage& operator=(const HeldPage&) = delete;

    std::span<std::byte> bytes() const { return {static_cast<std::byte*>(base_), page_size()}; }
    void expect_touched(std::string_view what)
    {
        pollfd ready{.fd = fault_.get(), .events = POLLIN, .revents = 0};
        expect_eq(1, ::poll(&ready, 1, static_cast<int>(patience.count())), what);
    }
    void release()
    {
        uffdio_zeropage zero{.range = {address(base_), page_size()}, .mode = 0, .zeropage = 0};
        expect_ok(sys(::ioctl(fault_.get(), UFFDIO_ZEROPAGE, &zero)), "UFFDIO_ZEROPAGE");
    }

  private:
    Fd fault_;
    void* base_ = nullptr;
};

} // namespace

CASE("UBLK-CDEV-RW-008", contract,
     "Whoever has the file may copy until the commit; a copy under way then delays the request's end",
     needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 1, .flags = Feature::user_copy});
    const Server::Request first{}; // the only tag's
    Child process([&](Child& self) {
        self.hear();
        expect_eq(512, copy_sector(live.server, first), "bytes that another process copies");
        return 0;
    });
    Worker thread;
    auto held = hold(live.server, write_data(live.device, pattern(4096, 5)));
    expect_eq(512, thread.run([&](auto&) { return copy_sector(live.server, first); }),
              "bytes that another thread copies");
    process.tell();
    expect_eq(0, process.join(), "exit of the other process");
    HeldPage page;
    App copy([&] { return copy_out(live.server, held.request, page.bytes()); });
    page.expect_touched("the copy is under way");
    live.server.commit(0, 0, 4096);
    expect_true(!live.server.serve_until([&] { return held.app.done(); }, settle),
                "the write waits for the copy");
    page.release();
    expect_eq(4096, live.server.serve_until(copy), "bytes copied");
    expect_true(std::ranges::equal(page.bytes(), pattern(4096, 5)), "they are the request's");
    expect_eq(4096, live.server.serve_until(held.app), "bytes written");
    expect_error(EINVAL, copy_sector(live.server, first), "a copy after the commit");
}

CASE("UBLK-CDEV-RW-011", contract,
     "Vectors and io_uring copy as pread and pwrite do, but not through registered buffers",
     needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), {.flags = Feature::user_copy});
    const auto written = pattern(4096, 6);
    auto write = hold(live.server, write_data(live.device, written));
    const auto pos = uapi::user_copy_pos(write.request.q, write.request.tag);
    Bytes data(4096);
    const iovec parts[] = {{data.data(), 1}, {data.data() + 1, 1000}, {data.data() + 1001, 3095}};
    expect_eq(4096, sys(::preadv(live.server.fd(), parts, 3, static_cast<off_t>(pos))), "preadv");
    expect_true(data == written, "preadv brings what was written");

    data.assign(4096, std::byte{0});
    const auto by_ring = [&](auto prep) {
        io_uring_sqe* sqe = live.server.ring().sqe();
        prep(sqe);
        sqe->user_data = 1ULL << 41;
        live.server.ring().submit();
        return live.server.wait(1ULL << 41, patience).value_or(-ETIME);
    };
    const int file = live.server.fd();
    expect_eq(4096, by_ring([&](auto* sqe) { io_uring_prep_read(sqe, file, data.data(), 4096, pos); }),
              "io_uring's read");
    expect_true(data == written, "io_uring's read brings what was written");
    expect_ok(set_slot(live.server.ring(), 0, data), "a registered buffer");
    expect_error(EACCES,
                 by_ring([&](auto* sqe) { io_uring_prep_read_fixed(sqe, file, data.data(), 4096, pos, 0); }),
                 "io_uring's fixed read");
    expect_eq(4096, live.finish(write, 4096), "bytes written");

    auto read = read_back(live.device, 4096);
    auto held = hold(live.server, std::move(read.app));
    const auto to = uapi::user_copy_pos(held.request.q, held.request.tag);
    expect_eq(4096, sys(::pwritev(file, parts, 3, static_cast<off_t>(to))), "pwritev");
    expect_eq(2048,
              by_ring([&](auto* sqe) { io_uring_prep_write(sqe, file, written.data(), 2048, to + 2048); }),
              "io_uring's write");
    std::copy_n(written.begin(), 2048, data.begin() + 2048);
    expect_eq(4096, live.finish(held, 4096), "bytes read");
    expect_true(*read.data == data, "the application got both");
}

CASE("UBLK-CDEV-RW-013", contract, "The zone reports that START_DEV asks for are copied while it still runs",
     needs(Feature::user_copy | Feature::zoned))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::user_copy | Feature::zoned});
    expect_ok(device.set_params(zoned_params()));
    Server server(device, {.copy_buffers = false});
    server.fetch_all();
    auto start = device.begin_start();
    const auto request = server.expect_request("START_DEV's zone report");
    expect_eq(static_cast<unsigned>(IoOp::report_zones), unsigned{request.desc.op()}, "its operation");
    expect_true(!start.done(), "START_DEV waits for it");
    expect_true(device.state() == DevState::live, "the state is LIVE already");
    expect_error(EACCES, copy_sector(server, request), "pread on a zone report");
    server.commit(request.q, request.tag, report_zones(server, request));
    serve_zones(server);
    expect_ok(server.serve_until(start), "START_DEV");
}

CASE("UBLK-CDEV-RW-014", contract, "Data in slab memory, as of a filesystem's journal, can be copied",
     needs(Feature::user_copy), timeout(60s))
{
    Driver driver;
    const auto device = driver.make({.flags = Feature::user_copy});
    Server server(device, {.copy_buffers = false});
    server.handler = [&](const auto& request) { return serve_by_copy(server, request); };
    server.go_live(basic_params(32768));
    // A block that begins like a block of the journal itself is copied to a slab, with that beginning away.
    Ext4 ext4(server, {"-b", "1024"}, "data=journal");
    auto block = pattern(1024, 7);
    for (std::size_t i = 0; const std::uint8_t magic : {0xc0, 0x3b, 0x39, 0x98})
        block[i++] = std::byte{magic};
    App write([&] {
        const Fd file(::open((ext4.directory() + "/file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        const long res = sys(::write(file.get(), block.data(), block.size()));
        return res == 1024 ? sys(::fsync(file.get())) : res;
    });
    expect_ok(server.serve_until(write), "a write to a file, and fsync");
    std::fill_n(block.begin(), 4, std::byte{0});
    bool found = false;
    for (std::size_t at = 0; at < server.memory().size(); at += block.size())
        found = found || std::equal(block.begin(), block.end(), server.memory().begin() + at);
    expect_true(found, "the block came as the journal has it");
    ext4.unmount();
}

} // namespace conformance
