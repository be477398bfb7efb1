#include "vm/process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace vm {
namespace {

// Runs in a fork of a possibly threaded program: only calls that are safe there.
[[noreturn]] void guard(int lifeline, int pidfd)
{
    setpgid(0, 0);
    prctl(PR_SET_NAME, "vm-guard");
    const auto low = static_cast<unsigned>(std::min(lifeline, pidfd));
    const auto high = static_cast<unsigned>(std::max(lifeline, pidfd));
    // Other machines' lifelines and sockets must not stay open through us.
    if (low > 0)
        close_range(0, low - 1, 0);
    if (high - low > 1)
        close_range(low + 1, high - 1, 0);
    close_range(high + 1, ~0U, 0);
    pollfd fds[] = {{lifeline, POLLIN, 0}, {pidfd, POLLIN, 0}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    if (fds[1].revents == 0)
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
    _exit(0);
}

} // namespace

void UniqueFd::reset()
{
    if (fd_ >= 0)
        ::close(std::exchange(fd_, -1));
}

Result<SocketPair> make_socket_pair()
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return unavailable(fmt::format("no socket pair for QEMU: {}", std::strerror(errno)));
    SocketPair pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    return pair;
}

Result<Process> Process::spawn(const std::filesystem::path& program,
                               const std::vector<std::string>& arguments, const std::vector<int>& inherited,
                               const std::filesystem::path& output)
{
    const UniqueFd log(::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!log)
        return unavailable(fmt::format("{} cannot be written: {}", output.string(), std::strerror(errno)));

    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const auto& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, log.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, log.get(), STDERR_FILENO);
    for (const int fd : inherited) // onto itself: clears close-on-exec, in the child only
        posix_spawn_file_actions_adddup2(&actions, fd, fd);

    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none, all_default;
    sigemptyset(&none);
    sigfillset(&all_default);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all_default);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

    Process process;
    const int code = posix_spawn(&process.pid_, program.c_str(), &actions, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (code != 0) {
        process.pid_ = -1;
        return unavailable(fmt::format("{} cannot be started: {}", program.string(), std::strerror(code)));
    }
    process.pidfd_ = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, process.pid_, 0)));
    if (!process.pidfd_)
        return unavailable(fmt::format("no pidfd for {}: {}", program.string(), std::strerror(errno)));
    process.start_guard();
    return process;
}

void Process::start_guard()
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return; // no guard is no reason not to run
    const UniqueFd theirs(ends[0]);
    lifeline_ = UniqueFd(ends[1]);
    guard_ = fork();
    if (guard_ == 0)
        guard(theirs.get(), pidfd_.get());
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), guard_(std::exchange(other.guard_, -1)),
      pidfd_(std::move(other.pidfd_)), lifeline_(std::move(other.lifeline_)), status_(other.status_)
{
}

Process& Process::operator=(Process&& other) noexcept
{
    std::swap(pid_, other.pid_);
    std::swap(guard_, other.guard_);
    std::swap(pidfd_, other.pidfd_);
    std::swap(lifeline_, other.lifeline_);
    std::swap(status_, other.status_);
    return *this;
}

bool Process::running()
{
    if (pid_ < 0 || status_)
        return false;
    int status = 0;
    const auto got = waitpid(pid_, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return true;
    status_ = status; // ECHILD when somebody ignores SIGCHLD: gone all the same
    return false;
}

std::string Process::describe_end() const
{
    if (!status_)
        return "still running";
    return WIFSIGNALED(*status_) ? fmt::format("signal {}", WTERMSIG(*status_))
                                 : fmt::format("exit status {}", WEXITSTATUS(*status_));
}

void Process::end()
{
    if (running()) {
        kill(pid_, SIGKILL); // not reaped yet, so the number is still ours
        int status = 0;
        while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        status_ = status;
    }
    lifeline_.reset();
    if (guard_ > 0)
        while (waitpid(guard_, nullptr, 0) < 0 && errno == EINTR) {
        }
    guard_ = -1;
}

} // namespace vm
