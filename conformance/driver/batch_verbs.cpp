#include "conformance/driver/batch_verbs.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <sys/mman.h>

namespace conformance {

namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

namespace {

constexpr std::uint32_t multishot_flag = 1U << 1; // IORING_URING_CMD_MULTISHOT

wire::Ring open_ring(unsigned cq_entries, unsigned flags, Where where)
{
    auto ring = wire::Ring::open(
        {.entries = std::min(64U, cq_entries), .cq_entries = cq_entries, .sqe128 = false, .flags = flags});
    if (!ring)
        fail("io_uring_setup works", errno_text(ring.error()), where);
    return std::move(*ring);
}

bool copies(const Device& device)
{
    return !Features::from_raw(device.added().flags)
                .has_any(Feature::user_copy | Feature::support_zero_copy | Feature::auto_buf_reg);
}

std::byte* map_pages(std::size_t bytes, Where where)
{
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("memory for tag buffers", errno_text(errno), where);
    return static_cast<std::byte*>(at);
}

} // namespace

// ---- BatchServer ----

BatchServer::BatchServer(const Device& device, Where where)
    : base(device, {.copy_buffers = copies(device)}, where)
{
    if (copies(device))
        flags = BatchFlag::has_buf_addr;
    else if (const int res = base.ring().register_empty_buffers(buffer_slots); res != 0)
        fail("a table of fixed buffers", result_text(res), where);
}

BatchEntry BatchServer::entry(unsigned q, unsigned tag, std::int32_t result)
{
    const auto number = static_cast<std::uint16_t>(tag);
    return {.head = {.tag = number, .buf_index = number, .result = result},
            .buf_addr = base.buffer_addr(q, tag)};
}

std::vector<BatchEntry> BatchServer::entries(unsigned q, const Tags& tags, std::int32_t result)
{
    std::vector<BatchEntry> all;
    for (const auto tag : tags)
        all.push_back(entry(q, tag, result));
    return all;
}

Tags BatchServer::all_tags() const
{
    Tags tags;
    for (unsigned tag = 0; tag < base.device().depth(); ++tag)
        tags.push_back(static_cast<std::uint16_t>(tag));
    return tags;
}

BatchIo BatchServer::head(unsigned q, std::size_t elements) const
{
    return {.q_id = static_cast<std::uint16_t>(q),
            .flags = flags.raw(),
            .nr_elem = static_cast<std::uint16_t>(elements),
            .elem_bytes = static_cast<std::uint8_t>(elem_bytes())};
}

long BatchServer::command(wire::Ring& through, IoNr nr, const BatchIo& head, const void* elements) const
{
    wire::prep_batch(*through.sqe(), base.fd(), uapi::opcode(nr), head,
                     reinterpret_cast<std::uintptr_t>(elements), 0);
    if (const int res = through.submit(); res < 0)
        return res;
    const auto done = through.wait(patience);
    return done ? done->res : -ETIME;
}

long BatchServer::command(IoNr nr, const BatchIo& head, const void* elements, Where where)
{
    const long res = command(base.ring(), nr, head, elements);
    if (res == -ETIME)
        fail("a batch command is answered at once", "it is still out", where);
    return res;
}

long BatchServer::send_entries(IoNr nr, unsigned q, const std::vector<BatchEntry>& entries, Where where)
{
    const auto elements = uapi::encode_batch(entries, flags);
    return command(nr, head(q, entries.size()), elements.data(), where);
}

long BatchServer::prep_entries(unsigned q, const std::vector<BatchEntry>& entries, Where where)
{
    return send_entries(IoNr::prep_io_cmds, q, entries, where);
}

long BatchServer::commit_entries(unsigned q, const std::vector<BatchEntry>& entries, Where where)
{
    return send_entries(IoNr::commit_io_cmds, q, entries, where);
}

void BatchServer::prep_all(Where where)
{
    for (unsigned q = 0; q < base.device().queues(); ++q) {
        if (const long res = prep(q, all_tags(), where); res != 0)
            fail("PREP_IO_CMDS of a whole queue works", result_text(res), where);
    }
}

void BatchServer::go_live(const Params& params, Where where)
{
    if (const long res = base.device().set_params(params); res != 0)
        fail("SET_PARAMS takes the parameters of this case", result_text(res), where);
    base.memory().resize(params.basic.dev_sectors * uapi::sector_size);
    prep_all(where);
    if (const long res = base.device().start(::getpid(), where); res != 0)
        fail("START_DEV makes the device live", result_text(res), where);
}

Server::Request BatchServer::request(unsigned q, unsigned tag) const
{
    return {.q = q, .tag = tag, .desc = base.desc(q, tag)};
}

// ---- TagBuffers ----

TagBuffers::TagBuffers(wire::Ring& ring, const Options& options, Where where) : options_(options)
{
    memory_ = map_pages(std::size_t{options.count} * options.bytes, where);
    auto* entries = map_pages(options.count * sizeof(io_uring_buf), where);
    buffers_ = static_cast<io_uring_buf_ring*>(static_cast<void*>(entries));
    io_uring_buf_reg registration{};
    registration.ring_addr = std::bit_cast<std::uintptr_t>(entries);
    registration.ring_entries = options.count;
    registration.bgid = options.group;
    if (const int res = io_uring_register_buf_ring(&ring.raw(), &registration, 0); res < 0)
        fail("a ring takes a group of buffers", result_text(res), where);
    for (unsigned id = 0; id < std::min(options.count, options.provided); ++id)
        provide(id);
    if (!options.writable)
        ::mprotect(memory_, std::size_t{options.count} * options.bytes, PROT_READ);
}

TagBuffers::~TagBuffers()
{
    ::munmap(memory_, std::size_t{options_.count} * options_.bytes);
    ::munmap(buffers_, options_.count * sizeof(io_uring_buf));
}

void TagBuffers::provide(unsigned id)
{
    io_uring_buf_ring_add(buffers_, buffer(id), options_.bytes, static_cast<unsigned short>(id),
                          static_cast<int>(options_.count) - 1, 0);
    io_uring_buf_ring_advance(buffers_, 1);
}

Tags TagBuffers::tags(unsigned id, long bytes) const
{
    Tags tags(static_cast<std::size_t>(bytes) / sizeof(std::uint16_t));
    if (id < options_.count)
        std::memcpy(tags.data(), buffer(id), tags.size() * sizeof(std::uint16_t));
    return tags;
}

void TagBuffers::make_writable()
{
    ::mprotect(memory_, std::size_t{options_.count} * options_.bytes, PROT_READ | PROT_WRITE);
}

// ---- TagFetch ----

TagFetch::TagFetch(const Server& server, unsigned q, const TagBuffers::Options& options, unsigned cq_entries,
                   unsigned ring_flags)
    : char_fd_(server.fd()), q_(q), ring_(open_ring(cq_entries, ring_flags, Where::current())),
      buffers_(std::make_unique<TagBuffers>(ring_, options))
{
    if (!copies(server.device()))
        ring_.register_empty_buffers(buffer_slots);
}

TagFetch::Command TagFetch::well_formed() const
{
    return {.head = {.q_id = static_cast<std::uint16_t>(q_), .elem_bytes = sizeof(std::uint16_t)},
            .group = buffers_->group()};
}

void TagFetch::send(const Command& command)
{
    io_uring_sqe& sqe = *ring_.sqe();
    wire::prep_batch(sqe, char_fd_, command.op, command.head, 0, 0);
    sqe.rw_flags = command.multishot ? multishot_flag : 0;
    if (command.selects_buffer) {
        sqe.flags |= IOSQE_BUFFER_SELECT;
        sqe.buf_group = command.group;
    }
    if (const int res = ring_.submit(); res < 0)
        fail("io_uring_enter takes the FETCH_IO_CMDS", result_text(res));
}

std::optional<TagFetch::Arrival> TagFetch::next(Millis limit, bool give_back)
{
    const auto done = ring_.wait(limit);
    if (!done)
        return std::nullopt;
    Arrival arrival{.res = done->res, .more = (done->flags & IORING_CQE_F_MORE) != 0};
    if ((done->flags & IORING_CQE_F_BUFFER) == 0)
        return arrival;
    arrival.buffer = done->flags >> IORING_CQE_BUFFER_SHIFT;
    if (arrival.res > 0)
        arrival.tags = buffers_->tags(*arrival.buffer, arrival.res);
    if (give_back)
        buffers_->provide(*arrival.buffer);
    return arrival;
}

TagFetch::Arrival TagFetch::expect_arrival(std::string_view what, Where where)
{
    const auto arrival = next(patience);
    if (!arrival)
        fail(fmt::format("FETCH_IO_CMDS completes: {}", what), "it does not", where);
    count_check();
    return *arrival;
}

long TagFetch::expect_end(std::string_view what, Where where)
{
    const auto arrival = expect_arrival(what, where);
    if (arrival.more)
        fail(fmt::format("FETCH_IO_CMDS ends: {}", what),
             fmt::format("it completed with {}, and goes on", result_text(arrival.res)), where);
    return arrival.res;
}

void TagFetch::expect_nothing(std::string_view what, Where where)
{
    if (const auto arrival = next(settle))
        fail(fmt::format("FETCH_IO_CMDS waits: {}", what),
             fmt::format("it completed with {}", result_text(arrival->res)), where);
    count_check();
}

Tags TagFetch::expect_tags(std::size_t count, Where where)
{
    Tags tags;
    while (tags.size() < count) {
        const auto arrival = expect_arrival("a request's tag", where);
        if (arrival.res < 0)
            fail("FETCH_IO_CMDS brings tags", result_text(arrival.res), where);
        tags.insert(tags.end(), arrival.tags.begin(), arrival.tags.end());
    }
    return tags;
}

// ---- BatchLive ----

namespace {

AddOptions with_batch(AddOptions options)
{
    options.flags |= Feature::batch_io;
    return options;
}

} // namespace

BatchLive::BatchLive(Driver& driver, AddOptions options, const Params& params, Where where)
    : device(driver.make(with_batch(options), false, where)), server(device, where), fetch(server.base)
{
    server.go_live(params, where);
    fetch.send();
}

unsigned BatchLive::hold(const App& app, Where where)
{
    const auto tags = fetch.expect_tags(1, where);
    if (tags.size() != 1)
        fail("the application makes one request", fmt::format("{} came", tags.size()), where);
    if (app.done())
        fail("the application waits for its request", "it is done", where);
    return tags[0];
}

long BatchLive::serve_until(App& app, Where where)
{
    const bool done = eventually([&] {
        if (const auto arrival = fetch.next(1ms)) {
            for (const auto tag : arrival->tags)
                server.commit(0, {tag}, server.base.serve_from_memory(server.request(0, tag)), where);
        }
        return app.done();
    });
    if (!done)
        fail("the application's call returns while the server serves", "it has not", where);
    return app.result();
}

} // namespace conformance
