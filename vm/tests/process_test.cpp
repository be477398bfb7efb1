#include "vm/process.hpp"

#include "vm/file_io.hpp"
#include "vm/tests/temp_dir.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using testing::HasSubstr;
using vm::Process;
using vm::testing::TempDir;

namespace {

void wait_for_end(const Process& process)
{
    pollfd waiting{process.exit_fd(), POLLIN, 0};
    ASSERT_EQ(poll(&waiting, 1, 60'000), 1);
}

} // namespace

TEST(Process, tells_how_the_child_ended_and_keeps_both_its_outputs)
{
    const TempDir dir;
    auto process = Process::spawn("/bin/sh", {"-c", "echo out; echo err >&2; exit 3"}, {}, dir / "log");
    ASSERT_TRUE(process) << process.error().message;
    wait_for_end(*process);
    EXPECT_FALSE(process->running());
    EXPECT_EQ(process->describe_end(), "exit status 3");
    EXPECT_EQ(vm::read_file(dir / "log"), "out\nerr\n");
}

TEST(Process, the_child_has_the_inherited_descriptors_and_no_others)
{
    const TempDir dir;
    auto given = vm::make_socket_pair(), kept = vm::make_socket_pair();
    ASSERT_TRUE(given && kept);
    auto process = Process::spawn("/bin/sh", {"-c", "ls /proc/self/fd"}, {given->theirs.get()}, dir / "log");
    ASSERT_TRUE(process);
    wait_for_end(*process);
    const auto seen = "\n" + vm::read_file(dir / "log").value_or("");
    EXPECT_THAT(seen, HasSubstr("\n" + std::to_string(given->theirs.get()) + "\n"));
    EXPECT_THAT(seen, testing::Not(HasSubstr("\n" + std::to_string(kept->theirs.get()) + "\n")));
}

TEST(Process, end_kills_a_child_that_would_stay)
{
    const TempDir dir;
    auto process = Process::spawn("/bin/sleep", {"1000"}, {}, dir / "log");
    ASSERT_TRUE(process);
    EXPECT_TRUE(process->running());
    const auto pid = process->pid();
    process->end();
    EXPECT_EQ(process->describe_end(), "signal 9");
    EXPECT_EQ(kill(pid, 0), -1);
}

TEST(Process, a_child_does_not_outlive_an_owner_that_is_killed)
{
    const TempDir dir;
    int report[2];
    ASSERT_EQ(pipe(report), 0);
    const pid_t owner = fork();
    if (owner == 0) { // the owner: starts a child that holds the pipe open, and dies without destructors
        auto child = Process::spawn("/bin/sleep", {"1000"}, {report[1]}, dir / "log");
        if (child)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    close(report[1]);
    int status = 0;
    ASSERT_EQ(waitpid(owner, &status, 0), owner);
    ASSERT_TRUE(WIFSIGNALED(status));
    pollfd waiting{report[0], POLLIN, 0};
    EXPECT_EQ(poll(&waiting, 1, 60'000), 1) << "the child still holds its end of the pipe";
    char byte = 0;
    EXPECT_EQ(read(report[0], &byte, 1), 0);
    close(report[0]);
}

TEST(Process, a_program_that_is_not_there_is_an_error_with_its_name)
{
    const TempDir dir;
    const auto process = Process::spawn("/no/such/program", {}, {}, dir / "log");
    ASSERT_FALSE(process);
    EXPECT_THAT(process.error().message, HasSubstr("/no/such/program"));
}
