// A guest for the machine's own tests: mounts, loads modules, says "ready N" (N modules) on the port, then
// answers lines: what it does not know it sends back. It must not depend on anything of the real guest
// program.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace fs = std::filesystem;

namespace {

[[noreturn]] void give_up(const std::string& what)
{
    std::fprintf(stderr, "trial init: %s: %s\n", what.c_str(), std::strerror(errno));
    for (;;)
        pause();
}

void mount_all()
{
    ::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
    ::mount("proc", "/proc", "proc", 0, nullptr);
    ::mount("sysfs", "/sys", "sysfs", 0, nullptr);
}

int load_modules()
{
    std::vector<fs::path> modules;
    for (const auto& entry : fs::directory_iterator("/modules"))
        modules.push_back(entry.path());
    std::ranges::sort(modules);
    int loaded = 0;
    for (const auto& module : modules) {
        const int fd = open(module.c_str(), O_RDONLY);
        if (syscall(SYS_finit_module, fd, "", 0) == 0)
            ++loaded;
        else
            std::fprintf(stderr, "trial init: %s: %s\n", module.c_str(), std::strerror(errno));
        close(fd);
    }
    return loaded;
}

int open_port()
{
    for (const auto& entry : fs::directory_iterator("/sys/class/virtio-ports")) {
        std::ifstream in(entry.path() / "name");
        std::string name;
        if (std::getline(in, name) && name == "ublkcheck")
            return open(("/dev/" + entry.path().filename().string()).c_str(), O_RDWR);
    }
    return -1;
}

void say(int port, const std::string& text)
{
    for (std::size_t sent = 0; sent < text.size();) {
        const auto n = write(port, text.data() + sent, text.size() - sent);
        if (n < 0 && errno != EINTR)
            give_up("port");
        sent += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
}

// "run fio --version": waits for the program and says how it ended.
std::string run(const std::string& command)
{
    const pid_t child = fork();
    if (child == 0) {
        const auto space = command.find(' ');
        const auto program = "/bin/" + command.substr(0, space);
        const auto argument = space == std::string::npos ? std::string() : command.substr(space + 1);
        const int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        execl(program.c_str(), program.c_str(), argument.empty() ? nullptr : argument.c_str(), nullptr);
        _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return "status " + std::to_string(status) + "\n";
}

void obey(int port, const std::string& line)
{
    if (line == "panic") {
        say(port, "last words\n");
        std::ofstream("/proc/sysrq-trigger") << 'c' << std::flush;
    } else if (line == "flood") {
        const std::string flood = std::string(4095, 'f') + "\n";
        for (;;)
            say(port, flood);
    } else if (line == "endless line") {
        const std::string piece(4096, 'e');
        for (;;)
            say(port, piece);
    } else if (line == "hang") {
        for (;;) {
        }
    } else if (line == "reboot") {
        reboot(RB_AUTOBOOT);
    } else if (line == "poweroff") {
        reboot(RB_POWER_OFF);
    } else if (line == "remember") {
        std::ofstream("/tmp/remembered") << "x";
        say(port, "remembered\n");
    } else if (line == "recall") {
        say(port, fs::exists("/tmp/remembered") ? "yes\n" : "no\n");
    } else if (line == "memory") {
        std::ifstream in("/proc/meminfo");
        std::string total, available, free;
        std::getline(in, total), std::getline(in, free), std::getline(in, available);
        say(port, total + " " + free + " " + available + "\n");
    } else if (line == "clock") {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        say(port,
            std::to_string(static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9) + "\n");
    } else if (line == "log") {
        const int kmsg = open("/dev/kmsg", O_WRONLY);
        const std::string_view text = "<1>a line for the console\n";
        if (write(kmsg, text.data(), text.size()) < 0)
            give_up("kmsg");
        close(kmsg);
        say(port, "logged\n");
    } else if (line.starts_with("run ")) {
        say(port, run(line.substr(4)));
    } else {
        say(port, line + "\n");
    }
}

} // namespace

int main()
{
    mount_all();
    const int loaded = load_modules();
    const int port = open_port();
    if (port < 0)
        give_up("no port named ublkcheck");
    say(port, "ready " + std::to_string(loaded) + "\n");
    std::string line;
    for (char c = 0;;) {
        const auto n = read(port, &c, 1);
        if (n < 0 && errno != EINTR)
            give_up("port");
        if (n == 1 && c != '\n')
            line += c;
        else if (n == 1)
            obey(port, std::exchange(line, {}));
    }
}
