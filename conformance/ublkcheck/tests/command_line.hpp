// Runs the built program in a directory of its own: with a cache of its own, and a mirror that nobody serves.
#pragma once

#include "vm/tests/kernel_fixture.hpp"

#include <algorithm>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <map>
#include <sys/wait.h>
#include <unistd.h>

namespace ublkcheck_test {

namespace fs = std::filesystem;
using testing::HasSubstr;
using vm_test::read;
using vm_test::write;

inline constexpr const char* release = "7.3.4+test-cloud-amd64";

struct Ended {
    int status = -1;
    std::string out, err;
};

class CommandLine : public testing::Test {
  protected:
    // In the test's directory; `environment` is added to this process's.
    Ended run(std::vector<std::string> arguments, const std::map<std::string, std::string>& environment = {})
    {
        arguments.insert(arguments.begin(), UBLKCHECK);
        write(directory_ / "keys.gpg", "no keys");
        std::vector<char*> argv;
        for (auto& argument : arguments)
            argv.push_back(argument.data());
        argv.push_back(nullptr);
        const pid_t pid = ::fork();
        if (pid == 0) {
            for (const auto& [name, value] : environment)
                ::setenv(name.c_str(), value.c_str(), 1);
            child(argv.data());
        }
        int status = 0;
        EXPECT_EQ(::waitpid(pid, &status, 0), pid);
        return {.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
                .out = read(directory_ / "stdout"),
                .err = read(directory_ / "stderr")};
    }

    void expect_refused(const std::vector<std::string>& arguments, int status, const std::string& input,
                        const std::map<std::string, std::string>& environment = {})
    {
        const auto ended = run(arguments, environment);
        SCOPED_TRACE(testing::PrintToString(arguments));
        EXPECT_EQ(ended.status, status);
        EXPECT_THAT(ended.err, HasSubstr(input));
        EXPECT_TRUE(ended.err.starts_with("ublkcheck")) << ended.err;
        EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
        for (const auto* folder : {"out", "blocked"}) {
            if (fs::is_directory(directory_ / folder)) {
                EXPECT_TRUE(fs::is_empty(directory_ / folder)) << "a run is left in " << folder;
            }
        }
    }

    // A kernel as far as ublkcheck looks before it boots one.
    std::string image_and_modules(const vm_test::Files& modules = vm_test::module_files(release))
    {
        write(directory_ / "bzImage", vm_test::boot_image(release));
        for (const auto& [path, text] : modules)
            write(directory_ / "tree" / path, path.ends_with("modules.builtin")
                                                  ? "kernel/virtio_pci.ko\nkernel/virtio_console.ko\n"
                                                  : text);
        return "bzImage:tree";
    }

    // A PATH whose QEMU only knows its version and then does `rest`.
    std::string fake_qemu(const std::string& rest)
    {
        const auto fake = directory_ / "bin/qemu-system-x86_64";
        write(fake,
              "#!/bin/sh\n[ \"$1\" = --version ] && echo 'QEMU emulator version 7.2.22' && exit\n" + rest);
        fs::permissions(fake, fs::perms::owner_all);
        return (directory_ / "bin").string() + ":/usr/bin:/bin";
    }

    vm_test::TemporaryDirectory directory_;

  private:
    [[noreturn]] void child(char** argv)
    {
        const auto open = [](const fs::path& file, int to) {
            ::dup2(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), to);
        };
        open(directory_ / "stdout", STDOUT_FILENO);
        open(directory_ / "stderr", STDERR_FILENO);
        ::setenv("UBLKCHECK_CACHE", (directory_ / "cache").c_str(), 0);
        ::setenv("UBLKCHECK_APT_KEYRING", (directory_ / "keys.gpg").c_str(), 0);
        ::setenv("UBLKCHECK_APT_MIRROR", "http://127.0.0.1:9/debian", 0);
        if (::chdir(directory_.path().c_str()) == 0)
            ::execv(argv[0], argv);
        ::_exit(127);
    }
};

} // namespace ublkcheck_test
