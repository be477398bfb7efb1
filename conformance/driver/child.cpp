#include "conformance/driver/child.hpp"

#include <csignal>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/driver/case.hpp"
#include "conformance/driver/driver.hpp"

namespace conformance {

namespace {

constexpr int failed_expectation = 126;

void close_if(int& fd)
{
    if (fd >= 0)
        ::close(fd);
    fd = -1;
}

} // namespace

Child::Child(const std::function<int(Child&)>& body)
{
    int down[2], up[2], failure[2];
    if (::pipe2(down, 0) != 0 || ::pipe2(up, 0) != 0 || ::pipe2(failure, 0) != 0)
        fail("pipes for a child", errno_text(errno));
    pid_ = ::fork();
    if (pid_ < 0)
        fail("fork works", errno_text(errno));
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::close(down[1]);
        ::close(up[0]);
        ::close(failure[0]);
        to_ = up[1];
        from_ = down[0];
        const int out = failure[1];
        int status = failed_expectation;
        run_in_child([&] { status = body(*this); },
                     [out](const Outcome& outcome) {
                         const auto text = outcome.expected + "\n" + outcome.observed;
                         [[maybe_unused]] const auto written = ::write(out, text.data(), text.size());
                     });
        ::_exit(status);
    }
    ::close(down[0]);
    ::close(up[1]);
    ::close(failure[1]);
    to_ = down[1];
    from_ = up[0];
    failure_ = failure[0];
}

Child::~Child()
{
    if (pid_ > 0 && !status_) {
        ::kill(pid_, SIGKILL);
        // A child in an uninterruptible sleep is the supervisor's to report; do not join it there.
        eventually([&] { return ::waitpid(pid_, nullptr, WNOHANG) != 0; }, 2s);
    }
    close_if(to_);
    close_if(from_);
    close_if(failure_);
}

void Child::kill(int sig)
{
    ::kill(pid_, sig);
}

int Child::join(Where where)
{
    if (status_)
        return *status_;
    int raw = 0;
    if (!eventually([&] { return ::waitpid(pid_, &raw, WNOHANG) == pid_; }))
        fail("the child process ends", fmt::format("pid {} is still there", pid_), where);
    status_ = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    char text[4096];
    const auto got = ::read(failure_, text, sizeof(text));
    if (got > 0) {
        const std::string both(text, static_cast<std::size_t>(got));
        const auto cut = both.find('\n');
        fail("in the child: " + both.substr(0, cut),
             both.substr(cut == std::string::npos ? both.size() : cut + 1), where);
    }
    if (*status_ == failed_expectation)
        fail("the child process ends by itself", "it ended without a word", where);
    return *status_;
}

void Child::tell(char word)
{
    [[maybe_unused]] const auto written = ::write(to_, &word, 1);
}

char Child::hear(Where where)
{
    pollfd ready{.fd = from_, .events = POLLIN, .revents = 0};
    char word = 0;
    const bool ended =
        ::poll(&ready, 1, static_cast<int>(patience.count())) == 1 && ::read(from_, &word, 1) != 1;
    if (ended && pid_ > 0)
        join(where); // a child that failed says why
    if (word == 0)
        fail("the other process speaks", "it said nothing", where);
    return word;
}

void become_user(unsigned uid, unsigned gid)
{
    // The call of glibc is needed only for threads; children here have none.
    if (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 ||
        ::setresuid(uid, uid, uid) != 0)
        fail("becoming an ordinary user", errno_text(errno));
    // A change of uid clears the death signal.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void drop_sys_admin()
{
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[2] = {};
    bool ok = ::syscall(SYS_capget, &header, data) == 0;
    const auto bit = 1U << CAP_SYS_ADMIN;
    data[0].effective &= ~bit;
    data[0].permitted &= ~bit;
    data[0].inheritable &= ~bit;
    ok = ok && ::syscall(SYS_capset, &header, data) == 0;
    if (!ok)
        fail("dropping CAP_SYS_ADMIN", errno_text(errno));
}

} // namespace conformance
