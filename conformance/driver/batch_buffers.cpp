// UBLK-BATCH-REG, UBLK-BATCH-AUTO: registered buffers on batch devices.
#include "conformance/driver/batch_verbs.hpp"
#include "conformance/driver/case.hpp"

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

// The bytes of the write that lie in a slot of the ring; or the error of getting at them.
bool slot_has(ublk::wire::Ring& ring, unsigned slot, const Bytes& data)
{
    const MemoryFile file;
    const long res = write_fixed(ring, file.fd(), {.slot = slot, .bytes = data.size()});
    return res == static_cast<long>(data.size()) && file.content() == data;
}

} // namespace

CASE("UBLK-BATCH-REG-001", contract,
     "Any thread registers the buffer of a request, and none that of an armed tag",
     needs(batch_io | Feature::support_zero_copy))
{
    Driver driver;
    BatchLive live(driver, {.queue_depth = 2, .flags = Feature::support_zero_copy});
    auto app = write_data(live.device, pattern(4096));
    const auto tag = live.hold(app);
    const auto request = live.server.request(0, tag);
    Worker other;
    const auto by_other = [&](IoNr nr, unsigned slot) {
        return other.run([&](ublk::wire::Ring& ring) {
            return io_through(ring, live.server.base, nr, register_cmd(request, slot));
        });
    };
    other.run([](ublk::wire::Ring& ring) { return ring.register_empty_buffers(buffer_slots); });
    expect_error(EINVAL, register_buffer(live.server.base, {.q = 0, .tag = 1 - tag}),
                 "REGISTER of an armed tag");
    expect_ok(register_buffer(live.server.base, request, 1), "REGISTER");
    expect_ok(by_other(IoNr::register_io_buf, 2), "REGISTER by another thread, in a ring of its own");
    expect_error(EBUSY, by_other(IoNr::register_io_buf, 2), "the same slot again");
    expect_error(EINVAL, by_other(IoNr::register_io_buf, buffer_slots), "a slot that does not exist");
    expect_true(slot_has(live.server.base.ring(), 1, pattern(4096)), "one slot has the write's data");
    expect_true(other.run([&](ublk::wire::Ring& ring) { return slot_has(ring, 2, pattern(4096)) ? 1 : 0; }) ==
                    1,
                "the other thread's slot has the write's data");
    expect_ok(by_other(IoNr::unregister_io_buf, 2), "UNREGISTER by the other thread");
    expect_error(EINVAL, by_other(IoNr::unregister_io_buf, 2), "UNREGISTER of an empty slot");
    expect_eq(8, live.server.commit(0, {static_cast<std::uint16_t>(tag)}, 4096), "COMMIT");
    expect_true(!app.done(), "the write waits for its last buffer");
    expect_ok(unregister_buffer(live.server.base, 1), "UNREGISTER");
    expect_true(eventually([&] { return app.done(); }), "the write ends");
    expect_eq(4096, app.result(), "bytes written");
}

CASE("UBLK-BATCH-AUTO-001", contract,
     "An element names the slot, in the ring of the FETCH that brings its tag; a COMMIT there empties it",
     needs(batch_io | Feature::auto_buf_reg | Feature::support_zero_copy))
{
    Driver driver;
    BatchLive live(driver, {.queue_depth = 2, .flags = Feature::auto_buf_reg | Feature::support_zero_copy});
    auto& ring = live.fetch.ring();
    // The other tag stays busy, so that all of this happens to one.
    const auto busy = App::read(live.device, 0, 4096);
    const unsigned tag = 1 - live.hold(busy);
    const auto commit = [&](ublk::wire::Ring& through, std::uint16_t slot, BatchFlags flags = {}) {
        auto element = live.server.entry(0, tag, 4096);
        element.head.buf_index = slot;
        const auto bytes = uapi::encode_batch(std::vector{element}, flags);
        auto head = live.server.head(0, 1);
        head.flags = flags.raw();
        return live.server.command(through, IoNr::commit_io_cmds, head, bytes.data());
    };
    const auto write = [&](unsigned seed) {
        auto app = write_data(live.device, pattern(4096, seed));
        expect_eq(tag, live.hold(app), "tag of the write");
        return app;
    };
    const auto expect_done = [](App& app, std::string_view what) {
        expect_true(eventually([&] { return app.done(); }), fmt::format("{} ends", what));
        expect_eq(4096, app.result(), what);
    };
    // A FETCH is out on the ring, so the answer to a COMMIT there may only come beside a request: none is
    // sent.
    auto first = write(1);
    expect_true(slot_has(ring, tag, pattern(4096, 1)), "the write's data is in the slot that PREP named");
    expect_eq(8, commit(ring, 5), "COMMIT through the same ring, slot 5 next");
    expect_done(first, "the first write");
    expect_true(!slot_has(ring, tag, pattern(4096, 1)), "that slot is empty");

    auto second = write(2);
    expect_true(slot_has(ring, 5, pattern(4096, 2)), "the next write's data is in slot 5");
    expect_eq(8, commit(live.server.base.ring(), 5, BatchFlag::auto_buf_reg_fallback),
              "COMMIT through another ring, with FALLBACK");
    expect_true(!eventually([&] { return second.done(); }, settle), "the write waits for slot 5");
    expect_ok(io_through(ring, live.server.base, IoNr::unregister_io_buf, {.addr = 5}),
              "UNREGISTER of slot 5");
    expect_done(second, "the second write");

    Bytes memory(4096);
    expect_ok(set_slot(ring, 5, memory), "memory of the server's own in slot 5");
    auto third = write(3);
    expect_true(live.server.request(0, tag).desc.flags().has(uapi::IoFlag::need_reg_buf),
                "slot taken, FALLBACK: the request asks to be registered");
    expect_eq(8, commit(ring, 5), "COMMIT without FALLBACK, the same slot");
    expect_done(third, "the third write");
    auto fourth = write_data(live.device, pattern(4096, 4));
    expect_true(eventually([&] { return fourth.done(); }), "a write whose slot is taken, no FALLBACK, ends");
    expect_error(EIO, fourth.result(), "its result");
}

} // namespace conformance
