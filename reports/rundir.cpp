#include "reports/rundir.hpp"

#include "reports/html.hpp"
#include "reports/junit.hpp"
#include "reports/ktap.hpp"
#include "reports/results_json.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace reports {
namespace fs = std::filesystem;
namespace {

constexpr const char* events_name = "events.jsonl";
constexpr mode_t folder_mode = 0777, file_mode = 0666; // less the umask

class Fd {
  public:
    explicit Fd(int fd) : fd_(fd) {}
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd()
    {
        if (fd_ >= 0)
            ::close(fd_);
    }
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

  private:
    int fd_;
};

const char* mend(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
        return "choose a folder that you may write to with --out";
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return "free some space, or choose another disk with --out; --resume then goes on with this run";
    case ENOTDIR:
    case EEXIST:
        return "move the file that is in the way, or choose another folder with --out";
    case ENOENT:
        return "name the folder of a run, such as out/latest";
    default:
        return "choose another folder with --out";
    }
}

std::unexpected<std::string> cannot(std::string_view what, const fs::path& path, int error)
{
    return std::unexpected{fmt::format("cannot {} {}: {}; {}", what, path.string(),
                                       std::generic_category().message(error), mend(error))};
}

// All of text, also when the kernel takes it in parts; 0 or an errno.
int write_all(int fd, std::string_view text)
{
    while (!text.empty()) {
        const auto written = ::write(fd, text.data(), text.size());
        if (written == 0)
            return EIO; // nothing went wrong and nothing was written: do not try for ever
        if (written < 0 && errno != EINTR)
            return errno;
        if (written > 0)
            text.remove_prefix(static_cast<std::size_t>(written));
    }
    return 0;
}

std::expected<std::string, std::string> read_whole(const fs::path& file)
{
    const Fd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
    if (fd.get() < 0)
        return cannot("read", file, errno);
    std::string text;
    std::string block(std::size_t{1} << 16, '\0');
    for (;;) {
        const auto got = ::read(fd.get(), block.data(), block.size());
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cannot("read", file, errno);
        if (got == 0)
            return text;
        text.append(block, 0, static_cast<std::size_t>(got));
    }
}

// Opens and locks the events of a folder; an fd or a sentence.
std::expected<int, std::string> open_events(const fs::path& folder, int flags)
{
    const auto file = folder / events_name;
    Fd fd{::open(file.c_str(), flags | O_RDWR | O_APPEND | O_CLOEXEC, file_mode)};
    if (fd.get() < 0)
        return cannot("open", file, errno);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return cannot("lock", file, errno);
        return std::unexpected{
            fmt::format("cannot use {}: another run is writing into it; wait for its end", folder.string())};
    }
    return fd.release();
}

// Points `out`/latest at `name`; by rename, so that there always is one.
std::expected<void, std::string> link_latest(const fs::path& out, const std::string& name)
{
    const auto link = out / "latest";
    const auto fresh = out / fmt::format(".latest.{}", ::getpid());
    ::unlink(fresh.c_str());
    if (::symlink(name.c_str(), fresh.c_str()) != 0)
        return cannot("make the link", fresh, errno);
    if (::rename(fresh.c_str(), link.c_str()) == 0)
        return {};
    const int error = errno == EISDIR ? EEXIST : errno;
    ::unlink(fresh.c_str());
    return cannot("replace the link", link, error);
}

} // namespace

std::string run_folder_name(std::chrono::system_clock::time_point now, std::string_view version)
{
    const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
    std::string safe;
    for (const char c : version.substr(0, 100)) {
        const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        safe += plain || std::string_view{".-+_~"}.contains(c) ? c : '_';
    }
    const auto utc = fmt::gmtime(std::chrono::system_clock::to_time_t(seconds));
    return fmt::format("{:%Y-%m-%dT%H%M%S}-{}", utc, safe.empty() ? "unknown" : safe);
}

std::expected<RunDir, std::string> RunDir::create(const fs::path& out, std::string_view version,
                                                  std::chrono::system_clock::time_point now)
{
    std::error_code error;
    fs::create_directories(out, error);
    if (error)
        return cannot("make the folder", out, error.value());
    const auto wanted = run_folder_name(now, version);
    auto name = wanted;
    constexpr int most_in_a_second = 1000;
    for (int n = 2; ::mkdir((out / name).c_str(), folder_mode) != 0; ++n) {
        if (errno != EEXIST || n > most_in_a_second)
            return cannot("make the folder", out / name, errno);
        name = fmt::format("{}-{}", wanted, n);
    }
    const auto fd = open_events(out / name, O_CREAT | O_EXCL);
    if (!fd) {
        fs::remove_all(out / name, error);
        return std::unexpected{fd.error()};
    }
    RunDir run{out / name, *fd};
    run.latest_before_ = fs::read_symlink(out / "latest", error); // empty when there is none
    if (auto linked = link_latest(out, name); !linked) {
        run.discard();
        return std::unexpected{linked.error()};
    }
    return run;
}

std::expected<RunDir, std::string> RunDir::resume(const fs::path& folder, Folded& so_far)
{
    const auto fd = open_events(folder, 0);
    if (!fd)
        return std::unexpected{fd.error()};
    RunDir run{folder, *fd};
    const auto text = read_whole(folder / events_name);
    if (!text)
        return std::unexpected{text.error()};
    // A torn line must not swallow the next event.
    if (!text->empty() && !text->ends_with('\n'))
        if (const int error = write_all(run.fd_, "\n"); error != 0)
            return cannot("write", folder / events_name, error);
    so_far = fold(*text);
    return run;
}

RunDir::RunDir(RunDir&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)),
      latest_before_(std::move(other.latest_before_))
{
}

RunDir& RunDir::operator=(RunDir&& other) noexcept
{
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(latest_before_, other.latest_before_);
    return *this;
}

void RunDir::discard()
{
    const auto out = path_.parent_path();
    std::error_code ignored; // what cannot be removed is a folder without a report
    fs::remove_all(path_, ignored);
    if (fs::read_symlink(out / "latest", ignored) != path_.filename())
        return;
    if (latest_before_.empty() || !fs::exists(out / latest_before_, ignored))
        fs::remove(out / "latest", ignored);
    else [[maybe_unused]]
        const auto linked = link_latest(out, latest_before_.string());
}

RunDir::~RunDir()
{
    if (fd_ >= 0)
        ::close(fd_);
}

std::expected<void, std::string> RunDir::append(const Event& event)
{
    const auto line = encode(event) + "\n";
    struct stat before{};
    if (::fstat(fd_, &before) != 0)
        return cannot("write", path_ / events_name, errno);
    const int error = write_all(fd_, line);
    if (error == 0)
        return {};
    // The lock makes this process the only writer, so what follows `before` is the part of this line.
    if (::ftruncate(fd_, before.st_size) != 0)
        return cannot("take back a torn line of", path_ / events_name, errno);
    return cannot("write", path_ / events_name, error);
}

std::expected<Folded, std::string> RunDir::finish() const
{
    auto folded = load_run(path_);
    if (!folded)
        return folded;
    if (auto written = write_reports(path_, folded->run); !written)
        return std::unexpected{written.error()};
    return folded;
}

std::expected<Folded, std::string> load_run(const fs::path& folder)
{
    const auto text = read_whole(folder / events_name);
    if (!text)
        return std::unexpected{text.error()};
    return fold(*text);
}

std::expected<void, std::string> write_reports(const fs::path& folder, const RunResult& run)
{
    for (const auto& [name, text] : {std::pair{"results.json", results_json(run)},
                                     {"results.ktap", ktap(run)},
                                     {"junit.xml", junit(run)},
                                     {"index.html", html(run)}})
        if (auto written = write_whole(folder / name, text); !written)
            return written;
    return {};
}

std::expected<void, std::string> write_whole(const fs::path& file, std::string_view text)
{
    auto temporary = file;
    temporary += fmt::format(".{}.tmp", ::getpid());
    Fd fd{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, file_mode)};
    if (fd.get() < 0)
        return cannot("write", file, errno);
    int error = write_all(fd.get(), text);
    if (error == 0 && ::fsync(fd.get()) != 0 && errno != EINVAL) // EINVAL: a file system without it
        error = errno;
    if (error == 0 && ::close(fd.release()) != 0)
        error = errno;
    if (error == 0 && ::rename(temporary.c_str(), file.c_str()) != 0)
        error = errno == EISDIR ? EEXIST : errno;
    if (error == 0)
        return {};
    ::unlink(temporary.c_str());
    return cannot("write", file, error);
}

} // namespace reports
