// UBLK-ZC-REG, UBLK-ZC-UNREG: a request's pages as a fixed buffer of a ring.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr auto zero_copy = Feature::support_zero_copy;
// Before BUF_REG_OFF_DAEMON the tag's state was looked at, too.
constexpr auto loose_buffers = zero_copy | Feature::buf_reg_off_daemon;
const AddOptions zero_copy_device{.queue_depth = 1, .flags = zero_copy};

ublk::wire::Ring ring_with_table()
{
    auto ring = ublk::wire::Ring::open({.entries = 8, .sqe128 = false});
    if (!ring || ring->register_empty_buffers(buffer_slots) != 0)
        fail("a ring with a table of fixed buffers", "it cannot be made");
    return std::move(*ring);
}

// The request's data is to be had through `slot` of the ring.
void expect_data(Server& server, unsigned slot, const Bytes& data, std::string_view what,
                 Where where = Where::current())
{
    const MemoryFile file;
    expect_eq(std::ssize(data), write_fixed(server, file.fd(), {.slot = slot, .bytes = data.size()}, where),
              fmt::format("fixed write, {}", what), where);
    expect_true(file.content() == data, fmt::format("the data is the request's, {}", what), where);
}

} // namespace

CASE("UBLK-ZC-REG-001", contract, "A device without SUPPORT_ZERO_COPY registers no buffers on demand",
     needs(zero_copy))
{
    for (const auto flags : {Features{}, Features(Feature::user_copy), Features(Feature::auto_buf_reg)}) {
        if (!kernel_features().has_any(flags) && !flags.empty())
            continue;
        Driver driver;
        Live live(driver, basic_params(), {.queue_depth = 1, .flags = flags});
        if (flags.empty())
            expect_ok(live.server.ring().register_empty_buffers(buffer_slots), "a table");
        auto held = live.hold_write();
        expect_error(EINVAL, register_buffer(live.server, held.request, 1), uapi::to_string(flags));
        expect_eq(4096, live.finish(held, 4096), "bytes written");
    }
}

CASE("UBLK-ZC-REG-002", contract,
     "A slot outside the ring's table is refused, as is any without a table; one in use is busy",
     needs(zero_copy))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    auto held = live.hold_write();
    for (const unsigned slot : {buffer_slots, buffer_slots + 1, 0xffffU})
        expect_error(EINVAL, register_buffer(live.server, held.request, slot), fmt::format("slot {}", slot));
    auto bare = ublk::wire::Ring::open({.entries = 8, .sqe128 = false});
    expect_true(bare.has_value(), "a ring without a table");
    expect_error(EINVAL, io_through(*bare, live.server, IoNr::register_io_buf, register_cmd(held.request, 0)),
                 "no table");
    Bytes memory(4096);
    expect_ok(set_slot(live.server.ring(), 1, memory), "memory of the server's own in slot 1");
    expect_error(EBUSY, register_buffer(live.server, held.request, 1), "a slot with other memory");
    expect_ok(register_buffer(live.server, held.request, buffer_slots - 1), "the last slot");
    expect_error(EBUSY, register_buffer(live.server, held.request, buffer_slots - 1), "the same again");
    expect_ok(unregister_buffer(live.server, buffer_slots - 1), "UNREGISTER");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-ZC-REG-003", contract,
     "Without a request there is nothing to register: busy for the tag's thread, invalid for others",
     needs(zero_copy))
{
    Driver driver;
    const Server::Request first{};
    Worker other;
    expect_ok(other.run([](auto& ring) { return ring.register_empty_buffers(buffer_slots); }), "a table");
    const auto by_other = [&](const Server& server) {
        return other.io(server.fd(), IoNr::register_io_buf, register_cmd(first, 0));
    };
    const auto device = driver.make(zero_copy_device);
    Server unfetched(device, {.copy_buffers = false});
    expect_ok(unfetched.ring().register_empty_buffers(buffer_slots), "a table");
    expect_error(EINVAL, register_buffer(unfetched, first), "unfetched tag");
    expect_error(EINVAL, by_other(unfetched), "unfetched tag, another thread");
    Live live(driver, basic_params(), zero_copy_device);
    expect_error(EBUSY, register_buffer(live.server, first), "armed tag");
    expect_error(EINVAL, by_other(live.server), "armed tag, another thread");
}

CASE("UBLK-ZC-REG-004", contract, "A request without data has nothing to register", needs(zero_copy))
{
    Driver driver;
    Live live(driver, no_data_params(), zero_copy_device);
    for (const auto& [what, call] : no_data_calls()) {
        auto held = hold(live.server, app_with(live.device, O_RDWR, call));
        expect_error(EINVAL, register_buffer(live.server, held.request), what);
        expect_ok(live.finish(held, 0), what);
    }
    if (!offers(Feature::zoned) || !kernel_has_zoned())
        return;
    ZonedLive disk(driver, zero_copy);
    auto held = hold(disk.server, disk.reset_zone());
    expect_error(EINVAL, register_buffer(disk.server, held.request), "a zone's reset");
    disk.server.commit(held.request.q, held.request.tag, 0);
    expect_ok(disk.server.serve_until(held.app), "BLKRESETZONE");
}

CASE("UBLK-ZC-REG-005", contract, "Fixed reads and writes through the slot move the request's own data",
     needs(zero_copy))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    auto read = read_back(live.device, 8192);
    auto held = hold(live.server, std::move(read.app));
    expect_ok(register_buffer(live.server, held.request, 2), "REGISTER of a read");
    const MemoryFile source(pattern(8192));
    for (const Fixed part : {Fixed{2, 4000, 4192}, Fixed{2, 0, 1}, Fixed{2, 1, 3999}})
        expect_eq(static_cast<long>(part.bytes), read_fixed(live.server, source.fd(), part),
                  fmt::format("fixed read at {}", part.offset));
    expect_ok(unregister_buffer(live.server, 2), "UNREGISTER of a read");
    expect_eq(8192, live.finish(held, 8192), "bytes read");
    expect_true(*read.data == pattern(8192), "the application got what was read into the slot");

    auto write = hold(live.server, write_data(live.device, pattern(8192, 1)));
    expect_ok(register_buffer(live.server, write.request, 2), "REGISTER of a write");
    expect_data(live.server, 2, pattern(8192, 1), "the whole write");
    const MemoryFile middle;
    expect_eq(100, write_fixed(live.server, middle.fd(), {.slot = 2, .offset = 4090, .bytes = 100}),
              "fixed write of a part");
    const auto whole = pattern(8192, 1);
    expect_true(std::equal(whole.begin() + 4090, whole.begin() + 4190, middle.content().begin() + 4090),
                "it is that part");
    expect_ok(unregister_buffer(live.server, 2), "UNREGISTER of a write");
    expect_eq(8192, live.finish(write, 8192), "bytes written");
}

CASE("UBLK-ZC-REG-006", contract, "A read's buffer can only be filled, a write's only be emptied",
     needs(zero_copy))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    const MemoryFile file(pattern(4096));
    auto read = live.hold_read();
    expect_ok(register_buffer(live.server, read.request), "REGISTER of a read");
    expect_error(EFAULT, write_fixed(live.server, file.fd()), "a fixed write from a read's buffer");
    expect_eq(4096, read_fixed(live.server, file.fd()), "a fixed read into it");
    expect_ok(unregister_buffer(live.server), "UNREGISTER");
    expect_eq(4096, live.finish(read, 4096), "bytes read");
    auto write = hold(live.server, write_data(live.device, pattern(4096, 1)));
    expect_ok(register_buffer(live.server, write.request), "REGISTER of a write");
    expect_error(EFAULT, read_fixed(live.server, file.fd()), "a fixed read into a write's buffer");
    expect_data(live.server, 0, pattern(4096, 1), "after the refusal");
    expect_ok(unregister_buffer(live.server), "UNREGISTER");
    expect_eq(4096, live.finish(write, 4096), "bytes written");
}

CASE("UBLK-ZC-REG-007", contract, "A fixed read or write beyond the request is refused", needs(zero_copy))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    const MemoryFile file(pattern(8192));
    auto held = live.hold_write();
    expect_ok(register_buffer(live.server, held.request), "REGISTER");
    for (const Fixed part : {Fixed{0, 0, 4097}, Fixed{0, 2048, 2049}, Fixed{0, 4096, 1}, Fixed{0, 65536, 1},
                             Fixed{0, ~std::uint64_t{0} - 4095, 4096}})
        expect_error(EFAULT, write_fixed(live.server, file.fd(), part),
                     fmt::format("{} bytes at {}", part.bytes, part.offset));
    expect_eq(1, write_fixed(live.server, file.fd(), {.offset = 4095, .bytes = 1}), "the last byte");
    expect_ok(unregister_buffer(live.server), "UNREGISTER");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-ZC-REG-008", contract,
     "A request may be in several slots and several rings, and ends with the last", needs(loose_buffers))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    auto second = ring_with_table();
    const auto data = pattern(4096, 2);
    auto held = hold(live.server, write_data(live.device, data));
    for (const unsigned slot : {0, 1})
        expect_ok(register_buffer(live.server, held.request, slot), fmt::format("slot {}", slot));
    expect_ok(io_through(second, live.server, IoNr::register_io_buf, register_cmd(held.request, 0)),
              "the second ring's slot 0");
    live.server.commit(0, 0, 4096);
    const auto expect_waits = [&](std::string_view while_what) {
        expect_true(!live.server.serve_until([&] { return held.app.done(); }, settle),
                    fmt::format("the write waits while {}", while_what));
    };
    expect_waits("three slots have it");
    expect_ok(unregister_buffer(live.server, 0), "UNREGISTER of slot 0");
    expect_data(live.server, 1, data, "slot 1");
    expect_ok(unregister_buffer(live.server, 1), "UNREGISTER of slot 1");
    expect_waits("the second ring has it");
    const MemoryFile file;
    expect_eq(4096, write_fixed(second, file.fd()), "fixed write through the second ring");
    expect_true(file.content() == data, "the data is the request's, second ring");
    expect_ok(io_through(second, live.server, IoNr::unregister_io_buf, {.addr = 0}), "UNREGISTER there");
    expect_eq(4096, live.server.serve_until(held.app), "bytes written");
}

CASE("UBLK-ZC-REG-009", contract,
     "Another thread than the tag's may register its request where BUF_REG_OFF_DAEMON is offered",
     needs(zero_copy))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    Worker other;
    expect_ok(other.run([](auto& ring) { return ring.register_empty_buffers(buffer_slots); }), "a table");
    const auto data = pattern(4096, 3);
    auto held = hold(live.server, write_data(live.device, data));
    const auto by_other = [&](IoNr nr, const IoCmd& cmd) { return other.io(live.server.fd(), nr, cmd); };
    const long res = by_other(IoNr::register_io_buf, register_cmd(held.request, 0));
    if (offers(Feature::buf_reg_off_daemon)) {
        expect_ok(res, "REGISTER by another thread");
        const MemoryFile file;
        expect_eq(4096, other.run([&](auto& ring) { return write_fixed(ring, file.fd()); }), "fixed write");
        expect_true(file.content() == data, "the data is the request's");
        expect_ok(by_other(IoNr::unregister_io_buf, {.addr = 0}), "UNREGISTER");
    } else {
        expect_error(EINVAL, res, "REGISTER by another thread");
    }
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-ZC-UNREG-001", contract,
     "UNREGISTER wants a slot that holds a request, and leaves other memory alone", needs(loose_buffers))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    expect_error(EINVAL, unregister_buffer(live.server, 0), "an empty slot");
    for (const unsigned slot : {buffer_slots, 0xffffU})
        expect_error(EINVAL, unregister_buffer(live.server, slot), fmt::format("slot {}", slot));
    auto memory = pattern(4096, 4);
    expect_ok(set_slot(live.server.ring(), 0, memory), "memory of the server's own in slot 0");
    expect_error(EBUSY, unregister_buffer(live.server, 0), "a slot with other memory");
    const MemoryFile file;
    io_uring_sqe* sqe = live.server.ring().sqe();
    io_uring_prep_write_fixed(sqe, file.fd(), memory.data(), 4096, 0, 0);
    sqe->user_data = 1ULL << 41;
    live.server.ring().submit();
    expect_eq(4096, live.server.wait(1ULL << 41, patience).value_or(-ETIME),
              "a fixed write from that memory");
    auto held = live.hold_write();
    expect_ok(register_buffer(live.server, held.request, 1), "REGISTER");
    expect_ok(unregister_buffer(live.server, 1), "UNREGISTER");
    expect_error(EINVAL, unregister_buffer(live.server, 1), "the same again");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-ZC-UNREG-002", contract,
     "UNREGISTER goes by ring and slot alone: queue, tag and thread do not matter", needs(loose_buffers))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    auto second = ring_with_table();
    Worker other;
    auto held = live.hold_write();
    expect_ok(register_buffer(live.server, held.request), "REGISTER");
    expect_error(EINVAL, io_through(second, live.server, IoNr::unregister_io_buf, {.addr = 0}),
                 "UNREGISTER through another ring");
    expect_ok(live.server.io(IoNr::unregister_io_buf, {.q_id = 0xffff, .tag = 0xffff, .addr = 0}),
              "UNREGISTER for a queue and a tag that do not exist");
    expect_ok(register_buffer(live.server, held.request), "REGISTER again");
    expect_ok(other.run([&](auto&) {
        return io_through(live.server.ring(), live.server, IoNr::unregister_io_buf, {.addr = 0});
    }),
              "UNREGISTER by another thread through the server's ring");
    expect_empty_slot(live.server, 0, "after that");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-ZC-UNREG-003", contract, "A device without SUPPORT_ZERO_COPY unregisters nothing",
     needs(zero_copy))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    const auto plain = driver.make();
    const Server other(plain);
    const auto data = pattern(4096, 5);
    auto held = hold(live.server, write_data(live.device, data));
    expect_ok(register_buffer(live.server, held.request), "REGISTER");
    expect_error(EINVAL, io_through(live.server.ring(), other, IoNr::unregister_io_buf, {.addr = 0}),
                 "UNREGISTER sent to a device in copy mode");
    expect_data(live.server, 0, data, "after the refusal");
    expect_ok(unregister_buffer(live.server), "UNREGISTER sent to the device itself");
    expect_eq(4096, live.finish(held, 4096), "bytes written");
}

CASE("UBLK-ZC-UNREG-004", contract,
     "UNREGISTER does not wait for fixed I/O under way, which keeps the request until it ends",
     needs(zero_copy))
{
    Driver driver;
    Live live(driver, basic_params(), zero_copy_device);
    int ends[2];
    expect_ok(sys(::pipe2(ends, O_CLOEXEC)), "pipe2");
    const Fd from(ends[0]), to(ends[1]);
    auto read = read_back(live.device, 4096);
    auto held = hold(live.server, std::move(read.app));
    expect_ok(register_buffer(live.server, held.request), "REGISTER");
    const auto token = send_read_fixed(live.server, from.get(), {});
    expect_true(!live.server.wait(token, settle), "a fixed read of an empty pipe waits");
    expect_ok(unregister_buffer(live.server), "UNREGISTER meanwhile");
    expect_empty_slot(live.server, 0, "after it");
    live.server.commit(0, 0, 4096);
    expect_true(!live.server.serve_until([&] { return held.app.done(); }, settle),
                "the read waits for the fixed read");
    const auto data = pattern(4096, 6);
    expect_eq(4096, sys(::write(to.get(), data.data(), data.size())), "bytes into the pipe");
    expect_eq(4096, live.server.wait(token, patience).value_or(-ETIME), "the fixed read");
    expect_eq(4096, live.server.serve_until(held.app), "bytes read");
    expect_true(*read.data == data, "the application got what came through the pipe");
}

} // namespace conformance
