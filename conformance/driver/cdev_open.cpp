// UBLK-CDEV-OPEN: who may open ublkcN, and until when that lasts.
#include "conformance/driver/case.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <fcntl.h>
#include <optional>
#include <sys/stat.h>

namespace conformance {

namespace {

// Result of open(2) of the node: 0 or -errno; what opens is closed again.
long try_open(const Device& device, int flags)
{
    const auto fd = device.open_char(flags);
    return fd ? 0 : -static_cast<long>(fd.error());
}

ublk::wire::Ring open_ring()
{
    auto ring = ublk::wire::Ring::open({.entries = 8, .sqe128 = false});
    if (!ring)
        fail("io_uring_setup works", errno_text(ring.error()));
    return std::move(*ring);
}

// A release takes its time from 6.15 on, so that one EBUSY after a close tells nothing.
void expect_still_taken(const Device& device, std::string_view when)
{
    expect_true(!eventually([&] { return try_open(device, O_RDWR) != -EBUSY; }, settle),
                fmt::format("ublkcN stays busy {}", when));
}

void expect_free_soon(const Device& device, std::string_view when)
{
    expect_true(eventually([&] { return try_open(device, O_RDWR) == 0; }),
                fmt::format("ublkcN opens {}", when));
}

} // namespace

CASE("UBLK-CDEV-OPEN-001", contract, "ublkcN can be open once; copies of the descriptor share that one file")
{
    Driver driver;
    const auto device = driver.make();
    Fd first = device.open_char_soon(O_RDWR);
    for (const int flags : {O_RDWR, O_RDONLY, O_WRONLY})
        expect_error(EBUSY, try_open(device, flags), "a second open");
    Child keeper([&](Child& self) {
        expect_error(EBUSY, try_open(device, O_RDWR), "open by another process");
        Fd copy(::dup(first.get()));
        expect_not_negative(copy.get(), "dup");
        first.reset();
        self.tell();
        self.hear();
        copy.reset();
        return 0;
    });
    keeper.hear();
    first.reset();
    expect_still_taken(device, "while another process keeps a copy");
    keeper.tell();
    expect_eq(0, keeper.join(), "exit of the other process");
    expect_free_soon(device, "after the last copy is closed");
}

CASE("UBLK-CDEV-OPEN-002", contract,
     "An open for reading or writing only occupies ublkcN as well, and holds up DEL_DEV")
{
    Driver driver;
    for (const int flags : {O_RDONLY, O_WRONLY}) {
        const auto device = driver.make();
        Fd bystander = device.open_char_soon(flags);
        expect_error(EBUSY, try_open(device, O_RDWR), "the server's open");
        Pending del = device.begin_del();
        del.expect_pending("DEL_DEV while a bystander has ublkcN open");
        bystander.reset();
        expect_ok(del.result(), "DEL_DEV");
    }
}

CASE("UBLK-CDEV-OPEN-003", contract,
     "After the last close ublkcN can be opened again, by the next server too")
{
    Driver driver;
    const auto device = driver.make();
    for (int round = 0; round < 20; ++round) {
        Fd fd = device.open_char_soon(O_RDWR);
        expect_error(EBUSY, try_open(device, O_RDWR), "a second open");
        fd.reset();
        expect_free_soon(device, "after the close");
    }
    Server(device).close();
    Server server(device);
    server.go_live();
    expect_true(device.state() == DevState::live, "a later opener can start the device");
}

CASE("UBLK-CDEV-OPEN-004", contract,
     "START_DEV wants the process id of ublkcN's opener, whoever sends the FETCHes", since(6, 17))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    expect_ok(device.set_params(basic_params()));
    Fd node = device.open_char_soon(O_RDWR);
    Child fetcher([&](Child& self) {
        auto ring = open_ring();
        static std::byte buffer[65536];
        send_fetch(ring, node.get(), 0, buffer, 1);
        expect_true(!ring.wait(settle), "FETCH by another process is accepted");
        self.tell();
        self.hear();
        return 0;
    });
    fetcher.hear();
    expect_error(EINVAL, device.start(fetcher.pid()), "START_DEV with the pid of the FETCHing process");
    if (kernel_version() >= ublk::uapi::KernelVersion{6, 18, 0}) {
        // Older kernels read the partition table within START_DEV, and nobody serves here.
        expect_ok(device.start(::getpid()), "START_DEV with the pid of the opener");
        expect_eq(::getpid(), device.info().ublksrv_pid, "ublksrv_pid");
    }
    fetcher.tell();
    expect_eq(0, fetcher.join(), "exit of the other process");
}

CASE("UBLK-CDEV-OPEN-005", contract,
     "Armed commands keep ublkcN open after the descriptor is closed, until their ring ends")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    static std::byte buffer[65536];
    Fd node = device.open_char_soon(O_RDWR);
    std::optional ring(open_ring());
    send_fetch(*ring, node.get(), 0, buffer, 1);
    expect_true(!ring->wait(settle), "FETCH is accepted");
    node.reset();
    expect_still_taken(device, "while the ring holds the command");
    ring.reset();
    expect_free_soon(device, "after the ring's end");
}

CASE("UBLK-CDEV-OPEN-006", contract, "ublkcN of a privileged device belongs to root, with mode 0600")
{
    Driver driver;
    const auto device = driver.make();
    struct stat node{};
    expect_ok(sys(::stat(device.char_path().c_str(), &node)), "stat of ublkcN");
    expect_eq(0600U, node.st_mode & 0777U, "mode");
    expect_eq(0U, node.st_uid, "owner");
    Child user([&](Child&) {
        become_user();
        expect_error(EACCES, try_open(device, O_RDWR), "open by an ordinary user");
        return 0;
    });
    expect_eq(0, user.join(), "exit of the ordinary user");
}

} // namespace conformance
