// UBLK-SHMEM: requests whose data is in registered memory, and registrations beside I/O.
#include "conformance/driver/case.hpp"
#include "conformance/driver/lifecycle_verbs.hpp"
#include "conformance/driver/shmem_verbs.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/uio.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

const AddOptions shmem_options{.flags = Feature::shmem_zc};

// A live device with registered memory of two views: the application's, and the server's that is registered.
struct ShmemLive : Live {
    SharedPages pages{16};
    std::byte *apps, *servers;

    explicit ShmemLive(Driver& driver, std::uint32_t flags = 0, const Params& params = basic_params())
        : Live(driver, params, shmem_options), apps(pages.map()), servers(pages.map())
    {
        expect_ok(register_memory(device, servers, pages.bytes(), flags), "REG_BUF");
    }

    Server::Request expect_next(std::string_view what, Where where = Where::current())
    {
        return server.expect_request(what, where);
    }
    // Ends `app`, whose request has been looked at, with success.
    void end(App& app, const Server::Request& request, Where where = Where::current())
    {
        const auto bytes = static_cast<std::int32_t>(request.desc.nr_sectors * uapi::sector_size);
        server.commit(request.q, request.tag, bytes);
        expect_eq(bytes, server.serve_until(app, where), "bytes of the application's I/O", where);
    }
};

struct Piece {
    std::byte* at;
    std::size_t bytes;
};

// Direct I/O of the pieces as one call.
App vectored(const Device& device, const std::vector<Piece>& pieces, bool write)
{
    std::vector<iovec> vectors;
    for (const auto& piece : pieces)
        vectors.push_back({.iov_base = piece.at, .iov_len = piece.bytes});
    return app_with(device, (write ? O_WRONLY : O_RDONLY) | O_DIRECT, [vectors, write](int fd) {
        const auto count = static_cast<int>(vectors.size());
        return sys(write ? ::pwritev(fd, vectors.data(), count, 0) : ::preadv(fd, vectors.data(), count, 0));
    });
}

// Page by page the numbers from `first` on.
void number_pages(std::byte* at, std::size_t pages, int first)
{
    for (std::size_t i = 0; i < pages; ++i)
        fill(at + i * page_size(), page_size(), first + static_cast<int>(i));
}

} // namespace

CASE("UBLK-SHMEM-014", contract,
     "REG_BUF and UNREG_BUF of a live device wait until no request is out, and let none in meanwhile",
     needs(Feature::shmem_zc))
{
    Driver driver;
    Live live(driver, basic_params(), shmem_options);
    SharedPages pages(2);
    uapi::ShmemBufReg reg{.addr = reinterpret_cast<std::uintptr_t>(pages.map()), .len = pages.bytes()};
    const auto expect_to_wait = [&](CtrlNr nr, const CtrlCmd& cmd, std::string_view what) {
        auto held = live.hold_read();
        Pending command = driver.begin(nr, cmd);
        command.expect_pending(what);
        auto later = App::read(live.device, 64, 4096);
        expect_true(!live.server.next(settle), "no new request reaches the server meanwhile");
        expect_true(!command.done(), fmt::format("{} still waits", what));
        expect_eq(4096, live.finish(held, 4096), "bytes read");
        expect_ok(live.server.serve_until(command), what);
        expect_eq(4096, live.server.serve_until(later), "bytes read afterwards");
    };
    expect_to_wait(CtrlNr::reg_buf, live.device.cmd(&reg, sizeof(reg)), "REG_BUF");
    expect_to_wait(CtrlNr::unreg_buf, live.device.cmd(0), "UNREG_BUF");
}

CASE("UBLK-SHMEM-015", contract,
     "Memory can be registered in every state, and stays registered over STOP and recovery until the device "
     "goes",
     needs(Feature::shmem_zc | Feature::user_recovery), timeout(60s))
{
    Driver driver;
    const Device device = driver.make({.flags = Feature::shmem_zc | Feature::user_recovery});
    SharedPages pages(2), more(2), last(2);
    const std::byte* memory = pages.map();
    const auto expect_kept = [&](Server& server, std::string_view what) {
        auto app = write_from(device, memory, page_size());
        const auto request = server.expect_request(what);
        expect_match(request, 0, 0, what);
        server.commit(request.q, request.tag, static_cast<std::int32_t>(page_size()));
        expect_eq(long(page_size()), server.serve_until(app), what);
    };
    expect_ok(register_memory(device, memory, pages.bytes()), "REG_BUF before START_DEV");
    ServerProcess(device).kill();
    expect_true(eventually([&] { return device.state() == DevState::quiesced; }), "the device gets QUIESCED");
    expect_eq(1, register_memory(device, more.map(), more.bytes()), "REG_BUF of a quiesced device: index");
    expect_true(eventually([&] { return device.control(CtrlNr::start_user_recovery) == 0; }),
                "START_USER_RECOVERY works");
    {
        Server server(device);
        server.memory().resize(8192 * uapi::sector_size);
        server.fetch_all();
        const auto pid = static_cast<std::uint64_t>(::getpid());
        expect_ok(control_served(server, CtrlNr::end_user_recovery, pid), "END_USER_RECOVERY");
        expect_kept(server, "a write after the recovery");
        expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV");
        expect_error(EEXIST, register_memory(device, memory, page_size()), "REG_BUF of the same memory");
        expect_eq(2, register_memory(device, last.map(), last.bytes()), "REG_BUF of a stopped device: index");
    }
    if (fixed_in({{7, 3, 4}})) { // before, a stopped device cannot be started once more
        Server server(device);
        server.go_live();
        expect_kept(server, "a write after STOP_DEV and START_DEV");
        expect_ok(control_served(server, CtrlNr::stop_dev), "STOP_DEV");
    }
    pages.unmap_all();
    expect_error(EBUSY, pages.seal_against_writing(), "sealing pages that are pinned");
    expect_ok(device.del(), "DEL_DEV");
    expect_ok(pages.seal_against_writing(), "sealing pages that are pinned no more");
}

CASE("UBLK-SHMEM-016", contract,
     "Direct I/O in registered memory tells the server index and offset, and no byte is copied",
     needs(Feature::shmem_zc))
{
    Driver driver;
    ShmemLive live(driver);
    SharedPages second(8);
    std::byte* theirs = second.map();
    std::byte* ours = second.map();
    expect_eq(1, register_memory(live.device, ours, second.bytes()), "index of the second buffer");
    const std::size_t offset = 3 * page_size(), bytes = 4 * page_size();
    for (unsigned tag = 0; tag < live.device.depth(); ++tag)
        fill(live.server.buffer(0, tag), bytes, 0xcc);

    fill(theirs + offset, bytes, 0x5a);
    auto write = write_from(live.device, theirs + offset, bytes);
    auto request = live.expect_next("the write");
    expect_match(request, 1, offset, "the write");
    expect_eq(bytes / uapi::sector_size, request.desc.nr_sectors, "nr_sectors");
    expect_true(filled_with(ours + offset, bytes, 0x5a), "the server sees the application's bytes");
    fill(theirs + offset, bytes, 0x5b);
    expect_true(filled_with(ours + offset, bytes, 0x5b), "and what the application makes of them meanwhile");
    live.end(write, request);

    auto read = read_into(live.device, theirs + offset, bytes);
    request = live.expect_next("the read");
    expect_match(request, 1, offset, "the read");
    fill(ours + offset, bytes, 0x77);
    live.end(read, request);
    expect_true(filled_with(theirs + offset, bytes, 0x77), "the application has the server's bytes");
    for (unsigned tag = 0; tag < live.device.depth(); ++tag)
        expect_true(filled_with(live.server.buffer(0, tag), bytes, 0xcc),
                    "the tags' buffers are as they were");

    auto first = write_from(live.device, live.apps, page_size());
    request = live.expect_next("a write from the first buffer");
    expect_match(request, 0, 0, "a write from the first buffer");
    live.end(first, request);
}

CASE("UBLK-SHMEM-017", contract,
     "I/O of which a page is not registered, or not where it follows, takes the ordinary path",
     needs(Feature::shmem_zc), timeout(60s))
{
    Driver driver;
    ShmemLive live(driver);
    SharedPages second(4), foreign(4);
    std::byte* others = second.map();
    std::byte* strangers = foreign.map();
    expect_eq(1, register_memory(live.device, others, second.bytes()), "index of the second buffer");
    number_pages(live.apps, 16, 0x10);
    number_pages(others, 4, 0x60);
    number_pages(strangers, 4, 0x80);
    const std::size_t page = page_size();
    std::byte* mine = live.apps;
    const struct {
        std::string_view what;
        std::vector<Piece> pieces;
    } misses[] = {
        {"all foreign", {{strangers, 2 * page}}},
        {"a foreign page at the end", {{mine, 2 * page}, {strangers, page}}},
        {"a foreign page at the start", {{strangers, page}, {mine, page}}},
        {"a foreign page in the middle", {{mine, page}, {strangers, page}, {mine + page, page}}},
        {"two buffers", {{mine, page}, {others, page}}},
        {"wrong order", {{mine + page, page}, {mine, page}}},
        {"a gap", {{mine, page}, {mine + 2 * page, page}}},
        {"the same page twice", {{mine, page}, {mine, page}}},
        {"a gap within pages", {{mine, 512}, {mine + page, 512}}},
    };
    for (const auto& miss : misses) {
        std::vector<std::byte> expected;
        for (const auto& piece : miss.pieces)
            expected.insert(expected.end(), piece.at, piece.at + piece.bytes);
        auto write = vectored(live.device, miss.pieces, true);
        const auto request = live.expect_next(miss.what);
        expect_no_match(live.server, request, miss.what);
        expect_true(std::ranges::equal(
                        expected, std::span(live.server.buffer(request.q, request.tag), expected.size())),
                    fmt::format("{}: the server has a copy of the data", miss.what));
        live.end(write, request);
    }
    const std::vector<Piece> in_order{{mine, page}, {mine + page, 2 * page}};
    auto write = vectored(live.device, in_order, true);
    const auto request = live.expect_next("two pieces that follow each other");
    expect_match(request, 0, 0, "two pieces that follow each other");
    live.end(write, request);
}

CASE("UBLK-SHMEM-018", contract, "Memory registered READ_ONLY serves writes alone: reads are copied",
     needs(Feature::shmem_zc))
{
    Driver driver;
    ShmemLive live(driver, uapi::shmem_buf_read_only);
    const std::size_t bytes = 2 * page_size();
    auto write = write_from(live.device, live.apps + page_size(), bytes);
    auto request = live.expect_next("the write");
    expect_match(request, 0, page_size(), "the write");
    live.end(write, request);
    auto read = read_into(live.device, live.apps + page_size(), bytes);
    request = live.expect_next("the read");
    expect_no_match(live.server, request, "the read");
    fill(live.server.buffer(request.q, request.tag), bytes, 0x3d);
    live.end(read, request);
    expect_true(filled_with(live.apps + page_size(), bytes, 0x3d), "the read brings the tag's buffer");
}

CASE("UBLK-SHMEM-019", contract, "The offset is exact to the byte where I/O begins within a page",
     needs(Feature::shmem_zc))
{
    Params params = basic_params();
    params.types |= uapi::ParamTypes(ParamType::dma_align).raw();
    params.dma.alignment = 3;
    Driver driver;
    ShmemLive live(driver, 0, params);
    for (const std::size_t offset : {std::size_t{512}, page_size() - 512, 2 * page_size() + 1536,
                                     page_size() - 256, 3 * page_size() + 4, 16 * page_size() - 512}) {
        const auto what = fmt::format("512 bytes at {}", offset);
        fill(live.apps, live.pages.bytes(), 0);
        auto read = read_into(live.device, live.apps + offset, 512);
        const auto request = live.expect_next(what);
        expect_match(request, 0, offset, what);
        fill(live.servers + (request.desc.addr & 0xffffffff), 512, 0x4e);
        live.end(read, request);
        expect_true(filled_with(live.apps + offset, 512, 0x4e), what + ": the application has its bytes");
    }
}

CASE("UBLK-SHMEM-020", contract,
     "I/O through the page cache takes the ordinary path, whatever memory it is for",
     needs(Feature::shmem_zc))
{
    Driver driver;
    ShmemLive live(driver);
    live.server.memory().resize(8192 * uapi::sector_size);
    const auto count = [&](IoOp op) {
        return std::ranges::count_if(live.server.seen, [&](const auto& request) {
            expect_no_match(live.server, request, "a request of the page cache's");
            return is_op(request, op);
        });
    };
    const auto cached = [&](std::function<long(int)> call, IoOp op, std::string_view what) {
        live.server.seen.clear();
        auto app = app_with(live.device, O_RDWR, std::move(call));
        expect_not_negative(live.server.serve_until(app), what);
        expect_true(count(op) > 0, fmt::format("{}: the server was asked", what));
    };
    cached([&](int fd) { return sys(::pread(fd, live.apps, 4096, 1 << 20)); }, IoOp::read, "pread");
    fill(live.apps, 4096, 0x21);
    cached(
        [&](int fd) {
            const long res = sys(::pwrite(fd, live.apps, 4096, 0));
            return res < 0 ? res : sys(::fsync(fd));
        },
        IoOp::write, "pwrite and fsync");
    expect_true(filled_with(live.server.memory().data(), 4096, 0x21), "the disk has the application's bytes");
}

CASE("UBLK-SHMEM-021", behaviour,
     "In registered memory any result that is not negative is success of the whole, but nothing read is none",
     needs(Feature::shmem_zc))
{
    Driver driver;
    ShmemLive live(driver);
    const auto answer_with = [&](bool write, std::int32_t result) {
        live.server.seen.clear();
        auto app = write ? write_from(live.device, live.apps, 4096) : read_into(live.device, live.apps, 4096);
        const auto request = live.expect_next("the request");
        expect_match(request, 0, 0, "the request");
        live.server.commit(request.q, request.tag, result);
        return live.server.serve_until(app);
    };
    for (const std::int32_t result : {0, 1, 512, 4096}) {
        expect_eq(4096, answer_with(true, result), fmt::format("bytes written, result {}", result));
        expect_eq(0U, live.server.seen.size(), fmt::format("requests after the result {}", result));
        if (result == 0)
            continue;
        expect_eq(4096, answer_with(false, result), fmt::format("bytes read, result {}", result));
        expect_eq(0U, live.server.seen.size(), fmt::format("requests after the result {}", result));
    }
    expect_error(EIO, answer_with(false, 0), "a read, result 0");
    expect_error(ENOSPC, answer_with(true, -ENOSPC), "a write, result -ENOSPC");
}

} // namespace conformance
