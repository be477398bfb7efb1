#include "conformance/driver/filesystem.hpp"

#include <fstream>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace conformance {

namespace {

constexpr const char* mkfs_ext4 = "/bin/mkfs.ext4";

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

Ext4::Ext4(Server& server, const std::vector<std::string>& mkfs_options, const char* mount_options,
           Where where)
    : server_(server)
{
    if (::access(mkfs_ext4, X_OK) != 0)
        skip(fmt::format("needs {} in the guest", mkfs_ext4));
    if (!kernel_has_filesystem("ext4"))
        skip("needs ext4 in the kernel");
    const auto disk = server.device().block_path();
    std::vector<std::string> words{mkfs_ext4, "-q", "-F"};
    words.insert(words.end(), mkfs_options.begin(), mkfs_options.end());
    words.push_back(disk);
    App format([words] { return run_program(words); });
    expect_ok(server.serve_until(format, where), "mkfs.ext4", where);
    ::mkdir(directory_.c_str(), 0700);
    App mount([=, this] { return sys(::mount(disk.c_str(), directory_.c_str(), "ext4", 0, mount_options)); });
    expect_ok(server.serve_until(mount, where), "mount", where);
    mounted_ = true;
}

Ext4::~Ext4()
{
    if (mounted_)
        ::umount2(directory_.c_str(), MNT_DETACH);
}

void Ext4::unmount(Where where)
{
    App umount([this] { return sys(::umount2(directory_.c_str(), 0)); });
    expect_ok(server_.serve_until(umount, where), "umount", where);
    mounted_ = false;
}

} // namespace conformance
