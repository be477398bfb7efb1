#include "conformance/server/process.hpp"

#include "conformance/driver/driver.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace conformance {

namespace {

constexpr std::size_t max_output = 1 << 20;
constexpr const char* ready_file = "/tmp/ublk-serve.json"; // written by the server when the disk is served

pid_t spawn(const std::vector<std::string>& arguments, int output_fd, Where where = Where::current())
{
    std::vector<char*> argv;
    for (const auto& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    if (output_fd >= 0) {
        ::posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, output_fd, STDERR_FILENO);
    }
    pid_t pid = -1;
    const int error = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        fail(fmt::format("{} starts", arguments.front()), errno_text(error), where);
    return pid;
}

int to_status(int raw)
{
    return WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
}

} // namespace

Finished run_program(const std::vector<std::string>& arguments)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        fail("a pipe for the output", errno_text(errno));
    const Fd read_end(ends[0]);
    Fd write_end(ends[1]);
    const pid_t pid = spawn(arguments, write_end.get());
    write_end.reset();
    Finished finished;
    char bytes[4096];
    for (;;) {
        const auto got = ::read(read_end.get(), bytes, sizeof(bytes));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        std::fwrite(bytes, 1, static_cast<std::size_t>(got), stdout);
        if (finished.output.size() < max_output)
            finished.output.append(bytes, static_cast<std::size_t>(got));
    }
    std::fflush(stdout);
    int raw = 0;
    while (::waitpid(pid, &raw, 0) < 0 && errno == EINTR) {
    }
    finished.status = to_status(raw);
    return finished;
}

pid_t spawn_program(const std::vector<std::string>& arguments, Where where)
{
    return spawn(arguments, -1, where);
}

std::string must_run(const std::vector<std::string>& arguments, Where where)
{
    auto finished = run_program(arguments);
    if (finished.status != 0)
        fail(fmt::format("{} exits with 0", arguments.front()),
             fmt::format("{}: {}", finished.status, finished.output.substr(0, finished.output.find('\n'))),
             where);
    count_check();
    return std::move(finished.output);
}

bool has_program(const std::string& name)
{
    for (const char* directory : {"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"}) {
        if (::access((directory + name).c_str(), X_OK) == 0)
            return true;
    }
    return false;
}

Serving::Serving(const std::vector<std::string>& add_arguments, Where where)
{
    spawn_server("add", add_arguments, where);
    await_disk("add", where);
}

void Serving::spawn_server(const char* command, const std::vector<std::string>& options, Where where)
{
    ::unlink(ready_file);
    std::vector<std::string> arguments{"ublk-serve", command, "--json", ready_file};
    if (std::string_view(command) == "add")
        arguments.insert(arguments.end(), {"--id", id_});
    else
        arguments.push_back(id_);
    arguments.insert(arguments.end(), options.begin(), options.end());
    pid_ = spawn(arguments, -1, where);
}

void Serving::await_disk(const char* command, Where where)
{
    int raw = 0;
    bool ended = false;
    const bool there = eventually(
        [&] {
            ended = ::waitpid(pid_, &raw, WNOHANG) == pid_;
            // The node is there before the disk behind it: until then opening it gives ENXIO.
            return ended ||
                   (::access(ready_file, F_OK) == 0 && ublk::wire::open_node(disk_, O_RDONLY).has_value());
        },
        20s);
    if (ended || !there) {
        if (ended)
            pid_ = -1;
        fail(fmt::format("ublk-serve {} brings up {}", command, disk_),
             ended ? fmt::format("it ended with status {}", to_status(raw)) : "it is not there after 20 s",
             where);
    }
}

Serving::~Serving()
{
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
}

int Serving::await_end(const char* after, Where where)
{
    int raw = 0;
    if (!eventually([&] { return ::waitpid(pid_, &raw, WNOHANG) == pid_; }, 20s))
        fail(fmt::format("ublk-serve ends after {}", after), "it is still there after 20 s", where);
    pid_ = -1;
    return to_status(raw);
}

void Serving::stop(Where where)
{
    ::kill(pid_, SIGTERM);
    expect_eq(0, await_end("SIGTERM", where), "exit status of ublk-serve after SIGTERM", where);
    expect_true(::access(disk_.c_str(), F_OK) != 0, "its block device is gone", where);
}

void Serving::kill(Where where)
{
    int raw = 0;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &raw, 0);
    pid_ = -1;
    expect_eq(128 + SIGKILL, to_status(raw), "status of ublk-serve after SIGKILL", where);
}

void Serving::quiesce(Where where)
{
    must_run({"ublk-serve", "quiesce", id_}, where);
    expect_eq(0, await_end("QUIESCE_DEV", where), "exit status of ublk-serve after QUIESCE_DEV", where);
    expect_true(::access(disk_.c_str(), F_OK) == 0, "its block device is still there", where);
}

void Serving::recover(const std::vector<std::string>& recover_arguments, Where where)
{
    begin_recovery(recover_arguments, where);
    await_disk("recover", where);
}

void Serving::begin_recovery(const std::vector<std::string>& recover_arguments, Where where)
{
    spawn_server("recover", recover_arguments, where);
}

} // namespace conformance
