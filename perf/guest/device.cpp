#include "perf/guest/device.hpp"

#include "conformance/driver/expect.hpp"
#include "conformance/server/process.hpp"
#include "perf/guest/run_load.hpp"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace perf {

namespace {

namespace fs = std::filesystem;
using conformance::errno_text;
using conformance::expect_true;
using conformance::fail;
using conformance::must_run;

// One queue of this depth for every subject whose depth can be chosen.
constexpr unsigned queue_depth = 128;

std::string line_of(const fs::path& file)
{
    std::ifstream stream(file);
    std::string line;
    std::getline(stream, line);
    return line;
}

// A single queue gets mq-deadline by default, and the comparison would be one of schedulers.
void use_no_scheduler(const std::string& disk)
{
    const auto file = fs::path("/sys/block") / fs::path(disk).filename() / "queue/scheduler";
    if (const auto now = line_of(file); now.empty() || now == "none") // brd has no requests to schedule
        return;
    std::ofstream(file) << "none";
    expect_true(line_of(file).contains("[none]"), fmt::format("{} takes the scheduler none", disk));
}

} // namespace

bool needs_backing(const Subject& subject)
{
    return subject.backend == "file" || subject.backend == "loop";
}

std::vector<std::string> add_command(const Subject& subject, const Added& added)
{
    const bool ours = subject.kind == Subject::Kind::server;
    std::vector<std::string> command{subject.program,          "add",
                                     ours ? "--id" : "-n",     added.id,
                                     ours ? "--type" : "-t",   subject.backend,
                                     ours ? "--queues" : "-q", std::to_string(added.queues),
                                     ours ? "--depth" : "-d",  std::to_string(added.depth)};
    command.insert(command.end(), subject.options.begin(), subject.options.end());
    if (ours) {
        const bool file = needs_backing(subject);
        command.insert(command.end(), {"--daemon", file ? "--file" : "--size",
                                       file ? added.backing : std::to_string(working_set)});
    } else if (needs_backing(subject)) {
        command.push_back(added.backing);
    }
    return command;
}

std::vector<std::string> delete_command(const Subject& subject, const std::string& id)
{
    if (subject.kind == Subject::Kind::server)
        return {subject.program, "delete", id};
    return {subject.program, "del", "-n", id};
}

Device::Device(const Subject& subject, unsigned id, unsigned queues)
    : subject_(subject), id_(std::to_string(id))
{
    switch (subject.kind) {
    case Subject::Kind::null_blk:
        disk_ = "/dev/nullb0";
        break;
    case Subject::Kind::brd:
        disk_ = "/dev/ram0";
        break;
    case Subject::Kind::loop:
        attach_loop();
        break;
    case Subject::Kind::server:
    case Subject::Kind::kublk:
        start_server(queues);
        break;
    }
    expect_true(::access(disk_.c_str(), R_OK | W_OK) == 0, fmt::format("{} has {}", subject.name, disk_));
    use_no_scheduler(disk_);
    constexpr unsigned piece = 128 * 1024;
    run_load(disk_, {.random = false,
                     .write_percent = 100,
                     .block = piece,
                     .depth = 8,
                     .span = working_set,
                     .ios = working_set / piece});
}

Device::~Device()
{
    if (backing_fd_ >= 0)
        ::close(backing_fd_);
}

void Device::make_backing()
{
    backing_ = fmt::format("/tmp/{}.img", id_);
    std::ofstream(backing_).close();
    fs::resize_file(backing_, working_set);
}

void Device::start_server(unsigned queues)
{
    disk_ = "/dev/ublkb" + id_;
    if (needs_backing(subject_))
        make_backing();
    must_run(add_command(subject_, {.id = id_, .backing = backing_, .queues = queues, .depth = queue_depth}));
}

void Device::attach_loop()
{
    backing_ = fmt::format("/tmp/{}.img", id_);
    backing_fd_ = ::open(backing_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const int number = control < 0 ? -1 : ::ioctl(control, LOOP_CTL_GET_FREE);
    const int error = errno;
    if (control >= 0)
        ::close(control);
    if (number < 0 || backing_fd_ < 0)
        fail("the kernel's loop driver gives a device", errno_text(error));
    fs::resize_file(backing_, working_set);
    disk_ = fmt::format("/dev/loop{}", number);
    const int loop = ::open(disk_.c_str(), O_RDWR | O_CLOEXEC);
    loop_config config{};
    config.fd = static_cast<__u32>(backing_fd_);
    const bool attached = loop >= 0 && ::ioctl(loop, LOOP_CONFIGURE, &config) == 0;
    const int why = errno;
    if (loop >= 0)
        ::close(loop);
    if (!attached)
        fail(fmt::format("{} takes a file on tmpfs", disk_), errno_text(why));
}

void Device::end()
{
    if (subject_.kind == Subject::Kind::server || subject_.kind == Subject::Kind::kublk)
        must_run(delete_command(subject_, id_));
    if (subject_.kind == Subject::Kind::loop) {
        const int loop = ::open(disk_.c_str(), O_RDWR | O_CLOEXEC);
        expect_true(loop >= 0 && ::ioctl(loop, LOOP_CLR_FD) == 0, fmt::format("{} is detached", disk_));
        ::close(loop);
    }
    std::error_code ec;
    if (!backing_.empty())
        fs::remove(backing_, ec);
}

} // namespace perf
