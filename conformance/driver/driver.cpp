#include "conformance/driver/driver.hpp"

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <liburing.h>
#include <sys/stat.h>
#include <sys/utsname.h>

namespace conformance {

namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

// ---- the kernel under test ----

Features kernel_features()
{
    static const Features features = [] {
        auto node = wire::open_node(wire::control_path, O_RDWR);
        auto ring = wire::Ring::open();
        if (!node || !ring)
            return Features{};
        std::uint64_t bits = 0;
        const CtrlCmd cmd{.len = uapi::features_len, .addr = reinterpret_cast<std::uintptr_t>(&bits)};
        if (wire::control(*ring, node->get(), uapi::opcode(CtrlNr::get_features), cmd) != 0)
            return Features{};
        return Features::from_raw(bits);
    }();
    return features;
}

uapi::KernelVersion kernel_version()
{
    utsname name{};
    uapi::KernelVersion version;
    if (::uname(&name) == 0)
        std::sscanf(name.release, "%u.%u.%u", &version.major, &version.minor, &version.patch);
    return version;
}

bool kernel_before(unsigned major, unsigned minor)
{
    return kernel_version() < uapi::KernelVersion{major, minor, 0};
}

bool offers(Feature feature)
{
    return kernel_features().has(feature);
}

bool fixed_in(std::initializer_list<uapi::KernelVersion> releases)
{
    const auto here = kernel_version();
    uapi::KernelVersion newest;
    for (const auto& release : releases) {
        if (release.major == here.major && release.minor == here.minor)
            return here >= release;
        newest = std::max(newest, release);
    }
    return here > newest;
}

unsigned possible_cpus()
{
    std::ifstream file("/sys/devices/system/cpu/possible");
    std::string list;
    std::getline(file, list);
    const auto last = list.find_last_of("-,");
    return static_cast<unsigned>(std::stoul(last == std::string::npos ? list : list.substr(last + 1))) + 1;
}

std::size_t page_size()
{
    return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// ---- commands ----

std::optional<long> Pending::wait(Millis limit)
{
    return driver_->collect(token_, limit);
}

long Pending::result(Where where)
{
    if (const auto res = wait(patience))
        return *res;
    fail("the command completes", fmt::format("it is still out after {} s", patience.count() / 1000), where);
}

void Pending::expect_pending(std::string_view what, Where where)
{
    if (const auto res = wait(settle))
        fail(fmt::format("{} stays pending", what), fmt::format("it completed with {}", result_text(*res)),
             where);
    count_check();
}

long Pending::cancel()
{
    io_uring_sqe* sqe = driver_->ring().sqe();
    const auto token = driver_->new_token();
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = token_;
    sqe->user_data = token;
    driver_->ring().submit();
    const auto res = driver_->collect(token, patience);
    return res ? *res : -ETIMEDOUT;
}

namespace {

template <typename T>
T must(std::expected<T, int> got, std::string_view what)
{
    if (!got)
        fail(fmt::format("{} works", what), errno_text(got.error()));
    return std::move(*got);
}

} // namespace

Driver::Driver(const wire::RingOptions& ring)
    : node_(must(wire::open_node(wire::control_path, O_RDWR), "opening /dev/ublk-control")),
      ring_(must(wire::Ring::open(ring), "io_uring_setup"))
{
}

Driver::~Driver()
{
    // Best effort, and never for ever: a case may have left the device in any state.
    for (const auto& [id, live] : added_) {
        if (!live)
            continue;
        // The ring of the server that has just gone is taken apart in a work queue of the kernel, and holds
        // the device until it is. A DEL_DEV beside that makes 7.3.4 warn now and then, in whichever case it
        // is: known/reports/ring-exit-beside-del-dev.md.
        eventually(
            [&, path = wire::char_path(id)] {
                const auto fd = wire::open_node(path, O_RDWR);
                return fd || fd.error() != EBUSY;
            },
            500ms);
        begin(CtrlNr::del_dev, {.dev_id = id}).wait(2s);
    }
}

Pending Driver::begin(std::uint32_t op, const CtrlCmd& cmd, std::uint16_t personality)
{
    io_uring_sqe* sqe = ring_.sqe();
    if (sqe == nullptr)
        fail("room in the control ring", "the submission queue is full");
    const auto token = new_token();
    wire::prep_control(*sqe, ring_.sqe128(), node_.get(), op, cmd, token);
    sqe->personality = personality;
    if (const int res = ring_.submit(); res < 0)
        fail("io_uring_enter takes the command", result_text(res));
    return {*this, token};
}

long Driver::control(std::uint32_t op, const CtrlCmd& cmd, Where where)
{
    return begin(op, cmd).result(where);
}

long Driver::control(CtrlNr nr, const CtrlCmd& cmd, Where where)
{
    return control(uapi::opcode(nr), cmd, where);
}

std::optional<long> Driver::collect(std::uint64_t token, Millis limit)
{
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
        if (const auto found = finished_.find(token); found != finished_.end())
            return found->second;
        const auto left = std::chrono::duration_cast<Millis>(end - std::chrono::steady_clock::now());
        const auto done = left > 0ms ? ring_.wait(left) : ring_.poll();
        if (done)
            finished_[done->user_data] = done->res;
        else if (left <= 0ms)
            return std::nullopt;
    }
}

DevInfo to_info(const AddOptions& options)
{
    return {.nr_hw_queues = static_cast<std::uint16_t>(options.nr_hw_queues),
            .queue_depth = static_cast<std::uint16_t>(options.queue_depth),
            .io_desc_size = options.io_desc_size,
            .max_io_buf_bytes = options.max_io_buf_bytes,
            .dev_id = options.dev_id,
            .flags = options.flags.raw()};
}

long Driver::add_raw(const CtrlCmd& cmd, DevInfo& info)
{
    const long res = control(CtrlNr::add_dev, cmd);
    if (res == 0)
        added_[info.dev_id] = true;
    return res;
}

Added Driver::add(const AddOptions& options)
{
    Added added{.info = to_info(options)};
    added.res = add_raw({.dev_id = options.header_dev_id.value_or(options.dev_id),
                         .queue_id = options.queue_id,
                         .len = options.len,
                         .addr = reinterpret_cast<std::uintptr_t>(&added.info)},
                        added.info);
    return added;
}

Device Driver::make(AddOptions options, bool scan, Where where)
{
    if (!scan && offers(Feature::no_auto_part_scan))
        options.flags |= Feature::no_auto_part_scan;
    const Added added = add(options);
    if (added.res != 0)
        fail("ADD_DEV makes the device of this case", result_text(added.res), where);
    return {*this, added.info};
}

long Driver::del(const CtrlCmd& cmd)
{
    const long res = control(CtrlNr::del_dev, cmd);
    if (res == 0)
        added_[cmd.dev_id] = false;
    return res;
}

// ---- a device ----

Params basic_params(std::uint64_t sectors)
{
    Params params{.len = sizeof(Params), .types = uapi::ParamTypes(ParamType::basic).raw()};
    params.basic = {.logical_bs_shift = 9,
                    .physical_bs_shift = 12,
                    .io_opt_shift = 12,
                    .io_min_shift = 12,
                    .max_sectors = 128,
                    .dev_sectors = sectors};
    return params;
}

Device::Device(Driver& driver, const DevInfo& info) : driver_(&driver), added_(info)
{
    if (Features::from_raw(info.flags).has(Feature::unprivileged_dev))
        path_ = std::make_shared<const std::string>(char_path());
}

CtrlCmd Device::cmd(std::uint64_t data) const
{
    if (!path_)
        return {.dev_id = id(), .data = data};
    auto with_path = cmd(path_->data(), path_->size(), data);
    with_path.dev_path_len = static_cast<std::uint16_t>(path_->size());
    return with_path;
}

CtrlCmd Device::cmd(const void* buffer, std::size_t len, std::uint64_t data) const
{
    return {.dev_id = id(),
            .len = static_cast<std::uint16_t>(len),
            .addr = reinterpret_cast<std::uintptr_t>(buffer),
            .data = data};
}

long Device::exchange(CtrlNr nr, void* payload, std::size_t len, Where where) const
{
    if (!path_)
        return driver_->control(nr, cmd(payload, len), where);
    std::string buffer = *path_;
    buffer.append(static_cast<const char*>(payload), len);
    auto with_path = cmd(buffer.data(), buffer.size());
    with_path.dev_path_len = static_cast<std::uint16_t>(path_->size());
    const long res = driver_->control(nr, with_path, where);
    std::memcpy(payload, buffer.data() + path_->size(), len);
    return res;
}

long Device::set_params(const Params& params) const
{
    auto copy = params;
    return exchange(CtrlNr::set_params, &copy, sizeof(copy));
}

long Device::get_params(Params& params) const
{
    if (params.len == 0)
        params.len = sizeof(params);
    return exchange(CtrlNr::get_params, &params, sizeof(params));
}

long Device::get_info(DevInfo& info) const
{
    return exchange(CtrlNr::get_dev_info, &info, sizeof(info));
}

DevInfo Device::info(Where where) const
{
    DevInfo info;
    if (const long res = get_info(info); res != 0)
        fail("GET_DEV_INFO works", result_text(res), where);
    return info;
}

Fd Device::open_char_soon(int flags, Where where) const
{
    std::expected<Fd, int> fd = std::unexpected(EBUSY);
    eventually([&] {
        fd = open_char(flags);
        return fd.has_value() || fd.error() != EBUSY;
    });
    if (!fd)
        fail(fmt::format("{} opens", char_path()), errno_text(fd.error()), where);
    return std::move(*fd);
}

bool Device::has_char_node() const
{
    return ::access(char_path().c_str(), F_OK) == 0;
}

bool Device::has_disk() const
{
    return ::access(fmt::format("/sys/block/ublkb{}", id()).c_str(), F_OK) == 0;
}

std::string Device::sysfs(const std::string& name) const
{
    std::ifstream file(fmt::format("/sys/block/ublkb{}/{}", id(), name));
    std::string text;
    std::getline(file, text);
    return text;
}

} // namespace conformance
