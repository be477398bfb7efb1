// UBLK-CDEV-RW: pread and pwrite on ublkcN, with which a server of a USER_COPY device moves data itself.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"

#include <algorithm>
#include <fcntl.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

const AddOptions user_copy_device{.flags = Feature::user_copy};

long read_at(const Server& server, std::uint64_t pos, std::size_t bytes = 512)
{
    Bytes data(bytes);
    return sys(::pread(server.fd(), data.data(), bytes, static_cast<off_t>(pos)));
}

long write_at(const Server& server, std::uint64_t pos, std::size_t bytes = 512)
{
    const Bytes data(bytes);
    return sys(::pwrite(server.fd(), data.data(), bytes, static_cast<off_t>(pos)));
}

std::uint64_t pos_of(const Server::Request& request, std::uint64_t byte = 0)
{
    return uapi::user_copy_pos(request.q, request.tag, byte);
}

} // namespace

CASE("UBLK-CDEV-RW-001", contract,
     "A copy is refused by what is wrong first: state, metadata, queue, device, tag, request, place, "
     "direction",
     needs(Feature::user_copy | Feature::integrity))
{
    Driver driver;
    const auto idle = driver.make(user_copy_device);
    const Server unstarted(idle, {.copy_buffers = false});
    const auto no_queue = uapi::user_copy_pos(0xfff, 0);
    expect_error(EACCES, read_at(unstarted, no_queue), "not started, no such queue");
    Live plain(driver);
    const auto no_tag = uapi::user_copy_pos(0, plain.device.depth());
    expect_error(EINVAL, read_at(plain.server, uapi::pos_integrity_flag | no_tag), "metadata, no USER_COPY");
    expect_error(EINVAL, read_at(plain.server, no_queue), "no such queue, no USER_COPY");
    expect_error(EACCES, read_at(plain.server, no_tag), "no USER_COPY, no such tag");
    Live live(driver, basic_params(), user_copy_device);
    expect_error(EINVAL, read_at(live.server, no_tag), "no such tag");
    auto held = live.hold_write();
    const unsigned idle_tag = held.request.tag == 0 ? 1 : 0;
    expect_error(EINVAL, write_at(live.server, uapi::user_copy_pos(0, idle_tag)), "no request");
    expect_error(EINVAL, write_at(live.server, pos_of(held.request, 4097)),
                 "beyond its end, wrong direction");
    expect_error(EACCES, write_at(live.server, pos_of(held.request)), "wrong direction");
    int pipe_ends[2];
    expect_ok(sys(::pipe2(pipe_ends, O_CLOEXEC)), "pipe2");
    const Fd from(pipe_ends[0]), to(pipe_ends[1]);
    auto pos = static_cast<loff_t>(pos_of(held.request));
    expect_error(EINVAL, sys(::splice(live.server.fd(), &pos, to.get(), nullptr, 512, 0)), "splice");
    expect_eq(512, read_at(live.server, pos_of(held.request)), "nothing wrong: bytes copied");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-CDEV-RW-002", contract,
     "The file position names queue, tag and byte of a request; bit 62 asks for its metadata",
     needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), {.nr_hw_queues = 2, .queue_depth = 2, .flags = Feature::user_copy});
    std::vector<Live::Held> writes;
    for (unsigned q = 0; q < live.device.queues(); ++q) {
        for (unsigned i = 0; i < 2; ++i) {
            const auto n = writes.size();
            writes.push_back(hold(live.server, write_data(live.device, pattern(4096, n), n * 8,
                                                          queue_cpus(live.device, q)[0])));
            expect_eq(q, writes.back().request.q, "queue of the request");
        }
    }
    for (std::size_t n = 0; n < writes.size(); ++n) {
        const auto expected = pattern(4096, n);
        for (const std::size_t at : {0, 1, 511, 4095}) {
            std::byte one{};
            expect_eq(1, copy_out(live.server, writes[n].request, {&one, 1}, at), "bytes copied");
            expect_true(one == expected[at], fmt::format("byte {} of write {}", at, n));
        }
    }
    for (auto& held : writes)
        expect_eq(4096, live.finish(held, 4096), "bytes written");
    if (!offers(Feature::integrity))
        return;
    auto params = basic_params();
    params.types |= static_cast<std::uint32_t>(ParamType::integrity);
    params.integrity = {.interval_exp = 9, .metadata_size = 8};
    Live meta(driver, params, {.flags = Feature::user_copy | Feature::integrity});
    auto held = meta.hold_write();
    expect_eq(64, read_at(meta.server, uapi::pos_integrity_flag | pos_of(held.request), 4096),
              "bytes of metadata of eight sectors");
    expect_eq(4096, meta.finish(held, 4096), "bytes written");
}

CASE("UBLK-CDEV-RW-003", contract, "Without USER_COPY a request's data cannot be reached by file positions")
{
    Driver driver;
    Live live(driver);
    auto held = live.hold_write();
    const auto version = kernel_version();
    for (const long res :
         {read_at(live.server, pos_of(held.request)), write_at(live.server, pos_of(held.request))}) {
        if (version >= uapi::KernelVersion{6, 17})
            expect_error(EACCES, res);
        else if (version < uapi::KernelVersion{6, 13})
            expect_error(EINVAL, res);
        else
            expect_any_error({EACCES, EINVAL}, res);
    }
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-CDEV-RW-004", contract,
     "pread brings what is written to the disk, pwrite fills what is read; never the other way",
     needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), user_copy_device);
    auto write = hold(live.server, write_data(live.device, pattern(4096)));
    expect_error(EACCES, write_at(live.server, pos_of(write.request)), "pwrite on a write");
    Bytes data(4096);
    expect_eq(4096, copy_out(live.server, write.request, data), "bytes that pread brings");
    expect_true(data == pattern(4096), "the server got what the application wrote");
    expect_eq(4096, live.finish(write, 4096), "bytes written");

    auto read = read_back(live.device, 4096);
    auto held = hold(live.server, std::move(read.app));
    expect_error(EACCES, read_at(live.server, pos_of(held.request)), "pread on a read");
    expect_eq(4096, copy_in(live.server, held.request, pattern(4096, 1)), "bytes that pwrite takes");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
    expect_true(*read.data == pattern(4096, 1), "the application got what the server gave");
}

CASE("UBLK-CDEV-RW-005", contract, "A copy at a request's end moves nothing; beyond its end it is refused",
     needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), user_copy_device);
    auto write = live.hold_write();
    expect_eq(0, read_at(live.server, pos_of(write.request, 4096)), "pread at the end");
    expect_error(EINVAL, read_at(live.server, pos_of(write.request, 4097)), "pread beyond the end");
    expect_eq(4096, live.finish(write, 4096), "bytes written");
    auto read = live.hold_read();
    expect_eq(0, write_at(live.server, pos_of(read.request, 4096)), "pwrite at the end");
    expect_error(EINVAL, write_at(live.server, pos_of(read.request, 4097)), "pwrite beyond the end");
    expect_eq(4096, live.finish(read, 4096), "bytes read");
}

CASE("UBLK-CDEV-RW-006", contract,
     "A copy stops at the request's end, and may be made in any pieces and order", needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), user_copy_device);
    const auto written = pattern(4096, 2);
    auto write = hold(live.server, write_data(live.device, written));
    Bytes data(8192, std::byte{0xee});
    expect_eq(3996, copy_out(live.server, write.request, data, 100), "bytes from 100 on, asked for 8192");
    expect_true(std::equal(written.begin() + 100, written.end(), data.begin()), "they are the request's");
    expect_true(all_are(std::span(data).subspan(3996), std::byte{0xee}), "nothing comes after them");
    expect_eq(4096, live.finish(write, 4096), "bytes written");

    auto read = read_back(live.device, 4096);
    auto held = hold(live.server, std::move(read.app));
    const auto given = pattern(4096, 3);
    std::size_t end = 4096;
    for (const long piece : {1, 1023, 7, 2048, 513, 504}) {
        end -= piece;
        expect_eq(piece, copy_in(live.server, held.request, std::span(given).subspan(end, piece), end),
                  fmt::format("bytes given at {}", end));
    }
    expect_eq(0U, end, "what is left to give");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
    expect_true(*read.data == given, "the application got the pieces in their places");
}

CASE("UBLK-CDEV-RW-007", behaviour,
     "A copy into memory that faults returns what was copied before, and 0 if that is nothing",
     needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), user_copy_device);
    const GuardedPages pages;
    const auto written = pattern(4096, 4);
    auto write = hold(live.server, write_data(live.device, written));
    expect_eq(0, copy_out(live.server, write.request, {pages.end(), 1024}), "pread, all of it faults");
    expect_eq(100, copy_out(live.server, write.request, {pages.end() - 100, 1024}),
              "pread, all but 100 bytes fault");
    expect_true(std::equal(pages.end() - 100, pages.end(), written.begin()), "they are the request's");
    expect_eq(4096, live.finish(write, 4096), "bytes written");
    auto read = live.hold_read();
    expect_eq(0, copy_in(live.server, read.request, {pages.end(), 1024}), "pwrite, all of it faults");
    expect_eq(100, copy_in(live.server, read.request, {pages.end() - 100, 1024}),
              "pwrite, all but 100 bytes fault");
    expect_eq(4096, live.finish(read, 4096), "bytes read");
}

CASE("UBLK-CDEV-RW-009", contract, "A request without data has nothing to copy", needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, no_data_params(), user_copy_device);
    for (const auto& [what, call] : no_data_calls()) {
        auto held = hold(live.server, app_with(live.device, O_RDWR, call));
        expect_error(EINVAL, read_at(live.server, pos_of(held.request)), fmt::format("pread on {}", what));
        expect_error(EINVAL, write_at(live.server, pos_of(held.request)), fmt::format("pwrite on {}", what));
        expect_ok(live.finish(held, 0), what);
    }
    if (!offers(Feature::zoned) || !kernel_has_zoned())
        return;
    ZonedLive disk(driver);
    auto held = hold(disk.server, disk.reset_zone());
    expect_error(EINVAL, read_at(disk.server, pos_of(held.request)), "pread on a zone's reset");
    disk.server.commit(held.request.q, held.request.tag, 0);
    expect_ok(disk.server.serve_until(held.app), "BLKRESETZONE");
}

CASE("UBLK-CDEV-RW-010", contract, "File positions below the first request's are no request's",
     needs(Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), user_copy_device);
    auto held = live.hold_write();
    std::byte data[512];
    expect_error(EINVAL, sys(::read(live.server.fd(), data, sizeof(data))), "read at position 0");
    for (const std::uint64_t pos : {std::uint64_t{512}, uapi::io_buf_offset - 512, uapi::io_buf_offset - 1})
        expect_error(EINVAL, read_at(live.server, pos), fmt::format("pread at {}", pos));
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-CDEV-RW-012", behaviour,
     "Metadata of a device without INTEGRITY is invalid before queue and USER_COPY are looked at",
     needs(Feature::integrity))
{
    Driver driver;
    Live live(driver);
    auto held = live.hold_write();
    const auto pos = pos_of(held.request);
    expect_error(EACCES, read_at(live.server, pos), "data");
    expect_error(EINVAL, read_at(live.server, uapi::pos_integrity_flag | pos), "metadata");
    expect_error(EINVAL, read_at(live.server, uapi::pos_integrity_flag | uapi::user_copy_pos(0xfff, 0)),
                 "metadata, no such queue");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

} // namespace conformance
