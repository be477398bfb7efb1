// UBLK-ZC-COMMIT, UBLK-ZC-EXIT, UBLK-ZC-DEF: how a request with registered buffers ends.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <csignal>
#include <optional>

namespace conformance {

namespace {

constexpr auto zero_copy_only = Feature::support_zero_copy;
const AddOptions one_zero_copy_tag{.queue_depth = 1, .flags = zero_copy_only};

void expect_app_waits(Server& server, const App& app, std::string_view why, Where where = Where::current())
{
    expect_true(!server.serve_until([&] { return app.done(); }, settle),
                fmt::format("the application waits {}", why), where);
}

} // namespace

CASE("UBLK-ZC-COMMIT-001", contract,
     "COMMIT arms the tag at once; the application's request ends when no slot has it any more",
     needs(zero_copy_only | Feature::buf_reg_off_daemon))
{
    Driver driver;
    Live live(driver, basic_params(), one_zero_copy_tag);
    auto held = live.hold_write();
    expect_ok(register_buffer(live.server, held.request), "REGISTER");
    live.server.commit(0, 0, 4096);
    expect_error(EBUSY, live.server.io(IoNr::commit_and_fetch_req, live.server.cmd(0, 0, 4096)),
                 "a second COMMIT");
    expect_app_waits(live.server, held.app, "for UNREGISTER");
    expect_ok(unregister_buffer(live.server), "UNREGISTER");
    expect_eq(4096, live.server.serve_until(held.app), "bytes written");
    auto next = live.hold_write();
    expect_eq(4096, live.finish(next, 4096), "bytes of the next write");
}

CASE("UBLK-ZC-COMMIT-002", contract, "The committed result counts, even if the data is moved only after it",
     needs(zero_copy_only | Feature::buf_reg_off_daemon))
{
    Driver driver;
    Live live(driver, basic_params(), one_zero_copy_tag);
    const MemoryFile file(pattern(4096));
    for (const std::int32_t result : {4096, -ENOSPC}) {
        auto read = read_back(live.device, 4096);
        auto held = hold(live.server, std::move(read.app));
        expect_ok(register_buffer(live.server, held.request), "REGISTER");
        live.server.commit(0, 0, result);
        expect_app_waits(live.server, held.app, "for UNREGISTER");
        expect_eq(4096, read_fixed(live.server, file.fd()), "fixed read after the COMMIT");
        expect_ok(unregister_buffer(live.server), "UNREGISTER");
        expect_eq(result, live.server.serve_until(held.app), "the read's result");
        if (result > 0)
            expect_true(*read.data == pattern(4096), "the application got the data");
    }
}

CASE("UBLK-ZC-COMMIT-003", contract, "FETCH and COMMIT of a zero copy device bring no buffer's address",
     needs(zero_copy_only))
{
    Driver driver;
    const auto device = driver.make(one_zero_copy_tag);
    Server server(device, {.copy_buffers = false});
    auto with_buffer = server.cmd(0, 0, 4096);
    with_buffer.addr = reinterpret_cast<std::uintptr_t>(&with_buffer);
    expect_error(EINVAL, server.io(IoNr::fetch_req, with_buffer), "FETCH");
    server.go_live(basic_params());
    auto held = hold(server, App::write(device, 0, 4096, std::byte{1}));
    expect_error(EINVAL, server.io(IoNr::commit_and_fetch_req, with_buffer), "COMMIT");
    expect_true(!held.app.done(), "the write waits for its commit");
    server.commit(0, 0, 4096);
    expect_eq(4096, server.serve_until(held.app), "bytes written");
}

CASE("UBLK-ZC-EXIT-001", contract,
     "A ring that ends lets go of its buffers; requests that were committed end well, others fail",
     needs(zero_copy_only))
{
    Driver driver;
    std::optional<Live> live(std::in_place, driver, basic_params(), one_zero_copy_tag);
    auto opened = ublk::wire::Ring::open({.entries = 8, .sqe128 = false});
    expect_true(opened.has_value() && opened->register_empty_buffers(1) == 0, "a second ring with a table");
    std::optional second(std::move(*opened));
    auto committed = live->hold_write();
    expect_ok(io_through(*second, live->server, IoNr::register_io_buf, register_cmd(committed.request, 0)),
              "REGISTER in the second ring");
    live->server.commit(0, 0, 4096);
    expect_app_waits(live->server, committed.app, "for the second ring");
    second.reset();
    expect_eq(4096, live->server.serve_until(committed.app), "bytes written");

    auto owned = live->hold_write();
    expect_ok(register_buffer(live->server, owned.request), "REGISTER in the server's ring");
    live.reset(); // mappings too, which keep ublkcN open
    expect_true(eventually([&] { return owned.app.done(); }), "the write ends with the server");
    expect_error(EIO, owned.app.result(), "the write");
}

CASE("UBLK-ZC-EXIT-002", contract,
     "A server that is killed between COMMIT and UNREGISTER ends, and so does the request",
     needs(zero_copy_only), timeout(10s))
{
    Driver driver;
    const auto device = driver.make(one_zero_copy_tag);
    Child server([&](Child& self) {
        Driver own;
        Server inside(Device(own, device.added()), {.copy_buffers = false});
        expect_eq(0, inside.ring().register_empty_buffers(buffer_slots), "a table of fixed buffers");
        inside.go_live();
        self.tell();
        const auto request = inside.expect_request("the write");
        expect_ok(register_buffer(inside, request), "REGISTER");
        inside.commit(request.q, request.tag, 4096);
        self.tell();
        inside.serve_for(10min);
        return 0;
    });
    server.hear();
    const App write = App::write(device, 0, 4096, std::byte{1});
    server.hear();
    expect_waits(write, "the write, while the ring has its buffer");
    server.kill(SIGKILL);
    expect_eq(128 + SIGKILL, server.join(), "exit of the server");
    expect_true(eventually([&] { return write.done(); }), "the write ends with the ring");
    expect_state(device, DevState::dead, "after the server's end");
}

CASE("UBLK-ZC-DEF-001", contract,
     "Zero copy alone changes no limit of the disk; those of the server's backend come by parameters",
     needs(zero_copy_only))
{
    Driver driver;
    const Live plain(driver), zero_copied(driver, basic_params(), one_zero_copy_tag);
    for (const char* name : {"queue/dma_alignment", "queue/max_segments", "queue/max_segment_size",
                             "queue/max_hw_sectors_kb", "queue/max_sectors_kb", "queue/virt_boundary_mask",
                             "queue/logical_block_size", "queue/max_integrity_segments"}) {
        expect_true(!plain.device.sysfs(name).empty(), fmt::format("{} can be read", name));
        expect_eq(plain.device.sysfs(name), zero_copied.device.sysfs(name), name);
    }
    auto params = basic_params();
    params.types |= (ParamType::dma_align | ParamType::segment).raw();
    params.dma.alignment = 4095;
    params.seg = {.seg_boundary_mask = 65535, .max_segment_size = 32768, .max_segments = 5};
    const Live limited(driver, params, one_zero_copy_tag);
    expect_eq(4095U, sysfs_number(limited.device, "queue/dma_alignment"), "dma_alignment");
    expect_eq(5U, sysfs_number(limited.device, "queue/max_segments"), "max_segments");
    expect_eq(32768U, sysfs_number(limited.device, "queue/max_segment_size"), "max_segment_size");
}

} // namespace conformance
