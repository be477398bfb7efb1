#include "conformance/driver/live.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <utility>

namespace conformance {

namespace wire = ublk::wire;

namespace {

Device make_with(Driver& driver, const Params& params, const AddOptions& options, Where where)
{
    Device device = driver.make(options, false, where);
    if (const long res = device.set_params(params); res != 0)
        fail("SET_PARAMS takes the parameters of this case", result_text(res), where);
    return device;
}

Server::Options server_options(const AddOptions& options)
{
    const Features no_buffers = Feature::user_copy | Feature::support_zero_copy | Feature::auto_buf_reg;
    return {.copy_buffers = !options.flags.has_any(no_buffers)};
}

} // namespace

Live::Live(Driver& driver, const Params& params, const AddOptions& options, Where where)
    : device(make_with(driver, params, options, where)), server(device, server_options(options), where)
{
    if (server.buffer(0, 0) == nullptr) {
        if (const int res = server.ring().register_empty_buffers(buffer_slots); res != 0)
            fail("a table of fixed buffers", result_text(res), where);
    }
    server.go_live(where);
}

Live::Held Live::hold_read(std::uint64_t sector, std::size_t bytes, Where where)
{
    auto app = App::read(device, sector, bytes);
    return {std::move(app), server.expect_request("the application's read", where)};
}

Live::Held Live::hold_write(std::uint64_t sector, std::size_t bytes, Where where)
{
    auto app = App::write(device, sector, bytes, std::byte{0xd7});
    return {std::move(app), server.expect_request("the application's write", where)};
}

long Live::finish(Held& held, std::int32_t result, Where where)
{
    server.commit(held.request.q, held.request.tag, result);
    return server.serve_until(held.app, where);
}

std::uint64_t sysfs_number(const Device& device, const std::string& name, Where where)
{
    const auto text = device.sysfs(name);
    std::uint64_t number = 0;
    const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (err != std::errc{} || end != text.data() + text.size())
        fail(fmt::format("{} is a number", name), fmt::format("\"{}\"", text), where);
    return number;
}

// ---- Worker ----

Worker::Worker() : thread_([this] { loop(); }) {}

Worker::~Worker()
{
    {
        const std::lock_guard guard(lock_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Worker::loop()
{
    auto ring = wire::Ring::open({.entries = 64, .sqe128 = false});
    std::unique_lock guard(lock_);
    while (ring) {
        changed_.wait(guard, [this] { return ending_ || job_.valid(); });
        if (!job_.valid())
            return;
        auto job = std::exchange(job_, {});
        guard.unlock();
        job(*ring);
        guard.lock();
    }
}

long Worker::run(const std::function<long(wire::Ring&)>& job)
{
    std::packaged_task<long(wire::Ring&)> task(job);
    auto answer = task.get_future();
    {
        const std::lock_guard guard(lock_);
        job_ = std::move(task);
    }
    changed_.notify_all();
    return answer.get();
}

long Worker::io(int fd, IoNr nr, const IoCmd& cmd, Millis limit)
{
    return run([=, token = ++last_token_](wire::Ring& ring) -> long {
        wire::prep_io(*ring.sqe(), fd, ublk::uapi::opcode(nr), cmd, token);
        if (const int res = ring.submit(); res < 0)
            return res;
        while (const auto done = ring.wait(limit)) {
            if (done->user_data == token)
                return done->res;
        }
        return -ETIME;
    });
}

void set_sysfs(const Device& device, const std::string& name, const std::string& value, Where where)
{
    std::ofstream(fmt::format("/sys/block/ublkb{}/{}", device.id(), name)) << value;
    expect_eq(value, device.sysfs(name), name, where);
}

Params discard_params(ublk::uapi::Attrs attrs)
{
    Params params = basic_params();
    params.types |= ublk::uapi::ParamTypes(ParamType::discard).raw();
    params.basic.attrs = attrs.raw();
    params.discard = {.discard_granularity = 4096,
                      .max_discard_sectors = 128,
                      .max_write_zeroes_sectors = 128,
                      .max_discard_segments = 1};
    return params;
}

long range_ioctl(int fd, unsigned long request, std::uint64_t bytes)
{
    std::uint64_t range[2] = {0, bytes};
    return sys(::ioctl(fd, request, range));
}

App app_with(const Device& device, int flags, std::function<long(int)> call)
{
    return App([path = device.block_path(), flags, call = std::move(call)] {
        const auto fd = ublk::wire::open_node(path, flags);
        return fd ? call(fd->get()) : -static_cast<long>(fd.error());
    });
}

bool is_op(const Server::Request& request, IoOp op)
{
    return request.desc.op() == static_cast<std::uint8_t>(op);
}

unsigned count_seen(const Server& server, IoOp op)
{
    return static_cast<unsigned>(
        std::ranges::count_if(server.seen, [op](const auto& request) { return is_op(request, op); }));
}

ReadBack read_back(const Device& device, std::size_t bytes)
{
    auto data = std::make_shared<std::vector<std::byte>>();
    return {data, app_with(device, O_RDONLY | O_DIRECT, [data, bytes](int fd) {
                const std::unique_ptr<std::byte, decltype(&std::free)> buffer(
                    static_cast<std::byte*>(std::aligned_alloc(4096, bytes)), &std::free);
                std::memset(buffer.get(), 0xcc, bytes);
                const long res = sys(::pread(fd, buffer.get(), bytes, 0));
                data->assign(buffer.get(), buffer.get() + bytes);
                return res;
            })};
}

// ---- GuardedPages ----

GuardedPages::GuardedPages(std::size_t pages) : bytes_(pages * page_size())
{
    void* base =
        ::mmap(nullptr, bytes_ + page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || ::mprotect(static_cast<std::byte*>(base) + bytes_, page_size(), PROT_NONE) != 0)
        fail("guarded pages", errno_text(errno));
    base_ = static_cast<std::byte*>(base);
}

GuardedPages::~GuardedPages()
{
    ::munmap(base_, bytes_ + page_size());
}

} // namespace conformance
