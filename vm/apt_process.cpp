#include "vm/apt_process.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

namespace vm {
namespace {

struct Pipe {
    int read_end = -1;
    int write_end = -1;

    Pipe()
    {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) == 0) {
            read_end = ends[0];
            write_end = ends[1];
        }
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    ~Pipe()
    {
        close(read_end);
        close(write_end);
    }
    static void close(int& end)
    {
        if (end >= 0)
            ::close(end);
        end = -1;
    }
};

// The C interface wants mutable strings and a null at the end; it changes nothing.
std::vector<char*> pointers(std::vector<std::string>& strings)
{
    std::vector<char*> result;
    result.reserve(strings.size() + 1);
    for (auto& string : strings)
        result.push_back(string.data());
    result.push_back(nullptr);
    return result;
}

Result<pid_t> spawn(const std::vector<std::string>& command, const std::vector<std::string>& added,
                    const Pipe& out, const Pipe& err)
{
    auto arguments = command;
    std::vector<std::string> variables = added;
    variables.emplace_back("LC_ALL=C");
    for (char** variable = environ; *variable != nullptr; ++variable)
        if (const std::string_view text(*variable);
            !text.starts_with("LC_ALL=") && !text.starts_with("APT_CONFIG="))
            variables.emplace_back(text);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out.write_end, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err.write_end, STDERR_FILENO);
    pid_t pid = -1;
    const int failure = ::posix_spawnp(&pid, command.front().c_str(), &actions, nullptr,
                                       pointers(arguments).data(), pointers(variables).data());
    posix_spawn_file_actions_destroy(&actions);
    if (failure != 0)
        return unavailable(fmt::format("{} cannot be run: {}; it is part of Debian's package apt",
                                       command.front(), std::generic_category().message(failure)));
    return pid;
}

// Moves what is there from one pipe on; closes it at its end.
template <typename Take>
void drain(int& end, const Take& take)
{
    std::array<char, 65536> buffer{};
    const auto got = ::read(end, buffer.data(), buffer.size());
    if (got > 0)
        take(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
    else if (got == 0 || errno != EINTR)
        Pipe::close(end);
}

int wait_for(pid_t pid)
{
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

} // namespace

Result<ProcessResult> run_process(const std::vector<std::string>& command, const ProcessOptions& options)
{
    Pipe out;
    Pipe err;
    if (out.read_end < 0 || err.read_end < 0)
        return unavailable(
            fmt::format("{} cannot be run: no more file descriptors; raise ulimit -n", command.front()));
    const auto pid = spawn(command, options.environment, out, err);
    if (!pid)
        return std::unexpected(pid.error());
    Pipe::close(out.write_end);
    Pipe::close(err.write_end);
    ProcessResult result;
    while (out.read_end >= 0 || err.read_end >= 0) {
        std::array<pollfd, 2> waits{pollfd{out.read_end, POLLIN, 0}, pollfd{err.read_end, POLLIN, 0}};
        const int ready = ::poll(waits.data(), waits.size(), 250);
        if (ready < 0 && errno != EINTR)
            break;
        if (options.tick)
            options.tick();
        if (ready <= 0)
            continue;
        if (waits[0].revents != 0)
            drain(out.read_end, [&](std::string_view piece) {
                if (options.sink)
                    options.sink(piece);
                else
                    result.output += piece;
            });
        if (waits[1].revents != 0)
            drain(err.read_end, [&](std::string_view piece) { result.errors += piece; });
    }
    result.status = wait_for(*pid);
    return result;
}

} // namespace vm
