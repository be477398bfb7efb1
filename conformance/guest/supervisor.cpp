#include "conformance/guest/supervisor.hpp"

#include "conformance/driver/expect.hpp"
#include "conformance/guest/judge.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace conformance {

namespace {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::milliseconds;
using ublk::wire::Fd;
using namespace std::chrono_literals;

constexpr Millis after_kill = 3s;    // a killed process that is not gone by then hangs in the kernel
constexpr Millis after_fail = 20s;   // and one that has failed, in what it puts away
constexpr Millis log_settles = 40ms; // what the case caused in a work queue is logged by then

struct Pipe {
    Fd read, write;
    Pipe()
    {
        int ends[2] = {-1, -1};
        if (::pipe2(ends, O_CLOEXEC) == 0) {
            read = Fd(ends[0]);
            write = Fd(ends[1]);
            ::fcntl(read.get(), F_SETFL, O_NONBLOCK);
        }
    }
};

void write_all(int fd, const std::string& text)
{
    std::size_t done = 0;
    while (done < text.size()) {
        const auto wrote = ::write(fd, text.data() + done, text.size() - done);
        if (wrote <= 0 && errno != EINTR)
            return;
        done += wrote > 0 ? static_cast<std::size_t>(wrote) : 0;
    }
}

[[noreturn]] void be_the_case(const Case& c, int record_fd, int output_fd)
{
    ::setpgid(0, 0);
    ::dup2(output_fd, STDOUT_FILENO);
    ::dup2(output_fd, STDERR_FILENO);
    const int null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, STDIN_FILENO);
    // When memory runs out, the case is to die and not its supervisor.
    write_all(Fd(::open("/proc/self/oom_score_adj", O_WRONLY)).get(), "1000");
    bool written = false;
    const auto outcome = run_body(c, [&](const Outcome& failed) {
        write_all(record_fd, encode_record(failed));
        written = true;
    });
    if (!written)
        write_all(record_fd, encode_record(outcome));
    std::fflush(nullptr);
    ::_exit(outcome.kind == Outcome::Kind::failed ? 1 : 0);
}

std::string first_line(const std::filesystem::path& path)
{
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// Where the threads of a process are: "state D in io_schedule".
std::string where_it_hangs(pid_t pid)
{
    std::string text;
    std::error_code ec;
    for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), ec)) {
        const auto stat = first_line(task.path() / "stat");
        const auto paren = stat.rfind(')');
        const auto state =
            paren != std::string::npos && paren + 2 < stat.size() ? stat.substr(paren + 2, 1) : "?";
        const auto wchan = first_line(task.path() / "wchan");
        const auto stack = first_line(task.path() / "stack");
        text += fmt::format("{}state {}{}{}", text.empty() ? "" : "; ", state,
                            wchan.empty() || wchan == "0" ? "" : " in " + wchan,
                            stack.empty() ? "" : " " + stack);
    }
    return text.empty() ? "no threads" : text;
}

class Watch {
  public:
    Watch(pid_t pid, Pipe record, Pipe output)
        : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))), record_(std::move(record)),
          output_(std::move(output))
    {
        record_.write.reset();
        output_.write.reset();
    }

    // Collects until the process has ended or the time is over; true: ended.
    bool until_end(Clock::time_point end, KernelLog& log)
    {
        for (bool reported = false;;) {
            drain(log);
            if (reap())
                return true;
            if (!reported && !record_text_.empty()) {
                reported = true;
                end = std::min(end, Clock::now() + after_fail);
            }
            const auto left = std::chrono::duration_cast<Millis>(end - Clock::now());
            if (left <= 0ms)
                return false;
            std::array fds{pollfd{pidfd_.get(), POLLIN, 0}, pollfd{output_.read.get(), POLLIN, 0},
                           pollfd{log.fd(), POLLIN, 0}, pollfd{record_.read.get(), POLLIN, 0}};
            ::poll(fds.data(), fds.size(), static_cast<int>(std::min<Millis>(left, 200ms).count()));
            // Closed at the other end: nothing more will come.
            if ((fds[1].revents & (POLLHUP | POLLIN)) == POLLHUP)
                output_.read.reset();
            if ((fds[3].revents & (POLLHUP | POLLIN)) == POLLHUP)
                record_.read.reset();
        }
    }

    void drain(KernelLog& log)
    {
        char bytes[16384];
        for (int i = 0; i < 64; ++i) { // bounded: a flood must not keep us from looking at the clock
            const auto got = ::read(output_.read.get(), bytes, sizeof(bytes));
            if (got <= 0)
                break;
            output_log_.add_bytes({bytes, static_cast<std::size_t>(got)});
        }
        for (;;) {
            const auto got = ::read(record_.read.get(), bytes, sizeof(bytes));
            if (got <= 0)
                break;
            if (record_text_.size() <= max_record_bytes)
                record_text_.append(bytes, static_cast<std::size_t>(got));
        }
        for (int i = 0; i < 2000; ++i) {
            auto line = log.next();
            if (!line)
                break;
            if (line->complaint && seen.complaints.size() < 20)
                seen.complaints.push_back({*line->complaint, line->text});
            kernel_log_.add(std::move(line->text));
        }
    }

    bool reap()
    {
        int raw = 0;
        if (ended_ || ::waitpid(pid_, &raw, WNOHANG) != pid_)
            return ended_;
        ended_ = true;
        if (WIFEXITED(raw))
            seen.exit_status = WEXITSTATUS(raw);
        else if (WIFSIGNALED(raw))
            seen.signal = WTERMSIG(raw);
        return true;
    }

    Observation finish()
    {
        if (record_text_.size() > max_record_bytes) {
            seen.record_too_long = true;
        } else if (!record_text_.empty()) {
            seen.record = decode_record(record_text_);
            seen.record_damaged = !seen.record;
        }
        seen.kernel_log = kernel_log_.lines();
        seen.output = output_log_.lines();
        return std::move(seen);
    }

    Observation seen;

  private:
    pid_t pid_;
    Fd pidfd_;
    Pipe record_, output_;
    std::string record_text_;
    BoundedLog output_log_, kernel_log_;
    bool ended_ = false;
};

} // namespace

reports::CaseResult run_supervised(const Case& c, std::chrono::milliseconds limit, bool sweep)
{
    KernelLog log;
    Pipe record, output;
    const auto started = Clock::now();
    const pid_t pid = ::fork();
    if (pid == 0)
        be_the_case(c, record.write.get(), output.write.get());
    if (pid < 0) {
        Observation none;
        none.record =
            Outcome{.kind = Outcome::Kind::failed, .expected = "fork works", .observed = errno_text(errno)};
        return judge(c, none);
    }
    ::setpgid(pid, pid);

    Watch watch(pid, std::move(record), std::move(output));
    watch.seen.limit = limit;
    const bool ended = watch.until_end(started + limit, log);
    watch.seen.duration = std::chrono::duration_cast<Millis>(Clock::now() - started);
    if (!ended) {
        watch.seen.timed_out = true;
        watch.seen.stuck = where_it_hangs(pid);
    }
    ::kill(-pid, SIGKILL); // the case, if it still runs, and the children it left
    if (!ended && !watch.until_end(Clock::now() + after_kill, log)) {
        watch.seen.unkillable = true;
        watch.seen.stuck = where_it_hangs(pid);
    }
    if (sweep) {
        ::kill(-1, SIGKILL); // children that left the group; init itself is exempt
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
    }
    const auto settled = Clock::now() + log_settles;
    do {
        watch.drain(log);
        pollfd more{log.fd(), POLLIN, 0};
        ::poll(&more, 1, 10);
    } while (Clock::now() < settled);
    watch.drain(log);
    auto seen = watch.finish();
    if (seen.timed_out)
        seen.signal.reset(); // ours
    return judge(c, seen);
}

} // namespace conformance
