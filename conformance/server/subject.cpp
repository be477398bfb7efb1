#include "conformance/server/subject.hpp"

#include "conformance/server/process.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace conformance {

namespace {

namespace fs = std::filesystem;

std::optional<std::uint32_t> block_device()
{
    constexpr std::string_view prefix = "ublkb";
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator("/sys/block", ec)) {
        const auto name = entry.path().filename().string();
        if (name.starts_with(prefix))
            return static_cast<std::uint32_t>(std::stoul(name.substr(prefix.size())));
    }
    return std::nullopt;
}

std::string signal_text(int signal)
{
    const char* name = ::sigabbrev_np(signal);
    return name != nullptr ? fmt::format("it died of SIG{}", name)
                           : fmt::format("it died of signal {}", signal);
}

std::string status_text(int raw) // of wait()
{
    return WIFEXITED(raw) ? fmt::format("it exited with status {}", WEXITSTATUS(raw))
                          : signal_text(WTERMSIG(raw));
}

// How a process ended that may be somebody else's child: the last word of its stat is what wait() would say.
std::optional<std::string> end_of(pid_t pid)
{
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const auto paren = text.rfind(')');
    if (paren == std::string::npos || paren + 2 >= text.size())
        return "it is gone";
    if (const char state = text[paren + 2]; state != 'Z' && state != 'X')
        return std::nullopt;
    const auto last = text.find_last_of(' ');
    return status_text(std::atoi(text.c_str() + last));
}

std::vector<pid_t> children()
{
    std::ifstream file("/proc/thread-self/children");
    return {std::istream_iterator<pid_t>(file), {}};
}

} // namespace

const ServerProfile& profile()
{
    static const auto read = [] -> std::expected<ServerProfile, std::string> {
        std::ifstream file(profile_path);
        if (!file)
            return std::unexpected("needs a server to judge: ublkcheck server -- COMMAND");
        return decode_profile({std::istreambuf_iterator<char>(file), {}});
    }();
    if (!read)
        skip(read.error());
    return *read;
}

Subject::Subject(Where where)
{
    // What a server leaves behind when it turns itself into a daemon becomes ours, with its exit status.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    static_cast<void>(profile());
    stalls_ = std::make_unique<StallWatch>();
    prepare_backing(where);
    start(where);
}

Subject::~Subject()
{
    for (const pid_t pid : {serving_, main_, launched_})
        if (pid > 0)
            ::kill(pid, SIGKILL);
    if (!disk_.empty())
        control_.begin(CtrlNr::del_dev, {.dev_id = id_}).wait(5s);
}

void Subject::prepare_backing(Where where)
{
    if (profile().wants_disk())
        power_disk_.emplace(profile().disk_mib, where);
    for (const auto& words : profile().setup)
        must_run(power_disk_ ? filled_in(words, "{disk}", power_disk_->path()) : words, where);
}

void Subject::start(Where where)
{
    if (const auto there = block_device())
        conformance::fail("no ublk device before the server starts", fmt::format("ublkb{} is there", *there),
                          where);
    auto words = profile().command;
    if (power_disk_)
        words = filled_in(std::move(words), "{disk}", power_disk_->path());
    launched_ = spawn_program(words);
    launched_status_.reset();
    main_ = serving_ = -1;
    const auto id = await_device(where);
    if (!id)
        conformance::fail(
            "the server brings up a block device",
            fmt::format("there is none after {} s, and the server still runs", profile().start_seconds),
            where);
    adopt(*id, where);
}

std::optional<std::uint32_t> Subject::await_device(Where where)
{
    std::optional<std::uint32_t> id;
    std::optional<std::string> why;
    eventually(
        [&] {
            id = block_device();
            // The node is there before the disk behind it: until then opening it gives ENXIO.
            if (id && ublk::wire::open_node(ublk::wire::block_path(*id), O_RDONLY))
                return true;
            id.reset();
            why = nobody_left();
            return why.has_value();
        },
        std::chrono::seconds(profile().start_seconds));
    if (why)
        conformance::fail("the server brings up a block device", *why + ", before there was one", where);
    return id;
}

// How the server ended, if nothing of it is left: neither what we started nor a daemon of its making.
std::optional<std::string> Subject::nobody_left()
{
    const auto launched = reap_launched();
    if (!launched)
        return std::nullopt;
    if (*launched != 0)
        return status_text(*launched);
    std::string why = "it exited with status 0 and left no process";
    for (const pid_t pid : children()) {
        if (pid == stalls_->pid())
            continue;
        const auto end = end_of(pid);
        if (!end)
            return std::nullopt;
        why = "it exited with status 0, and of the daemon that it left: " + *end;
    }
    return why;
}

std::optional<int> Subject::reap_launched()
{
    int raw = 0;
    if (!launched_status_ && ::waitpid(launched_, &raw, WNOHANG) == launched_)
        launched_status_ = raw;
    return launched_status_;
}

// The device is there: notes what it is and who serves it.
void Subject::adopt(std::uint32_t id, Where where)
{
    id_ = id;
    disk_ = ublk::wire::block_path(id);
    DevInfo info;
    const CtrlCmd ask{.dev_id = id, .len = sizeof(info), .addr = reinterpret_cast<std::uintptr_t>(&info)};
    expect_ok(control_.control(CtrlNr::get_dev_info, ask), "GET_DEV_INFO of the server's device", where);
    serving_ = info.ublksrv_pid;
    features_ = Features::from_raw(info.flags);
    // A server that makes a daemon of itself leaves its first process soon after the device is there.
    if (serving_ != launched_)
        eventually([this] { return reap_launched().has_value(); }, 2s);
    main_ = launched_status_ && serving_ > 0 ? serving_ : launched_;
    if (launched_status_.value_or(0) != 0)
        conformance::fail("what started the server exits with status 0", status_text(*launched_status_),
                          where);
    stalls_->guard({main_, serving_});
    constexpr std::uint64_t sector = 512; // what sysfs counts in, whatever the block size
    size_ = sysfs_number("size") * sector;
    // Recent kernels refuse direct requests whose length is not a multiple of this as well.
    block_ = std::max(sysfs_number("queue/logical_block_size"), sysfs_number("queue/dma_alignment") + 1);
    if (size_ == 0 || block_ < sector)
        conformance::fail("sysfs says how large the device and its blocks are",
                          fmt::format("size {}, logical_block_size {}", size_, block_), where);
}

std::string Subject::sysfs(const std::string& name) const
{
    std::ifstream file(fmt::format("/sys/block/ublkb{}/{}", id_, name));
    std::string text;
    std::getline(file, text);
    return text;
}

std::uint64_t Subject::sysfs_number(const std::string& name) const
{
    return std::strtoull(sysfs(name).c_str(), nullptr, 10);
}

std::optional<std::string> Subject::ended() const
{
    auto end = end_of(main_);
    if (!end && serving_ > 0 && serving_ != main_)
        end = end_of(serving_);
    return end;
}

void Subject::fail(std::string expected, std::string observed, Where where) const
{
    if (const auto stalled = stalls_->stalled())
        conformance::fail("the server answers every request",
                          fmt::format("unanswered: {}; the server was killed for it", *stalled), where);
    // Requests fail while a dying server's files are closed, a moment before it has ended.
    std::optional<std::string> end;
    if (eventually([&] { return (end = ended()).has_value(); }, 1s))
        conformance::fail("the server serves until it is told to end", fmt::format("{}; {}", *end, observed),
                          where);
    conformance::fail(std::move(expected), std::move(observed), where);
}

std::shared_ptr<Fd> Subject::keep(Fd fd) const
{
    auto kept = std::make_shared<Fd>(std::move(fd));
    open_.push_back(kept);
    return kept;
}

void Subject::close_all()
{
    for (const auto& fd : open_)
        if (const auto there = fd.lock())
            there->reset();
    open_.clear();
}

void Subject::signal(int sig) const
{
    ::kill(main_, sig);
    if (serving_ > 0 && serving_ != main_)
        ::kill(serving_, sig);
}

void Subject::finish(Where where)
{
    tell_to_end(where);
    expect_ended(where);
}

void Subject::tell_to_end(Where where)
{
    if (stalls_->stalled() || ended())
        fail("the server serves until it is told to end", "it was to be told now", where);
    close_all();
    if (profile().end.empty())
        ::kill(main_, SIGTERM);
    else
        must_run(filled_in(profile().end, "{id}", std::to_string(id_)), where);
}

void Subject::expect_ended(Where where)
{
    std::optional<std::string> end;
    if (!eventually([&] { return (end = end_of(main_)).has_value(); },
                    std::chrono::seconds(profile().end_seconds)))
        conformance::fail("the server ends when it is told to",
                          fmt::format("it is still there after {} s", profile().end_seconds), where);
    if (*end != fmt::format("it exited with status {}", profile().end_status))
        conformance::fail(fmt::format("the server, told to end, exits with status {}", profile().end_status),
                          *end, where);
    count_check();
    const auto left = [this] {
        for (const auto& path : {disk_, ublk::wire::char_path(id_)})
            if (::access(path.c_str(), F_OK) == 0)
                return path;
        return std::string();
    };
    if (!eventually([&] { return left().empty(); }, 2s))
        conformance::fail("the server takes its device with it when it ends",
                          fmt::format("{} is left behind", left()), where);
    disk_.clear();
    reap();
}

void Subject::kill(Where where)
{
    watch_stalls(true);
    close_all();
    signal(SIGKILL);
    if (!eventually([this] { return ended().has_value(); }))
        conformance::fail("a killed server ends", "it is still there", where);
    delete_device(where);
    reap();
}

void Subject::delete_device(Where where)
{
    const auto res = control_.begin(CtrlNr::del_dev, {.dev_id = id_}).wait(patience);
    if (!res)
        conformance::fail("DEL_DEV ends", fmt::format("it is still out after {} s", patience.count() / 1000),
                          where);
    if (*res != -ENODEV) // the server was faster
        expect_ok(*res, "DEL_DEV", where);
    disk_.clear();
}

void Subject::start_again(Where where)
{
    start(where);
}

void Subject::watch_stalls(bool on) const
{
    stalls_->enable(on);
}

// Ended processes of the server; a daemon of its making became our child.
void Subject::reap()
{
    stalls_->guard({0, 0});
    for (const pid_t pid : {launched_, main_, serving_})
        if (pid > 0)
            ::waitpid(pid, nullptr, WNOHANG);
    launched_ = main_ = serving_ = -1;
}

// ---- Waiting ----

Waiting::Waiting(const Subject& subject, const char* what, std::uint64_t offset, std::uint64_t bytes,
                 std::chrono::seconds limit)
    : subject_(subject), slot_(subject.stalls_->begin(what, offset, bytes, limit))
{
}

Waiting::~Waiting()
{
    subject_.stalls_->end(slot_);
}

} // namespace conformance
