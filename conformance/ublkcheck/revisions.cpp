#include "conformance/ublkcheck/revisions.hpp"

#include "conformance/ublkcheck/kernel_run.hpp"
#include "vm/file_io.hpp"
#include "vm/initramfs.hpp"
#include "vm/process.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <poll.h>
#include <sstream>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;

struct Ended {
    int status = -1; // exit status; -1: a signal, or it was interrupted
    std::string output;
};

// Runs a program of the PATH to its end, or to the end of its process group when we are interrupted.
Expected<Ended> run_tool(const std::string& name, const std::vector<std::string>& arguments,
                         const fs::path& output)
{
    const auto program = vm::find_program(name);
    if (!program)
        return failed(program.error());
    auto process = vm::Process::spawn(*program, arguments, {}, output);
    if (!process)
        return failed(process.error());
    while (process->running()) {
        pollfd end{process->exit_fd(), POLLIN, 0};
        ::poll(&end, 1, 200);
        if (interrupted)
            ::kill(-process->pid(), SIGKILL);
    }
    const int raw = process->wait_status().value_or(-1);
    return Ended{WIFEXITED(raw) ? WEXITSTATUS(raw) : -1, vm::read_file(output).value_or("")};
}

// git's words for one question, which needs no log.
Expected<Ended> ask_git(const std::vector<std::string>& arguments)
{
    std::string pattern = (fs::temp_directory_path() / "ublkcheck-git-XXXXXX").string();
    const int fd = ::mkstemp(pattern.data());
    if (fd >= 0)
        ::close(fd);
    auto ended = run_tool("git", arguments, pattern);
    std::error_code ec;
    fs::remove(pattern, ec);
    if (ended)
        ended->output.erase(ended->output.find_last_not_of('\n') + 1);
    return ended;
}

std::string first_line(const std::string& text)
{
    return text.substr(0, text.find('\n'));
}

// What a compiler, CMake or ninja complained of first.
std::string first_complaint(const std::string& log)
{
    std::istringstream lines(log);
    for (std::string line; std::getline(lines, line);)
        for (const auto* sign : {"error:", "CMake Error", "undefined reference", "ninja: "})
            if (line.contains(sign) && !line.contains("build stopped") &&
                !line.contains("Entering directory"))
                return line;
    return "it says nothing";
}

// Only one work tree is there at a time, whoever builds.
class Lock {
  public:
    explicit Lock(const fs::path& file) : fd_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600))
    {
        while (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) != 0 && !interrupted)
            ::usleep(100'000);
    }
    ~Lock()
    {
        if (fd_ >= 0)
            ::close(fd_);
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

  private:
    int fd_;
};

// Gone when this ends, from the disk and from the repository's list.
class WorkTree {
  public:
    explicit WorkTree(fs::path path) : path_(std::move(path)) { remove(); }
    ~WorkTree() { remove(); }
    WorkTree(const WorkTree&) = delete;
    WorkTree& operator=(const WorkTree&) = delete;

    const fs::path& path() const { return path_; }

  private:
    void remove() const
    {
        // Even when we are interrupted: this is not for run_tool() to cut off.
        if (const auto git = vm::find_program("git"))
            if (auto process = vm::Process::spawn(
                    *git, {"worktree", "remove", "--force", "--force", path_.string()}, {}, "/dev/null"))
                while (process->running()) {
                    pollfd end{process->exit_fd(), POLLIN, 0};
                    ::poll(&end, 1, 1000);
                }
        std::error_code ec;
        fs::remove_all(path_, ec); // of another repository, or of one that did not come to be registered
    }
    fs::path path_;
};

std::unexpected<Failed> was_interrupted()
{
    return failed(reports::exit_no_run, "interrupted while a commit was built; run again");
}

} // namespace

Expected<Revision> find_revision(const std::string& typed)
{
    const auto inside = ask_git({"rev-parse", "--show-toplevel"});
    if (!inside)
        return std::unexpected(inside.error());
    if (inside->status != 0)
        return failed(reports::exit_usage,
                      "the current directory is in no git repository, so there are no commits "
                      "to compare; change into the source tree");
    std::string wanted = typed;
    if (typed == ".") {
        // A commit of what is there that no branch knows; nothing is said when it is what HEAD has.
        const auto stash =
            ask_git({"-c", "user.name=ublkcheck", "-c", "user.email=ublkcheck@localhost", "stash", "create"});
        if (!stash)
            return std::unexpected(stash.error());
        wanted = stash->status == 0 && !stash->output.empty() ? stash->output : "HEAD";
    }
    const auto commit =
        ask_git({"rev-parse", "--verify", "--quiet", "--end-of-options", wanted + "^{commit}"});
    if (!commit)
        return std::unexpected(commit.error());
    if (commit->status != 0)
        return failed(reports::exit_usage,
                      fmt::format("there is no commit '{}' in {}; `git log` shows what there is", typed,
                                  inside->output));
    return Revision{typed, first_line(commit->output)};
}

Expected<void> build_revision(const Revision& revision, const BuildPlace& place, const fs::path& program)
{
    std::error_code ec;
    fs::create_directories(place.folder, ec);
    if (ec)
        return failed(reports::exit_no_run,
                      fmt::format("{} cannot be made: {}", place.folder.string(), ec.message()));
    const Lock lock(place.folder / "lock");
    const auto log = place.folder / (revision.short_name() + ".log");
    const WorkTree tree(place.folder / "tree");
    const auto build = tree.path() / "build";
    if (place.note)
        place.note(fmt::format("{} ({})", revision.typed, revision.short_name()));
    const auto step = [&](const std::string& tool,
                          const std::vector<std::string>& arguments) -> Expected<void> {
        const auto ended = run_tool(tool, arguments, log);
        if (!ended)
            return std::unexpected(ended.error());
        if (interrupted)
            return was_interrupted();
        if (ended->status != 0)
            return failed(reports::exit_no_run,
                          fmt::format("'{}' ({}) does not build: {}; the log is {}", revision.typed,
                                      revision.short_name(), first_complaint(ended->output), log.string()));
        return {};
    };
    if (auto done = step("git", {"-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--force",
                                 tree.path().string(), revision.commit});
        !done)
        return done;
    if (auto done = step("cmake", {"--preset", "release", "-S", tree.path().string(), "-DBUILD_TESTING=OFF"});
        !done)
        return done;
    if (auto done = step("cmake", {"--build", build.string(), "--target", "ublk-serve"}); !done)
        return done;
    fs::create_directories(program.parent_path(), ec);
    fs::copy_file(build / "bin" / "ublk-serve", program, fs::copy_options::overwrite_existing, ec);
    if (ec)
        return failed(reports::exit_no_run,
                      fmt::format("{} cannot be written: {}", program.string(), ec.message()));
    return {};
}

} // namespace conformance
