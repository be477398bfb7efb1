// UBLK-DATA-COPY: when the driver copies between a request and the server's buffer, and how much.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/mman.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

const AddOptions one_tag{.queue_depth = 1};

// The only tag's buffer from byte `from` on.
void protect_buffer(Server& server, int protection, std::size_t from = 0)
{
    const auto bytes = server.device().added().max_io_buf_bytes - from;
    expect_ok(sys(::mprotect(server.buffer(0, 0) + from, bytes, protection)), "mprotect");
}

std::span<std::byte> buffer_of(Server& server, std::size_t bytes)
{
    return {server.buffer(0, 0), bytes};
}

} // namespace

CASE("UBLK-DATA-COPY-001", contract,
     "A write's data is there when its completion comes; a read's is taken by the commit")
{
    Driver driver;
    Live live(driver, basic_params(), one_tag);
    for (const unsigned seed : {0, 1, 2}) {
        auto write = hold(live.server, write_data(live.device, pattern(65536, seed)));
        expect_true(std::ranges::equal(pattern(65536, seed), buffer_of(live.server, 65536)),
                    "the buffer has what the application wrote");
        expect_eq(65536, live.finish(write, 65536), "bytes written");
    }
    auto read = read_back(live.device, 4096);
    auto held = hold(live.server, std::move(read.app));
    std::ranges::copy(pattern(4096, 3), live.server.buffer(0, 0));
    std::ranges::copy(pattern(4096, 4), live.server.buffer(0, 0));
    live.server.commit(0, 0, 4096);
    std::ranges::copy(pattern(4096, 5), live.server.buffer(0, 0));
    expect_eq(4096, live.server.serve_until(held.app), "bytes read");
    expect_true(*read.data == pattern(4096, 4), "the application got what the buffer held at the commit");
}

CASE("UBLK-DATA-COPY-002", contract,
     "Of the server's buffer only as many bytes are touched as the request has")
{
    Driver driver;
    Live live(driver, basic_params(), one_tag);
    const auto buffer = buffer_of(live.server, 65536);
    for (const long bytes : {512, 4096, 4608}) {
        std::ranges::fill(buffer, std::byte{0xee});
        auto write = hold(live.server, write_data(live.device, pattern(bytes)));
        expect_true(std::ranges::equal(pattern(bytes), buffer.first(bytes)), "the data is in the buffer");
        expect_true(all_are(buffer.subspan(bytes), std::byte{0xee}), "nothing was written behind it");
        expect_eq(bytes, live.finish(write, static_cast<std::int32_t>(bytes)), "bytes written");
    }
    auto read = live.hold_read();
    std::ranges::copy(pattern(65536, 1), buffer.begin());
    expect_eq(4096, live.finish(read, 4096), "bytes read");
    expect_true(std::ranges::equal(pattern(65536, 1), buffer),
                "a read's commit writes nothing to the buffer");
}

CASE("UBLK-DATA-COPY-003", behaviour,
     "A write whose buffer is not accessible waits until it is, and the server hears nothing of it meanwhile")
{
    Driver driver;
    Live live(driver, basic_params(), one_tag);
    protect_buffer(live.server, PROT_NONE);
    auto app = write_data(live.device, pattern(4096));
    expect_true(!live.server.next(settle), "no completion while the buffer is not accessible");
    expect_true(!app.done(), "the write waits");
    protect_buffer(live.server, PROT_READ | PROT_WRITE);
    auto held = hold(live.server, std::move(app));
    expect_ok(held.request.res, "the completion when it is accessible");
    expect_true(std::ranges::equal(pattern(4096), buffer_of(live.server, 4096)),
                "the buffer has what the application wrote");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-DATA-COPY-004", contract, "A read committed with a buffer that is not accessible fails with EIO")
{
    Driver driver;
    Live live(driver, basic_params(), one_tag);
    auto held = live.hold_read();
    protect_buffer(live.server, PROT_NONE);
    // Kernels without the rule ask again.
    live.server.handler = [&](const Server::Request& request) {
        protect_buffer(live.server, PROT_READ | PROT_WRITE);
        return std::optional(live.server.serve_from_memory(request));
    };
    expect_error(EIO, live.finish(held, 4096));
    protect_buffer(live.server, PROT_READ | PROT_WRITE);
    auto next = live.hold_read();
    expect_eq(4096, live.finish(next, 4096), "bytes of the next read");
}

CASE("UBLK-DATA-COPY-005", contract, "A buffer at an address that is not the server's is one that faults")
{
    for (const std::uint64_t addr : {0xffff'8880'0000'0000, 0x8000'0000'0000'0000, 0xffff'ffff'ffff'e000}) {
        Driver driver;
        Live live(driver, basic_params(), one_tag);
        auto read = live.hold_read();
        auto cmd = live.server.cmd(0, 0, 4096);
        cmd.addr = addr;
        const auto token = live.server.send(IoNr::commit_and_fetch_req, cmd);
        expect_error(EIO, live.server.serve_until(read.app), fmt::format("a read, {:#x}", addr));
        auto app = write_data(live.device, pattern(4096));
        expect_true(!live.server.wait(token, settle), fmt::format("no completion of a write, {:#x}", addr));
        expect_true(!app.done(), "the write waits");
        live.server.close();
        expect_true(eventually([&] { return app.done(); }), "the write ends with the server");
        expect_error(EIO, app.result(), "the write");
    }
}

CASE("UBLK-DATA-COPY-006", behaviour,
     "A write is as long as the accessible part of its buffer; from 7.3 on what is left out is lost in "
     "silence")
{
    Driver driver;
    Live live(driver, basic_params(), one_tag);
    protect_buffer(live.server, PROT_NONE, 4096);
    auto held = hold(live.server, write_data(live.device, pattern(8192)));
    protect_buffer(live.server, PROT_READ | PROT_WRITE, 4096);
    expect_eq(8U, held.request.desc.nr_sectors, "nr_sectors of a write of 16");
    expect_true(std::ranges::equal(pattern(4096), buffer_of(live.server, 4096)), "the first half came");
    live.server.seen.clear();
    expect_eq(8192, live.finish(held, 4096), "bytes written");
    if (kernel_version() >= uapi::KernelVersion{7, 3}) {
        expect_eq(0U, live.server.seen.size(), "requests for the rest");
        return;
    }
    expect_eq(1U, live.server.seen.size(), "requests for the rest");
    expect_eq(8U, live.server.seen[0].desc.start_sector, "start_sector of the rest");
    expect_eq(8U, live.server.seen[0].desc.nr_sectors, "nr_sectors of the rest");
    const auto whole = pattern(8192);
    expect_true(std::equal(whole.begin() + 4096, whole.end(), live.server.memory().begin() + 4096),
                "the rest's data");
}

} // namespace conformance
