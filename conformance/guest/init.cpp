#include "conformance/guest/init.hpp"

#include "conformance/driver/case.hpp"
#include "conformance/driver/driver.hpp"
#include "conformance/guest/kernel_log.hpp"
#include "conformance/guest/supervisor.hpp"
#include "reports/event.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <termios.h>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;
using ublk::wire::Fd;

void complain(const std::string& text)
{
    fmt::print(stderr, "ublkcheck-guest: {}\n", text);
}

void mount_all()
{
    struct Mount {
        const char *type, *where;
    };
    for (const auto& m :
         {Mount{"devtmpfs", "/dev"}, Mount{"proc", "/proc"}, Mount{"sysfs", "/sys"}, Mount{"tmpfs", "/tmp"},
          Mount{"tmpfs", "/run"}, Mount{"debugfs", "/sys/kernel/debug"}}) {
        ::mkdir(m.where, 0755);
        if (::mount(m.type, m.where, m.type, 0, nullptr) != 0 && errno != EBUSY)
            complain(fmt::format("mounting {} on {}: {}", m.type, m.where, std::strerror(errno)));
    }
    ::mkdir("/dev/shm", 01777);
    ::mount("tmpfs", "/dev/shm", "tmpfs", 0, nullptr);
}

void set_sysctl(const char* path, const char* value)
{
    std::ofstream(path) << value;
}

// What could not be loaded, as sentences.
std::vector<std::string> load_modules()
{
    std::vector<std::string> failed;
    std::vector<fs::path> files;
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator("/modules", ec))
        files.push_back(entry.path());
    std::ranges::sort(files);
    for (const auto& file : files) {
        const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
        if (::syscall(SYS_finit_module, fd.get(), "", 0) != 0 && errno != EEXIST)
            failed.push_back(fmt::format("loading {}: {}", file.filename().string(), std::strerror(errno)));
    }
    return failed;
}

// The virtio-serial port by the name that the host gave it.
Fd open_port()
{
    for (int attempt = 0; attempt < 500; ++attempt) {
        std::error_code ec;
        for (const auto& port : fs::directory_iterator("/sys/class/virtio-ports", ec)) {
            std::ifstream file(port.path() / "name");
            std::string name;
            std::getline(file, name);
            if (name == "ublkcheck")
                return Fd(::open(("/dev/" + port.path().filename().string()).c_str(), O_RDWR | O_CLOEXEC));
        }
        ::usleep(10'000);
    }
    return Fd();
}

// What a machine with a clock of its own has in its place: the second serial line, without a terminal's
// habits.
Fd open_serial()
{
    Fd port(::open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios settings{};
    if (port && ::tcgetattr(port.get(), &settings) == 0) {
        ::cfmakeraw(&settings);
        ::cfsetspeed(&settings, B115200);
        ::tcsetattr(port.get(), TCSANOW, &settings);
    }
    return port;
}

bool say(const Fd& port, const std::string& line)
{
    const auto text = line + "\n";
    std::size_t done = 0;
    while (done < text.size()) {
        const auto wrote = ::write(port.get(), text.data() + done, text.size() - done);
        if (wrote < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        done += wrote > 0 ? static_cast<std::size_t>(wrote) : 0;
    }
    return true;
}

// The next line of the host. An empty line at the end: the port is gone.
std::string hear(const Fd& port)
{
    std::string line;
    for (;;) {
        char c = 0;
        const auto got = ::read(port.get(), &c, 1);
        if (got == 1 && c == '\n')
            return line;
        if (got == 1)
            line += c;
        else if (got == 0)
            ::usleep(20'000); // the host's end is not connected (yet)
        else if (errno != EINTR && errno != EAGAIN)
            return "";
    }
}

reports::GuestReady introduce()
{
    reports::GuestReady ready;
    utsname name{};
    ::uname(&name);
    ready.kernel.release = name.release;
    ready.kernel.version = name.version;
    const auto features = kernel_features();
    ready.kernel.features = features.raw();
    for (const auto& feature : ublk::uapi::feature_registry) {
        if (features.has(feature.flag))
            ready.kernel.feature_names.emplace_back(feature.name);
    }
    return ready;
}

// The ids in the file that makes a run unattended; without it none.
std::vector<std::string> unattended_cases()
{
    std::vector<std::string> ids;
    std::ifstream file{std::string(unattended_file)};
    for (std::string id; std::getline(file, id);)
        ids.push_back(std::move(id));
    return ids;
}

// With nobody to tell us when and nobody to listen: nothing of the host's pace reaches the cases.
std::vector<reports::CaseResult> run_unattended(const std::vector<std::string>& ids)
{
    // What the kernel still does after boot is over by then. Idle time costs nothing on a machine that has a
    // clock of its own.
    constexpr unsigned settled = 10;
    if (!ids.empty())
        ::sleep(settled);
    std::vector<reports::CaseResult> results;
    for (const auto& id : ids)
        if (const auto* c = find_case(id))
            results.push_back(run_supervised(*c, c->timeout, true));
    return results;
}

} // namespace

int be_init()
{
    mount_all();
    ::setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
    ::signal(SIGPIPE, SIG_IGN);
    // What the kernel detects late by default is to be seen while its case runs.
    set_sysctl("/proc/sys/kernel/hung_task_timeout_secs", "30");
    set_sysctl("/proc/sys/kernel/printk_ratelimit", "0");
    set_sysctl("/proc/sys/kernel/printk_devkmsg", "on");
    const rlimit files{4096, 4096}, locked{RLIM_INFINITY, RLIM_INFINITY}, no_core{0, 0};
    ::setrlimit(RLIMIT_NOFILE, &files);
    ::setrlimit(RLIMIT_MEMLOCK, &locked);
    ::setrlimit(RLIMIT_CORE, &no_core);
    KernelLog boot_log;
    if (boot_log.fd() >= 0)
        ::lseek(boot_log.fd(), 0, SEEK_SET);
    const auto unattended = unattended_cases();
    const auto not_loaded = load_modules();
    const auto results = run_unattended(unattended);
    for (const auto& line : not_loaded)
        complain(line);

    const Fd port = unattended.empty() ? open_port() : open_serial();
    if (!port) {
        complain("no virtio-serial port named ublkcheck: is virtio_console among the modules?");
        return 1;
    }
    auto ready = introduce();
    ready.boot_log = not_loaded;
    while (const auto line = boot_log.next()) {
        if (line->complaint)
            ready.boot_log.push_back(line->text);
    }
    if (!say(port, reports::encode(ready)))
        return 1;
    for (const auto& result : results)
        say(port, reports::encode(reports::CaseEnded{result}));
    for (;;) {
        const auto line = hear(port);
        const auto command = reports::decode_command(line);
        const auto* c = command ? find_case(command->id) : nullptr;
        if (c == nullptr) {
            const auto why = command ? "no case has the id " + command->id : command.error();
            if (!say(port, reports::encode(reports::HarnessNote{why})))
                return 1;
            continue;
        }
        say(port, reports::encode(reports::CaseStarted{c->id}));
        const auto limit =
            command->timeout_ms > 0 ? std::chrono::milliseconds(command->timeout_ms) : c->timeout;
        say(port, reports::encode(reports::CaseEnded{run_supervised(*c, limit, true)}));
    }
}

} // namespace conformance
