#include "conformance/driver/lifecycle_verbs.hpp"

#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace conformance {

namespace wire = ublk::wire;

ServerProcess::ServerProcess(const Device& device, const std::function<void(Server&)>& arrange, Where where)
    : child_([&](Child& self) {
          Driver driver;
          Server server(Device(driver, device.added()));
          server.go_live();
          if (arrange)
              arrange(server);
          self.tell();
          server.serve_for(10min);
          return 0;
      })
{
    child_.hear(where);
}

void ServerProcess::kill(Where where)
{
    child_.kill(SIGKILL);
    expect_eq(128 + SIGKILL, child_.join(where), "exit of the killed server", where);
}

Sleeper::Sleeper(std::function<long()> call)
    : tid_(std::make_shared<std::atomic<pid_t>>(0)), app_([tid = tid_, call = std::move(call)] {
          tid->store(static_cast<pid_t>(::syscall(SYS_gettid)));
          return call();
      })
{
}

void Sleeper::expect_asleep(std::string_view what, Where where) const
{
    const bool asleep = eventually([this] {
        const pid_t tid = tid_->load();
        if (tid == 0)
            return false;
        std::ifstream file(fmt::format("/proc/self/task/{}/stat", tid));
        std::string line;
        std::getline(file, line);
        const auto name_end = line.rfind(')');
        return name_end != std::string::npos && line.substr(name_end + 2, 1) == "D";
    });
    if (!asleep)
        fail(fmt::format("{} waits", what), app_.done() ? "it returned" : "it does not sleep", where);
    count_check();
}

Uevents::Uevents() : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT))
{
    sockaddr_nl address{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = 0, .nl_groups = 1};
    if (!socket_ || ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
        fail("a socket for kernel events", errno_text(errno));
}

bool Uevents::wait_for(const std::string& header, Millis limit, const std::string& line)
{
    return eventually(
        [&] {
            pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
            while (::poll(&ready, 1, 0) == 1) {
                char text[8192];
                const auto got = ::recv(socket_.get(), text, sizeof(text) - 1, 0);
                if (got <= 0)
                    return false;
                text[got] = '\0';
                const std::string whole(text, static_cast<std::size_t>(got)); // each line ends with a NUL
                if (header == text && (line.empty() || whole.find('\0' + line + '\0') != std::string::npos))
                    return true;
            }
            return false;
        },
        limit);
}

std::string disk_event(std::string_view action, const Device& device)
{
    return fmt::format("{}@/devices/virtual/block/ublkb{}", action, device.id());
}

Fd open_block(const Device& device, int flags, Where where)
{
    auto fd = wire::open_node(device.block_path(), flags);
    if (!fd)
        fail(fmt::format("{} opens", device.block_path()), errno_text(fd.error()), where);
    return std::move(*fd);
}

Fd open_block(Server& server, int flags, Where where)
{
    App app([path = server.device().block_path(), flags] { return sys(::open(path.c_str(), flags)); });
    const long fd = server.serve_until(app, where);
    if (fd < 0)
        fail(fmt::format("{} opens", server.device().block_path()), result_text(fd), where);
    return Fd(static_cast<int>(fd));
}

long control_served(Server& server, CtrlNr nr, std::uint64_t data, Where where)
{
    Pending command = server.device().begin(nr, data);
    return server.serve_until(command, where);
}

void send_fetch(wire::Ring& ring, int char_fd, unsigned tag, const void* buffer, std::uint64_t user_data)
{
    wire::prep_io(*ring.sqe(), char_fd, ublk::uapi::opcode(IoNr::fetch_req),
                  {.tag = static_cast<std::uint16_t>(tag), .addr = reinterpret_cast<std::uintptr_t>(buffer)},
                  user_data);
    if (const int res = ring.submit(); res < 0)
        fail("io_uring_enter takes the command", result_text(res));
}

void in_pid_namespace(const std::function<void()>& body, Where where)
{
    // Only children of the process that unshares are in the namespace.
    Child outer([&](Child&) {
        expect_ok(sys(::unshare(CLONE_NEWPID)), "a new pid namespace");
        Child inner([&](Child&) {
            body();
            return 0;
        });
        return inner.join();
    });
    expect_eq(0, outer.join(where), "exit of the process in the pid namespace", where);
}

BadPage::BadPage() : page_(::mmap(nullptr, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
{
    if (page_ == MAP_FAILED)
        fail("a page without access", errno_text(errno));
}

BadPage::~BadPage()
{
    ::munmap(page_, page_size());
}

} // namespace conformance
