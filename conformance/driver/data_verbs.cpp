#include "conformance/driver/data_verbs.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

namespace conformance {

namespace uapi = ublk::uapi;
namespace wire = ublk::wire;

namespace {

// Apart from the Server's own, which count from one.
std::uint64_t fresh_token()
{
    static std::uint64_t last = 1ULL << 40;
    return ++last;
}

void prep_fixed(io_uring_sqe& sqe, bool read, int file, const Fixed& part, std::uint64_t token)
{
    auto* place = reinterpret_cast<void*>(part.offset); // of a registered request: from its beginning
    const auto slot = static_cast<int>(part.slot);
    const auto bytes = static_cast<unsigned>(part.bytes);
    if (read)
        io_uring_prep_read_fixed(&sqe, file, place, bytes, part.offset, slot);
    else
        io_uring_prep_write_fixed(&sqe, file, place, bytes, part.offset, slot);
    sqe.user_data = token;
}

std::uint64_t send_fixed(Server& server, bool read, int file, const Fixed& part)
{
    const auto token = fresh_token();
    prep_fixed(*server.ring().sqe(), read, file, part, token);
    if (const int res = server.ring().submit(); res < 0)
        fail("io_uring_enter takes the fixed read or write", result_text(res));
    return token;
}

long fixed(Server& server, bool read, int file, const Fixed& part, Where where)
{
    if (const auto res = server.wait(send_fixed(server, read, file, part), patience))
        return *res;
    fail("the fixed read or write ends", "it is still out", where);
}

// The answer to what was prepared in an idle ring.
long answer_of(wire::Ring& ring)
{
    if (const int res = ring.submit(); res < 0)
        return res;
    const auto done = ring.wait(patience);
    return done ? done->res : -ETIME;
}

} // namespace

Bytes pattern(std::size_t bytes, unsigned seed)
{
    Bytes data(bytes);
    for (std::size_t i = 0; i < bytes; ++i)
        data[i] = static_cast<std::byte>(i * 31 + i / 256 * 7 + seed * 101);
    return data;
}

bool all_are(std::span<const std::byte> data, std::byte value)
{
    return std::ranges::all_of(data, [=](std::byte b) { return b == value; });
}

// ---- applications ----

App write_data(const Device& device, Bytes data, std::uint64_t sector, std::optional<unsigned> cpu)
{
    return app_with(device, O_WRONLY | O_DIRECT, [data = std::move(data), sector, cpu](int fd) {
        if (cpu) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(*cpu, &set);
            if (::sched_setaffinity(0, sizeof(set), &set) != 0)
                return -static_cast<long>(errno);
        }
        const std::unique_ptr<void, decltype(&std::free)> buffer(
            std::aligned_alloc(4096, (data.size() + 4095) / 4096 * 4096), &std::free);
        std::memcpy(buffer.get(), data.data(), data.size());
        return sys(::pwrite(fd, buffer.get(), data.size(), static_cast<off_t>(sector * uapi::sector_size)));
    });
}

namespace {

alignas(4096) std::byte first_block[4096];

} // namespace

long read_block(int fd)
{
    return sys(::pread(fd, first_block, sizeof(first_block), 0));
}

long write_block(int fd, int flags)
{
    const iovec part{first_block, sizeof(first_block)};
    return sys(::pwritev2(fd, &part, 1, 0, flags));
}

std::vector<OpCall> each_op()
{
    return {{"a read", IoOp::read, read_block},
            {"a write", IoOp::write, [](int fd) { return write_block(fd); }},
            {"a synchronous write", IoOp::write, [](int fd) { return write_block(fd, RWF_DSYNC); }},
            {"fsync", IoOp::flush, [](int fd) { return sys(::fsync(fd)); }},
            {"BLKDISCARD", IoOp::discard, [](int fd) { return range_ioctl(fd, BLKDISCARD, 8192); }},
            {"BLKZEROOUT", IoOp::write_zeroes, [](int fd) { return range_ioctl(fd, BLKZEROOUT, 8192); }}};
}

std::vector<Server::Request> requests_of(Live& live, const std::function<long(int)>& call, Where where)
{
    live.server.seen.clear();
    auto app = app_with(live.device, O_RDWR | O_DIRECT, call);
    expect_not_negative(live.server.serve_until(app, where), "the application's call", where);
    return live.server.seen;
}

Live::Held hold(Server& server, App app, Where where)
{
    return {std::move(app), server.expect_request("the application's request", where)};
}

Params no_data_params()
{
    return discard_params(Attr::volatile_cache);
}

std::vector<NoDataCall> no_data_calls()
{
    return {{"a flush", [](int fd) { return sys(::fsync(fd)); }},
            {"a discard", [](int fd) { return range_ioctl(fd, BLKDISCARD, 8192); }},
            {"zeroing", [](int fd) { return range_ioctl(fd, BLKZEROOUT, 8192); }}};
}

// ---- copies by file position ----

long copy_out(const Server& server, const Server::Request& request, std::span<std::byte> to,
              std::uint64_t offset)
{
    return sys(::pread(server.fd(), to.data(), to.size(),
                       static_cast<off_t>(uapi::user_copy_pos(request.q, request.tag, offset))));
}

long copy_in(const Server& server, const Server::Request& request, std::span<const std::byte> from,
             std::uint64_t offset)
{
    return sys(::pwrite(server.fd(), from.data(), from.size(),
                        static_cast<off_t>(uapi::user_copy_pos(request.q, request.tag, offset))));
}

std::optional<std::int32_t> serve_by_copy(Server& server, const Server::Request& request)
{
    const auto result = server.serve_from_memory(request); // checks the range; moves nothing without buffers
    if (result <= 0)
        return result;
    const std::span part(server.memory().data() + request.desc.start_sector * uapi::sector_size,
                         static_cast<std::size_t>(result));
    const bool out = static_cast<IoOp>(request.desc.op()) == IoOp::write;
    return static_cast<std::int32_t>(out ? copy_out(server, request, part) : copy_in(server, request, part));
}

// ---- registered buffers ----

MemoryFile::MemoryFile(const Bytes& content) : file_(::memfd_create("ublkcheck", MFD_CLOEXEC))
{
    if (!file_ ||
        ::pwrite(file_.get(), content.data(), content.size(), 0) != static_cast<ssize_t>(content.size()))
        fail("a file in memory", errno_text(errno));
}

Bytes MemoryFile::content() const
{
    Bytes data(static_cast<std::size_t>(::lseek(file_.get(), 0, SEEK_END)));
    if (::pread(file_.get(), data.data(), data.size(), 0) != static_cast<ssize_t>(data.size()))
        fail("reading a file in memory", errno_text(errno));
    return data;
}

std::uint64_t send_read_fixed(Server& server, int file, const Fixed& part)
{
    return send_fixed(server, true, file, part);
}

std::uint64_t send_write_fixed(Server& server, int file, const Fixed& part)
{
    return send_fixed(server, false, file, part);
}

long read_fixed(Server& server, int file, const Fixed& part, Where where)
{
    return fixed(server, true, file, part, where);
}

long write_fixed(Server& server, int file, const Fixed& part, Where where)
{
    return fixed(server, false, file, part, where);
}

long write_fixed(wire::Ring& ring, int file, const Fixed& part)
{
    prep_fixed(*ring.sqe(), false, file, part, 0);
    return answer_of(ring);
}

void expect_empty_slot(Server& server, unsigned slot, std::string_view when, Where where)
{
    const MemoryFile file(Bytes(1));
    expect_error(EFAULT, read_fixed(server, file.fd(), {.slot = slot, .bytes = 1}, where),
                 fmt::format("fixed read through the slot {}", when), where);
    expect_error(EFAULT, write_fixed(server, file.fd(), {.slot = slot, .bytes = 1}, where),
                 fmt::format("fixed write through the slot {}", when), where);
}

IoCmd register_cmd(const Server::Request& request, unsigned slot)
{
    return {.q_id = static_cast<std::uint16_t>(request.q),
            .tag = static_cast<std::uint16_t>(request.tag),
            .addr = slot};
}

long register_buffer(Server& server, const Server::Request& request, unsigned slot, Where where)
{
    return server.io(IoNr::register_io_buf, register_cmd(request, slot), where);
}

long unregister_buffer(Server& server, unsigned slot, Where where)
{
    return server.io(IoNr::unregister_io_buf, {.addr = slot}, where);
}

long io_through(wire::Ring& ring, const Server& server, IoNr nr, const IoCmd& cmd)
{
    wire::prep_io(*ring.sqe(), server.fd(), uapi::opcode(nr), cmd, 0);
    return answer_of(ring);
}

long set_slot(wire::Ring& ring, unsigned slot, std::span<std::byte> memory)
{
    const iovec range{.iov_base = memory.data(), .iov_len = memory.size()};
    const int res = io_uring_register_buffers_update_tag(&ring.raw(), slot, &range, nullptr, 1);
    return res == 1 ? 0 : res;
}

// ---- zoned devices ----

Params zoned_params()
{
    auto params = basic_params(8 * zone_sectors);
    params.types |= static_cast<std::uint32_t>(ParamType::zoned);
    params.basic.chunk_sectors = zone_sectors;
    params.zoned = {.max_open_zones = 2, .max_active_zones = 2, .max_zone_append_sectors = 128};
    return params;
}

std::int32_t report_zones(const Server& server, const Server::Request& request, std::uint64_t sectors)
{
    std::vector<uapi::ZoneReport> zones(request.desc.nr_sectors);
    for (std::size_t i = 0; i < zones.size(); ++i) {
        const auto start = request.desc.start_sector + i * sectors;
        zones[i] = {.start = start,
                    .len = sectors,
                    .wp = start,
                    .type = static_cast<std::uint8_t>(uapi::ZoneType::sequential_write_required),
                    .cond = static_cast<std::uint8_t>(uapi::ZoneCond::empty),
                    .capacity = sectors};
    }
    return static_cast<std::int32_t>(copy_in(server, request, std::as_bytes(std::span(zones))));
}

void serve_zones(Server& server, std::uint64_t sectors)
{
    server.handler = [&server, sectors](const Server::Request& request) -> std::optional<std::int32_t> {
        if (static_cast<IoOp>(request.desc.op()) == IoOp::report_zones)
            return report_zones(server, request, sectors);
        return static_cast<std::int32_t>(request.desc.nr_sectors * uapi::sector_size);
    };
}

ZonedLive::ZonedLive(Driver& driver, Features more, const Params& params, Where where)
    : device(driver.make({.flags = Feature::zoned | Feature::user_copy | more}, false, where)),
      server(device, {.copy_buffers = false}, where)
{
    serve_zones(server, params.basic.chunk_sectors);
    if (const int res = server.ring().register_empty_buffers(buffer_slots); res != 0)
        fail("a table of fixed buffers", result_text(res), where);
    server.go_live(params, where);
}

App ZonedLive::reset_zone() const
{
    return app_with(device, O_RDWR, [](int fd) {
        blk_zone_range zone{.sector = 0, .nr_sectors = zone_sectors};
        return sys(::ioctl(fd, BLKRESETZONE, &zone));
    });
}

} // namespace conformance
