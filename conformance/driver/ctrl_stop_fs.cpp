// UBLK-CTRL-STOP with a filesystem on the device.
#include "conformance/driver/case.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"

#include <fcntl.h>
#include <fstream>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace conformance {

namespace {

constexpr const char* mkfs = "/bin/mkfs.ext4";

bool kernel_has_filesystem(const std::string& name)
{
    std::ifstream list("/proc/filesystems");
    for (std::string word; list >> word;) {
        if (word == name)
            return true;
    }
    return false;
}

// Exit status of a program, or -errno if it does not start.
long run_program(std::vector<std::string> words)
{
    std::vector<char*> argv;
    for (auto& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    char* none[] = {nullptr};
    pid_t pid = -1;
    if (const int err = ::posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), none); err != 0)
        return -err;
    int status = 0;
    if (::waitpid(pid, &status, 0) != pid)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

} // namespace

CASE("UBLK-CTRL-STOP-015", contract,
     "A mounted filesystem does not hold up STOP_DEV; it fails with EIO from then on", timeout(60s))
{
    if (::access(mkfs, X_OK) != 0)
        skip(fmt::format("needs {} in the guest", mkfs));
    if (!kernel_has_filesystem("ext4"))
        skip("needs ext4 in the kernel");
    Driver driver;
    const auto device = driver.make();
    Server server(device);
    server.go_live(basic_params(32768));
    App format([path = device.block_path()] { return run_program({mkfs, "-q", "-F", path}); });
    expect_ok(server.serve_until(format), "mkfs.ext4");
    const std::string dir = "/tmp/ublkcheck-mnt";
    ::mkdir(dir.c_str(), 0700);
    App mount([&] { return sys(::mount(device.block_path().c_str(), dir.c_str(), "ext4", 0, nullptr)); });
    expect_ok(server.serve_until(mount), "mount");
    const auto create = [&](const char* name) {
        return sys(::open((dir + name).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    };
    App before([&] { return create("/before"); });
    const Fd file(static_cast<int>(server.serve_until(before)));
    expect_not_negative(file.get(), "creating a file before STOP_DEV");
    expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV under a mounted filesystem");
    expect_true(!device.has_disk(), "ublkbN is gone");
    App after([&] { return create("/after"); });
    expect_error(EIO, server.serve_until(after), "creating a file after STOP_DEV");
    ::umount2(dir.c_str(), MNT_DETACH);
}

} // namespace conformance
