#include "ublk/serve/daemon.hpp"

#include "ublk/serve/commands.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ublk::serve {

namespace {

std::string read_all(int fd)
{
    std::string text;
    std::array<char, 512> piece{};
    for (;;) {
        const ssize_t n = ::read(fd, piece.data(), piece.size());
        if (n > 0)
            text.append(piece.data(), static_cast<std::size_t>(n));
        else if (n == 0 || errno != EINTR)
            return text;
    }
}

// A report is one byte of exit code and the text; nothing means that the child died.
int pass_on(const std::string& report, pid_t child)
{
    if (!report.empty()) {
        const int exit_code = static_cast<unsigned char>(report[0]);
        if (exit_code == exit_ok)
            fmt::print("{}\n", report.substr(1));
        else
            complain(report.substr(1));
        return exit_code;
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    complain(WIFSIGNALED(status)
                 ? fmt::format(
                       "the server was ended by signal {} ({}) before the disk was there: look for what it "
                       "left with ublk-serve list",
                       WTERMSIG(status), ::strsignal(WTERMSIG(status)))
                 : fmt::format("the server ended with {} and no word before the disk was there",
                               WEXITSTATUS(status)));
    return exit_failed;
}

} // namespace

std::optional<int> Starter::daemonize()
{
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        complain(make_error("pipe", errno).message());
        return exit_failed;
    }
    wire::Fd read_end(ends[0]);
    wire::Fd write_end(ends[1]);
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) {
        complain(make_error("fork", errno).message());
        return exit_failed;
    }
    if (child > 0) {
        write_end.reset();
        return pass_on(read_all(read_end.get()), child);
    }
    ::setsid();
    to_parent_ = std::move(write_end);
    return std::nullopt;
}

void Starter::report(int exit_code, const std::string& text)
{
    const std::string message = static_cast<char>(exit_code) + text;
    std::size_t done = 0;
    while (done < message.size()) {
        const ssize_t n = ::write(to_parent_.get(), message.data() + done, message.size() - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    to_parent_.reset();
}

void Starter::ready(const std::string& line)
{
    if (!to_parent_) {
        fmt::print("{}\n", line);
        std::fflush(stdout);
        return;
    }
    // The shell gets its streams back: whoever reads them to the end must not wait for the daemon.
    const wire::Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null) {
        for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
            ::dup2(null.get(), stream);
    }
    [[maybe_unused]] const int moved = ::chdir("/");
    report(exit_ok, line);
}

int Starter::failed(int exit_code, const std::string& message)
{
    if (to_parent_)
        report(exit_code, message);
    else
        complain(message);
    return exit_code;
}

} // namespace ublk::serve
