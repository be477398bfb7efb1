#include "ublk/engine/device.hpp"

#include "ublk/engine/parameters.hpp"
#include "ublk/engine/queue_threads.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace ublk::engine {

std::uint64_t sectors_of_disk(std::uint32_t device) noexcept
{
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "/sys/class/block/ublkb%u/size", device);
    const wire::Fd file(::open(text.data(), O_RDONLY | O_CLOEXEC));
    text = {};
    if (!file || ::read(file.get(), text.data(), text.size() - 1) <= 0)
        return 0;
    return std::strtoull(text.data(), nullptr, 10);
}

Result<wire::Fd> open_when_there(const std::string& path, int flags)
{
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::milliseconds pause(2);
    const auto deadline = Clock::now() + std::chrono::seconds(10);
    for (;;) {
        auto fd = wire::open_node(path, flags);
        if (fd)
            return std::move(*fd);
        const int code = fd.error();
        const bool may_pass = code == ENOENT || code == EACCES || code == EBUSY || code == ENXIO;
        if (!may_pass || Clock::now() >= deadline) {
            Error error = make_error("open " + path, code);
            if (code == ENOENT)
                error.hint = "nothing made the node: mount devtmpfs on /dev, or run udev";
            if (code == EBUSY)
                error.hint = "another process has it open";
            return std::unexpected(std::move(error));
        }
        std::this_thread::sleep_for(pause);
    }
}

namespace {

// udev gives the nodes of an unprivileged device to its owner a moment after the driver announced them. Until
// then no command for it is allowed.
Result<void> wait_for_access(const std::string& path)
{
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::milliseconds pause(2);
    const auto deadline = Clock::now() + std::chrono::seconds(10);
    while (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) != 0) {
        if (Clock::now() >= deadline) {
            Error error = make_error("open " + path, errno);
            error.hint =
                "nothing gave the node to its owner: install the udev rule that comes with ublk-serve";
            return std::unexpected(std::move(error));
        }
        std::this_thread::sleep_for(pause);
    }
    return {};
}

} // namespace

DeviceClaim::DeviceClaim(DeviceClaim&& other) noexcept
    : control_(std::exchange(other.control_, nullptr)), info_(other.info_), stays_(other.stays_)
{
}

DeviceClaim& DeviceClaim::operator=(DeviceClaim&& other) noexcept
{
    std::swap(control_, other.control_);
    std::swap(info_, other.info_);
    std::swap(stays_, other.stays_);
    return *this;
}

DeviceClaim::~DeviceClaim()
{
    if (control_ != nullptr && !stays_) [[maybe_unused]]
        const auto removed = control_->remove(info_.dev_id);
}

Result<void> DeviceClaim::remove()
{
    return std::exchange(control_, nullptr)->remove(info_.dev_id);
}

Result<Created> Created::add(Control& control, const DeviceOptions& options)
{
    uapi::DevInfo wanted;
    wanted.dev_id = options.id;
    wanted.nr_hw_queues = options.queues;
    wanted.queue_depth = options.depth;
    wanted.max_io_buf_bytes = options.max_io_bytes;
    const uapi::Features needed = needed_features(options);
    wanted.flags = (needed | wished_features(options) | uapi::Feature::cmd_ioctl_encode).raw();
    auto info = control.add(wanted);
    if (!info)
        return std::unexpected(std::move(info.error()));
    DeviceClaim claim(control, *info); // removes the device if we cannot use it
    // The driver drops flags that it does not know instead of refusing them.
    const uapi::Features missing = needed.without(uapi::Features::from_raw(info->flags));
    if (!missing.empty()) {
        Error error = make_error("ADD_DEV", EOPNOTSUPP, info->dev_id);
        error.hint = "this kernel does not offer " + uapi::to_string(missing);
        return std::unexpected(std::move(error));
    }
    if (options.unprivileged)
        if (auto allowed = wait_for_access(wire::char_path(info->dev_id)); !allowed)
            return std::unexpected(std::move(allowed.error()));
    return Created(std::move(claim), options.serving);
}

Result<Configured> Created::set_parameters(const uapi::Params& params) &&
{
    if (auto set = claim_.control().set_params(claim_.info().dev_id, params); !set)
        return std::unexpected(std::move(set.error()));
    return Configured(std::move(claim_), serving_, params);
}

Result<Recovering> Recovering::begin(Control& control, std::uint32_t id, const ServingOptions& serving,
                                     std::chrono::milliseconds patience)
{
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::milliseconds pause(5);
    auto info = control.info(id);
    if (!info)
        return std::unexpected(std::move(info.error()));
    if (data_path_of(uapi::Features::from_raw(info->flags)) == DataPath::shmem) {
        Error error = make_error("recovery", EOPNOTSUPP, id);
        error.hint = "its shared memory belongs to a server that is gone: delete the device and add another";
        return std::unexpected(std::move(error));
    }
    const auto deadline = Clock::now() + patience;
    for (;;) {
        auto started = control.start_recovery(id);
        if (started)
            break;
        // Busy as well while a dead server is still being cleaned up after.
        if (!(started.error() == std::errc::device_or_resource_busy) || Clock::now() >= deadline)
            return std::unexpected(std::move(started.error()));
        std::this_thread::sleep_for(pause);
    }
    info = control.info(id);
    if (!info)
        return std::unexpected(std::move(info.error()));
    auto params = control.params(id);
    if (!params)
        return std::unexpected(std::move(params.error()));
    ServingOptions own = serving;
    own.data_path = data_path_of(uapi::Features::from_raw(info->flags));
    own.batch = uapi::Features::from_raw(info->flags).has(uapi::Feature::batch_io);
    return Recovering(DeviceClaim(control, *info, true), own, *params);
}

Result<void> PrepareStep::check_backend(bool serves_unmapped, bool may_share,
                                        const Integrity& integrity) const
{
    const std::uint32_t id = claim_.info().dev_id;
    if (!serves_unmapped && !is_mapped(serving_.data_path))
        return std::unexpected(needs_mapped_payload(serving_.data_path, id));
    if (!may_share && serving_.data_path == DataPath::shmem) {
        Error error = make_error("data path shmem", EINVAL, id);
        error.hint = "neither this backend nor its queue can share memory: use copy";
        return std::unexpected(std::move(error));
    }
    if (integrity == integrity_of(params_))
        return {};
    Error error = make_error("integrity", EINVAL, id);
    error.hint = "the device has other metadata than this backend: give the one that it was made with";
    return std::unexpected(std::move(error));
}

// Before there is a disk: with one, the driver would wait for its requests.
Result<void> PrepareStep::register_shared()
{
    const std::uint32_t id = claim_.info().dev_id;
    for (std::size_t number = 0; number < serving_.shared.size(); ++number) {
        const auto index = claim_.control().register_memory(id, serving_.shared[number]);
        if (!index)
            return std::unexpected(index.error());
        if (*index != number) {
            Error error = make_error("REG_BUF", EPROTO, id);
            error.hint = "somebody else has registered memory with the device";
            return std::unexpected(std::move(error));
        }
    }
    return {};
}

Result<Prepared> PrepareStep::prepare_queues(QueueBody body, EndedFn on_end)
{
    if (auto registered = register_shared(); !registered)
        return std::unexpected(std::move(registered.error()));
    Control& control = claim_.control();
    const std::uint32_t id = claim_.info().dev_id;
    std::vector<CpuMask> masks;
    for (std::uint16_t queue = 0; queue < claim_.info().nr_hw_queues; ++queue) {
        auto mask = control.affinity(id, queue);
        if (!mask)
            return std::unexpected(std::move(mask.error()));
        masks.push_back(std::move(*mask));
    }
    auto char_fd = open_when_there(wire::char_path(id), O_RDWR);
    if (!char_fd)
        return std::unexpected(std::move(char_fd.error()));
    wire::Fd ended(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), leave(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!ended || !leave)
        return std::unexpected(make_error("eventfd", errno, id));

    Prepared prepared(std::move(claim_), std::make_unique<QueueThreads>(std::move(*char_fd), std::move(ended),
                                                                        std::move(leave), std::move(on_end)));
    auto launched =
        prepared.threads_->launch(prepared.info(), serving_, integrity_of(params_), masks, std::move(body));
    if (!launched)
        return std::unexpected(std::move(launched.error())); // `prepared` gives the FETCHes back
    return prepared;
}

Prepared::Prepared(DeviceClaim claim, std::unique_ptr<QueueThreads> threads)
    : claim_(std::move(claim)), threads_(std::move(threads))
{
}

Prepared::Prepared(Prepared&&) noexcept = default;

Prepared::~Prepared()
{
    if (threads_ != nullptr)
        give_back();
}

// Gets the FETCHes back, so that the threads end. A disk that was to be recovered is not stopped for that:
// it waits for the next try.
void Prepared::give_back() noexcept
{
    if (claim_.stays())
        threads_->leave();
    else [[maybe_unused]]
        const auto stopped = claim_.control().stop(claim_.info().dev_id);
    threads_->join();
    threads_.reset();
}

Result<Running> Prepared::start(int interrupt_fd) &&
{
    const std::uint32_t id = claim_.info().dev_id;
    auto started = claim_.stays() ? claim_.control().end_recovery(id, ::getpid(), interrupt_fd)
                                  : claim_.control().start(id, ::getpid(), interrupt_fd);
    if (!started) {
        give_back();
        return std::unexpected(std::move(started.error()));
    }
    return Running(std::move(claim_), std::move(threads_));
}

Running::Running(DeviceClaim claim, std::unique_ptr<QueueThreads> threads)
    : claim_(std::move(claim)), threads_(std::move(threads))
{
}

Running::Running(Running&&) noexcept = default;

Running::~Running()
{
    if (threads_ == nullptr)
        return;
    if (failure()) {
        std::move(*this).abandon();
        return;
    }
    [[maybe_unused]] const auto stopped = claim_.control().stop(claim_.info().dev_id);
    threads_->join();
}

Result<uapi::DevInfo> Running::state() const
{
    return claim_.control().info(claim_.info().dev_id);
}

int Running::ended_fd() const
{
    return threads_->ended_fd();
}

std::optional<Error> Running::failure() const
{
    return threads_->failure();
}

Result<void> Running::resize(std::uint64_t bytes)
{
    return claim_.control().resize(claim_.info().dev_id, bytes);
}

Result<void> Running::try_stop()
{
    return claim_.control().try_stop(claim_.info().dev_id);
}

Result<Stopped> Running::stop() &&
{
    if (auto stopped = claim_.control().stop(claim_.info().dev_id); !stopped)
        return std::unexpected(std::move(stopped.error()));
    return std::move(*this).wait_ended();
}

Result<Stopped> Running::quiesce(std::chrono::milliseconds timeout) &&
{
    if (auto quiesced = claim_.control().quiesce(claim_.info().dev_id, timeout); !quiesced)
        return std::unexpected(std::move(quiesced.error()));
    threads_->leave();
    return std::move(*this).wait_ended();
}

Stopped Running::wait_ended() &&
{
    threads_->join();
    threads_.reset();
    return Stopped(std::move(claim_));
}

void Running::abandon() &&
{
    threads_->abandon();
    // Threads may still use it; the process is about to end.
    [[maybe_unused]] const auto* leaked = threads_.release();
    claim_.leave();
}

} // namespace ublk::engine
