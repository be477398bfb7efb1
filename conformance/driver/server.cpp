#include "conformance/driver/server.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <thread>
#include <utility>

namespace conformance {

namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

// ---- App ----

App::App(std::function<long()> call)
{
    std::packaged_task<long()> task(std::move(call));
    future_ = task.get_future().share();
    std::thread(std::move(task)).detach();
}

bool App::done() const
{
    return future_.wait_for(0s) == std::future_status::ready;
}

namespace {

using Aligned = std::unique_ptr<void, decltype(&std::free)>;

Aligned aligned_buffer(std::size_t bytes)
{
    return {std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096), &std::free};
}

} // namespace

App App::read(const Device& device, std::uint64_t sector, std::size_t bytes)
{
    return App([path = device.block_path(), sector, bytes] {
        const auto fd = wire::open_node(path, O_RDONLY | O_DIRECT);
        if (!fd)
            return -static_cast<long>(fd.error());
        const auto buffer = aligned_buffer(bytes);
        return sys(::pread(fd->get(), buffer.get(), bytes, static_cast<off_t>(sector * uapi::sector_size)));
    });
}

App App::write(const Device& device, std::uint64_t sector, std::size_t bytes, std::byte fill)
{
    return App([path = device.block_path(), sector, bytes, fill] {
        const auto fd = wire::open_node(path, O_WRONLY | O_DIRECT);
        if (!fd)
            return -static_cast<long>(fd.error());
        const auto buffer = aligned_buffer(bytes);
        std::memset(buffer.get(), static_cast<int>(fill), bytes);
        return sys(::pwrite(fd->get(), buffer.get(), bytes, static_cast<off_t>(sector * uapi::sector_size)));
    });
}

// ---- Server ----

void Server::Unmap::operator()(std::byte* p) const
{
    ::munmap(p, bytes);
}

Server::Server(const Device& device, const Options& options, Where where)
    : device_(device), node_(device.open_char_soon(O_RDWR, where)),
      tag_token_(std::size_t{device.queues()} * device.depth())
{
    handler = [this](const Request& request) { return std::optional(serve_from_memory(request)); };
    auto ring = wire::Ring::open(options.ring);
    if (!ring)
        fail("io_uring_setup works", errno_text(ring.error()), where);
    ring_ = std::move(*ring);
    const auto desc_size = std::max<unsigned>(device.added().io_desc_size, uapi::min_io_desc_size);
    for (unsigned q = 0; options.map && q < device.queues(); ++q) {
        auto map = wire::DescriptorMap::map(node_.get(), q, device.depth(), desc_size);
        if (!map)
            fail(fmt::format("the descriptors of queue {} map", q), errno_text(map.error()), where);
        maps_.push_back(std::move(*map));
    }
    if (options.copy_buffers) {
        const std::size_t bytes = tag_token_.size() * device.added().max_io_buf_bytes;
        void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED)
            fail("memory for the tag buffers", errno_text(errno), where);
        buffers_ = {static_cast<std::byte*>(base), Unmap{bytes}};
    }
}

std::byte* Server::buffer(unsigned q, unsigned tag)
{
    if (!buffers_)
        return nullptr;
    return buffers_.get() + (std::size_t{q} * device_.depth() + tag) * device_.added().max_io_buf_bytes;
}

std::uint64_t Server::send(std::uint32_t op, const IoCmd& cmd)
{
    io_uring_sqe* sqe = ring_->sqe();
    if (sqe == nullptr)
        fail("room in the server's ring", "the submission queue is full");
    const auto token = ++last_token_;
    wire::prep_io(*sqe, node_.get(), op, cmd, token);
    sqe->addr = uapi::to_sqe_addr(auto_buf);
    if (const int res = ring_->submit(); res < 0)
        fail("io_uring_enter takes the command", result_text(res));
    return token;
}

std::optional<long> Server::wait(std::uint64_t token, Millis limit)
{
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
        if (const auto found = finished_.find(token); found != finished_.end()) {
            const long res = found->second;
            finished_.erase(found);
            return res;
        }
        const auto left = std::chrono::duration_cast<Millis>(end - std::chrono::steady_clock::now());
        const auto done = left > 0ms ? ring_->wait(left) : ring_->poll();
        if (done)
            finished_[done->user_data] = done->res;
        else if (left <= 0ms)
            return std::nullopt;
    }
}

long Server::io(std::uint32_t op, const IoCmd& cmd, Where where)
{
    if (const auto res = wait(send(op, cmd), patience))
        return *res;
    fail("the I/O command is answered at once",
         fmt::format("it is still out after {} s", patience.count() / 1000), where);
}

std::uint64_t Server::expect_accepted(IoNr nr, const IoCmd& cmd, std::string_view what, Where where)
{
    const auto token = send(nr, cmd);
    if (const auto res = wait(token, settle))
        fail(fmt::format("{} is accepted and stays out", what),
             fmt::format("it completed with {}", result_text(*res)), where);
    count_check();
    return token;
}

IoCmd Server::cmd(unsigned q, unsigned tag, std::int32_t result)
{
    return {.q_id = static_cast<std::uint16_t>(q),
            .tag = static_cast<std::uint16_t>(tag),
            .result = result,
            .addr = buffer_addr(q, tag)};
}

void Server::fetch(unsigned q, unsigned tag)
{
    tag_token_.at(std::size_t{q} * device_.depth() + tag) = send(IoNr::fetch_req, cmd(q, tag));
}

void Server::fetch_all()
{
    for (unsigned q = 0; q < device_.queues(); ++q) {
        for (unsigned tag = 0; tag < device_.depth(); ++tag)
            fetch(q, tag);
    }
}

void Server::commit(unsigned q, unsigned tag, std::int32_t result)
{
    tag_token_.at(std::size_t{q} * device_.depth() + tag) =
        send(IoNr::commit_and_fetch_req, cmd(q, tag, result));
}

std::optional<Server::Request> Server::find_completed()
{
    for (std::size_t slot = 0; slot < tag_token_.size(); ++slot) {
        const auto found = finished_.find(tag_token_[slot]);
        if (tag_token_[slot] == 0 || found == finished_.end())
            continue;
        Request request{.q = static_cast<unsigned>(slot / device_.depth()),
                        .tag = static_cast<unsigned>(slot % device_.depth()),
                        .res = found->second};
        finished_.erase(found);
        tag_token_[slot] = 0;
        if (request.res < 0)
            ++aborted_;
        else if (request.q < maps_.size())
            request.desc = desc(request.q, request.tag);
        return request;
    }
    return std::nullopt;
}

std::optional<Server::Request> Server::next(Millis limit)
{
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
        if (auto request = find_completed())
            return request;
        const auto left = std::chrono::duration_cast<Millis>(end - std::chrono::steady_clock::now());
        const auto done = left > 0ms ? ring_->wait(left) : ring_->poll();
        if (done)
            finished_[done->user_data] = done->res;
        else if (left <= 0ms)
            return std::nullopt;
    }
}

Server::Request Server::expect_request(std::string_view what, Where where)
{
    const auto end = std::chrono::steady_clock::now() + patience;
    while (std::chrono::steady_clock::now() < end) {
        const auto request = next(100ms);
        if (request && request->res >= 0) {
            count_check();
            return *request;
        }
    }
    fail(fmt::format("a request reaches the server: {}", what), "none came", where);
}

std::int32_t Server::serve_from_memory(const Request& request)
{
    const std::size_t bytes = std::size_t{request.desc.nr_sectors} * uapi::sector_size;
    const std::uint64_t offset = request.desc.start_sector * uapi::sector_size;
    const auto op = static_cast<IoOp>(request.desc.op());
    if (op == IoOp::flush)
        return 0;
    if (offset > memory_.size() || bytes > memory_.size() - offset)
        return -EIO;
    std::byte* disk = memory_.data() + offset;
    std::byte* data = buffer(request.q, request.tag);
    switch (op) {
    case IoOp::read:
        if (data != nullptr)
            std::memcpy(data, disk, bytes);
        return static_cast<std::int32_t>(bytes);
    case IoOp::write:
        if (data != nullptr)
            std::memcpy(disk, data, bytes);
        return static_cast<std::int32_t>(bytes);
    case IoOp::discard:
    case IoOp::write_zeroes:
        std::memset(disk, 0, bytes);
        return 0;
    default:
        return -EOPNOTSUPP;
    }
}

bool Server::serve_until(const std::function<bool()>& holds, Millis limit)
{
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds()) {
        if (std::chrono::steady_clock::now() >= end)
            return false;
        const auto request = next(2ms);
        if (!request || request->res < 0)
            continue;
        seen.push_back(*request);
        if (const auto result = handler(*request))
            commit(request->q, request->tag, *result);
    }
    return true;
}

long Server::serve_until(Pending& command, Where where)
{
    if (!serve_until([&] { return command.done(); }))
        fail("the command completes while the server serves",
             fmt::format("it is still out after {} s", patience.count() / 1000), where);
    return command.result(where);
}

long Server::serve_until(App& app, Where where)
{
    if (!serve_until([&] { return app.done(); }))
        fail("the application's call returns while the server serves",
             fmt::format("it has not after {} s", patience.count() / 1000), where);
    return app.result();
}

void Server::serve_for(Millis time)
{
    serve_until([] { return false; }, time);
}

void Server::start_and_serve(Where where)
{
    Params params;
    if (device_.get_params(params) == 0)
        memory_.resize(params.basic.dev_sectors * uapi::sector_size);
    fetch_all();
    Pending start = device_.begin_start();
    if (const long res = serve_until(start, where); res != 0)
        fail("START_DEV makes the device live", result_text(res), where);
    if (!offers(Feature::no_auto_part_scan) && !device_.unprivileged() && params.basic.dev_sectors != 0)
        serve_partition_scan();
}

// Where the scan cannot be suppressed it may outlast START_DEV (6.18, 6.19), and its reads would be taken for
// an application's. It holds the disk's open lock: an open that was begun after its first read ends after it.
void Server::serve_partition_scan()
{
    const auto own = std::exchange(
        handler, [this](const Request& request) { return std::optional(serve_from_memory(request)); });
    if (serve_until([this] { return !seen.empty(); }, 2s)) {
        App open([path = device_.block_path()] {
            const auto fd = wire::open_node(path, O_RDONLY);
            return fd ? 0 : -static_cast<long>(fd.error());
        });
        serve_until([&] { return open.done(); });
    }
    handler = own;
}

void Server::go_live(Where where)
{
    Params params;
    const bool set = device_.get_params(params) == 0 && params.len != 0;
    if (!set) {
        go_live(basic_params(), where);
        return;
    }
    start_and_serve(where);
}

void Server::go_live(const Params& params, Where where)
{
    if (const long res = device_.set_params(params); res != 0)
        fail("SET_PARAMS takes the parameters of this case", result_text(res), where);
    start_and_serve(where);
}

void Server::close()
{
    ring_.reset();
    node_.reset();
}

} // namespace conformance
