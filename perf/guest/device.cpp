#include "perf/guest/device.hpp"

#include "conformance/driver/expect.hpp"
#include "conformance/server/process.hpp"
#include "perf/guest/generator.hpp"

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
using conformance::expect_eq;
using conformance::expect_true;
using conformance::fail;
using conformance::must_run;

// One queue of this depth for every subject whose depth can be chosen.
constexpr int queue_depth = 128;

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

Device::Device(const Subject& subject, unsigned id) : subject_(subject), id_(std::to_string(id))
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
        start_server();
        break;
    }
    expect_true(::access(disk_.c_str(), R_OK | W_OK) == 0, fmt::format("{} has {}", subject.name, disk_));
    use_no_scheduler(disk_);
    constexpr unsigned piece = 128 * 1024;
    const auto written = generate(disk_, {.random = false,
                                          .write_percent = 100,
                                          .block = piece,
                                          .depth = 8,
                                          .span = working_set,
                                          .ios = working_set / piece});
    if (!written)
        fail(fmt::format("{} is written once", subject.name), written.error());
}

Device::~Device()
{
    if (backing_fd_ >= 0)
        ::close(backing_fd_);
}

void Device::start_server()
{
    disk_ = "/dev/ublkb" + id_;
    std::vector<std::string> command{subject_.program,
                                     "add",
                                     "--daemon",
                                     "--id",
                                     id_,
                                     "--type",
                                     subject_.backend,
                                     "--queues",
                                     "1",
                                     "--depth",
                                     std::to_string(queue_depth)};
    if (subject_.backend == "file") {
        backing_ = fmt::format("/tmp/{}.img", id_);
        std::ofstream(backing_).close();
        fs::resize_file(backing_, working_set);
        command.insert(command.end(), {"--file", backing_});
    } else {
        command.insert(command.end(), {"--size", std::to_string(working_set)});
    }
    must_run(command);
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
    if (subject_.kind == Subject::Kind::server)
        must_run({subject_.program, "delete", id_});
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
