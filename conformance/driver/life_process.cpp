// UBLK-LIFE: processes that come from a server, and those that look into its disk.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <csignal>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

// Keeps every request, and counts them.
void keep_all(Server& server, SharedCounter& kept)
{
    server.handler = [&kept](const Server::Request&) -> std::optional<std::int32_t> {
        kept.add();
        return std::nullopt;
    };
}

} // namespace

CASE("UBLK-LIFE-012", contract, "A server that executes another program is dead to its device")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4});
    SharedCounter kept;
    // Nobody reads it, so what writes more than fits does not end.
    int pipe[2];
    expect_ok(sys(::pipe2(pipe, O_CLOEXEC)), "a pipe");
    const Fd from(pipe[0]), to(pipe[1]);
    expect_not_negative(sys(::fcntl(to.get(), F_SETPIPE_SZ, 4096)), "a small pipe");
    Child server([&](Child& self) {
        Driver own;
        Server inside(Device(own, device.added()));
        inside.go_live();
        keep_all(inside, kept);
        self.tell();
        inside.serve_until([&] { return kept.value() > 0; });
        ::dup2(to.get(), STDOUT_FILENO);
        ::execl("/proc/self/exe", "ublkcheck-guest", "--list", nullptr);
        return 1;
    });
    server.hear();
    const App read = App::read(device, 0, 4096);
    expect_error(EIO, result_soon(read, "the read"), "the read");
    expect_state(device, DevState::dead, "after the server's exec");
    char text[64];
    expect_eq(long{sizeof(text)}, sys(::read(from.get(), text, sizeof(text))),
              "bytes of the program's output");
    expect_ok(::waitpid(server.pid(), nullptr, WNOHANG), "the process lives");
}

CASE("UBLK-LIFE-013", behaviour,
     "A child of the server's that keeps ublkcN puts off what its death does; before 6.15 only the state of "
     "it")
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4});
    SharedCounter kept, heir;
    Child server([&](Child& self) {
        Driver own;
        Server inside(Device(own, device.added()));
        inside.go_live();
        const pid_t child = ::fork();
        if (child == 0) {
            for (int fd = 3; fd < 256; ++fd) { // or the case waits for its pipes to end
                if (fd != inside.fd())
                    ::close(fd);
            }
            for (;;)
                ::pause();
        }
        heir.set(static_cast<unsigned>(child));
        keep_all(inside, kept);
        self.tell();
        inside.serve_for(10min);
        return 0;
    });
    server.hear();
    const App read = App::read(device, 0, 4096);
    expect_true(eventually([&] { return kept.value() == 1; }), "the server has the read");
    server.kill(SIGKILL);
    expect_eq(128 + SIGKILL, server.join(), "exit of the server");
    if (kernel_version() >= uapi::KernelVersion{6, 15, 0}) {
        expect_waits(read, "the read, while the child keeps ublkcN");
        expect_true(device.state() == DevState::live, "the state is LIVE");
        expect_true(device.has_disk(), "ublkbN is there");
    }
    expect_ok(sys(::kill(static_cast<pid_t>(heir.value()), SIGKILL)), "SIGKILL to the child");
    expect_error(EIO, result_soon(read, "the read"), "the read");
    expect_state(device, DevState::dead, "after the child's end");
}

CASE("UBLK-LIFE-014", contract,
     "A dead server's request whose buffer another process's ring has fails when that ring lets go, not "
     "before",
     needs(Feature::support_zero_copy))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4, .flags = Feature::support_zero_copy});
    auto opened = ublk::wire::Ring::open({.entries = 8, .sqe128 = false});
    expect_true(opened.has_value() && opened->register_empty_buffers(1) == 0,
                "a ring with a table of buffers");
    std::optional ring(std::move(*opened));
    Child server([&](Child& self) {
        Driver own;
        Server inside(Device(own, device.added()), {.copy_buffers = false});
        inside.go_live();
        self.tell();
        const auto request = inside.expect_request("the write");
        expect_ok(io_through(*ring, inside, IoNr::register_io_buf, register_cmd(request, 0)), "REGISTER");
        self.tell();
        inside.serve_for(10min);
        return 0;
    });
    server.hear();
    const App write = App::write(device, 0, 4096, std::byte{1});
    server.hear();
    server.kill(SIGKILL);
    expect_eq(128 + SIGKILL, server.join(), "exit of the server");
    expect_waits(write, "the write, while the ring has its buffer");
    ring.reset();
    expect_error(EIO, result_soon(write, "the write"), "the write");
    expect_state(device, DevState::dead, "after the ring's end");
}

CASE("UBLK-LIFE-015", contract,
     "An application that has the disk mapped gets EIO or SIGBUS after the server's death, and never hangs")
{
    Driver driver;
    const auto device = driver.make();
    ServerProcess server(device);
    Child application([&](Child& self) {
        const Fd disk = open_block(device, O_RDWR);
        const std::size_t page = page_size();
        void* at = ::mmap(nullptr, 64 * page, PROT_READ | PROT_WRITE, MAP_SHARED, disk.get(), 0);
        expect_true(at != MAP_FAILED, "the disk is mapped");
        auto* bytes = static_cast<volatile char*>(at);
        bytes[0] = 1; // dirty from here on
        self.tell();
        self.hear();
        // What was written cannot reach the server any more.
        if (::msync(at, page, MS_SYNC) == 0)
            return 1;
        self.tell();
        return int{bytes[page * 63]}; // was never read
    });
    application.hear();
    server.kill();
    expect_state(device, DevState::dead, "after the server's death");
    application.tell();
    application.hear();
    expect_eq(128 + SIGBUS, application.join(), "exit of the application that touches a page it had not");
}

} // namespace conformance
