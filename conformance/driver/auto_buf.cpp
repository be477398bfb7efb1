// UBLK-AUTO: the driver itself registers a request's pages in the ring of its tag's command.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/data_verbs.hpp"

#include <fcntl.h>
#include <functional>
#include <sys/stat.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr auto auto_reg = Feature::auto_buf_reg;
const AddOptions auto_device{.queue_depth = 1, .flags = auto_reg};

constexpr AutoBufReg bad_words[] = {
    {.flags = 2},        {.flags = 0xfe},  {.flags = 0x81},           {.reserved0 = 1},
    {.reserved0 = 0x80}, {.reserved1 = 1}, {.reserved1 = 0x8000'0000}};

// Finishes a request, so that the next one of the tag is registered as `word` says.
void give_word(Live& live, const AutoBufReg& word, Where where = Where::current())
{
    auto held = live.hold_read(0, 4096, where);
    live.server.auto_buf = word;
    expect_eq(4096, live.finish(held, 4096, where), "bytes read", where);
}

void expect_written(Server& server, unsigned slot, const Bytes& data, Where where = Where::current())
{
    const MemoryFile file;
    expect_eq(std::ssize(data), write_fixed(server, file.fd(), {.slot = slot, .bytes = data.size()}, where),
              fmt::format("fixed write through slot {}", slot), where);
    expect_true(file.content() == data, "it brings what the application wrote", where);
}

// A device of its own for `judge`, and where the driver has it another with SUPPORT_ZERO_COPY, on which the
// server may register by itself.
void without_and_with_zero_copy(const std::function<void(Live& live, bool on_demand)>& judge)
{
    for (const bool on_demand : {false, true}) {
        if (on_demand && !offers(Feature::support_zero_copy))
            continue;
        Driver driver;
        Live live(driver, basic_params(),
                  {.queue_depth = 1,
                   .flags = on_demand ? auto_reg | Feature::support_zero_copy : Features(auto_reg)});
        judge(live, on_demand);
    }
}

bool needs_registration(const Server::Request& request)
{
    return request.desc.flags().has(uapi::IoFlag::need_reg_buf);
}

} // namespace

CASE("UBLK-AUTO-001", contract,
     "FETCH and COMMIT carry slot and flags in sqe->addr; flags that do not exist are refused",
     needs(auto_reg))
{
    Driver driver;
    const auto device = driver.make(auto_device);
    Server server(device, {.copy_buffers = false});
    expect_ok(server.ring().register_empty_buffers(buffer_slots), "a table");
    for (const auto& word : bad_words) {
        server.auto_buf = word;
        expect_error(EINVAL, server.io(IoNr::fetch_req, server.cmd(0, 0)),
                     fmt::format("FETCH, {:#x}", uapi::to_sqe_addr(word)));
    }
    server.auto_buf = {.index = 6, .flags = uapi::auto_buf_reg_fallback};
    server.go_live(basic_params());
    auto held = hold(server, write_data(device, pattern(4096)));
    expect_written(server, 6, pattern(4096));
    for (const auto& word : bad_words) {
        server.auto_buf = word;
        expect_error(EINVAL, server.io(IoNr::commit_and_fetch_req, server.cmd(0, 0, 4096)),
                     fmt::format("COMMIT, {:#x}", uapi::to_sqe_addr(word)));
    }
    server.auto_buf = {.index = 7};
    server.commit(0, 0, 4096);
    expect_eq(4096, server.serve_until(held.app), "bytes written");
    auto next = hold(server, write_data(device, pattern(4096, 1)));
    expect_written(server, 7, pattern(4096, 1));
    server.commit(0, 0, 4096);
    expect_eq(4096, server.serve_until(next.app), "bytes of the next write");
}

CASE("UBLK-AUTO-002", contract, "FETCH and COMMIT bring no buffer's address beside the slot", needs(auto_reg))
{
    Driver driver;
    const auto device = driver.make(auto_device);
    Server server(device, {.copy_buffers = false});
    expect_ok(server.ring().register_empty_buffers(buffer_slots), "a table");
    auto with_buffer = server.cmd(0, 0, 4096);
    with_buffer.addr = reinterpret_cast<std::uintptr_t>(&with_buffer);
    expect_error(EINVAL, server.io(IoNr::fetch_req, with_buffer), "FETCH");
    server.go_live(basic_params());
    auto held = hold(server, write_data(device, pattern(4096)));
    expect_error(EINVAL, server.io(IoNr::commit_and_fetch_req, with_buffer), "COMMIT");
    expect_true(!held.app.done(), "the write waits for its commit");
    expect_written(server, 0, pattern(4096));
    server.commit(0, 0, 4096);
    expect_eq(4096, server.serve_until(held.app), "bytes written");
}

CASE("UBLK-AUTO-003", contract,
     "A request is in its slot before its completion comes; one without data leaves the slot empty",
     needs(auto_reg))
{
    Driver driver;
    Live live(driver, no_data_params(), auto_device);
    give_word(live, {.index = 5});
    auto write = hold(live.server, write_data(live.device, pattern(4096)));
    expect_written(live.server, 5, pattern(4096));
    expect_eq(4096, live.finish(write, 4096), "bytes written");
    auto read = read_back(live.device, 4096);
    auto held = hold(live.server, std::move(read.app));
    const MemoryFile file(pattern(4096, 1));
    expect_eq(4096, read_fixed(live.server, file.fd(), {.slot = 5}), "fixed read into the slot");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
    expect_true(*read.data == pattern(4096, 1), "the application got that");
    for (const auto& [what, call] : no_data_calls()) {
        auto none = hold(live.server, app_with(live.device, O_RDWR, call));
        expect_empty_slot(live.server, 5, fmt::format("at {}", what));
        expect_ok(live.finish(none, 0), what);
    }
}

CASE("UBLK-AUTO-004", contract, "COMMIT empties the slot, and names the one for the tag's next request",
     needs(auto_reg))
{
    Driver driver;
    Live live(driver, basic_params(), auto_device);
    for (unsigned slot = 0; slot < 4; ++slot) {
        auto held = hold(live.server, write_data(live.device, pattern(4096, slot)));
        expect_written(live.server, slot, pattern(4096, slot));
        expect_empty_slot(live.server, slot + 1, "before its turn");
        live.server.auto_buf = {.index = static_cast<std::uint16_t>(slot + 1)};
        expect_eq(4096, live.finish(held, 4096), "bytes written");
        expect_empty_slot(live.server, slot, "after COMMIT");
    }
}

CASE("UBLK-AUTO-005", contract,
     "COMMIT through another ring leaves the slot as it is: the application waits until the first ring lets "
     "go",
     needs(auto_reg))
{
    without_and_with_zero_copy([](Live& live, bool on_demand) {
        auto second = ublk::wire::Ring::open({.entries = 8, .sqe128 = false});
        expect_true(second && second->register_empty_buffers(1) == 0, "a second ring with a table");
        auto held = hold(live.server, write_data(live.device, pattern(4096)));
        ublk::wire::prep_io(*second->sqe(), live.server.fd(), uapi::opcode(IoNr::commit_and_fetch_req),
                            live.server.cmd(0, 0, 4096), 1);
        expect_eq(1, second->submit(), "COMMIT through the second ring");
        expect_true(!live.server.serve_until([&] { return held.app.done(); }, settle),
                    "the write waits for the first ring");
        expect_written(live.server, 0, pattern(4096));
        // Without BUF_REG_OFF_DAEMON it is refused for a tag that is not the server's.
        if (on_demand && offers(Feature::buf_reg_off_daemon)) {
            expect_ok(unregister_buffer(live.server), "UNREGISTER");
        } else {
            expect_error(offers(Feature::buf_reg_off_daemon) ? EINVAL : EBUSY, unregister_buffer(live.server),
                         on_demand ? "UNREGISTER after COMMIT" : "UNREGISTER without SUPPORT_ZERO_COPY");
            expect_ok(set_slot(live.server.ring(), 0), "emptying the slot");
        }
        expect_eq(4096, live.server.serve_until(held.app), "bytes written");
        auto next = App::read(live.device, 0, 4096);
        const auto done = second->wait(patience);
        expect_true(done && done->res == 0, "the next request comes to the second ring");
    });
}

CASE("UBLK-AUTO-006", contract,
     "A COMMIT refused for its flags leaves the request to the server, in its slot", needs(auto_reg))
{
    Driver driver;
    Live live(driver, basic_params(), auto_device);
    auto held = hold(live.server, write_data(live.device, pattern(4096)));
    for (const auto& word : bad_words) {
        live.server.auto_buf = word;
        expect_error(EINVAL, live.server.io(IoNr::commit_and_fetch_req, live.server.cmd(0, 0, 4096)),
                     fmt::format("COMMIT, {:#x}", uapi::to_sqe_addr(word)));
        expect_true(!live.server.serve_until([&] { return held.app.done(); }, 20ms),
                    "the write waits for a good COMMIT");
    }
    expect_written(live.server, 0, pattern(4096));
    live.server.auto_buf = {};
    expect_eq(4096, live.finish(held, 4096), "bytes written");
    auto next = live.hold_write();
    expect_eq(4096, live.finish(next, 4096), "bytes of the next write");
}

CASE("UBLK-AUTO-007", contract,
     "A request whose slot is taken or does not exist fails, and its tag waits for the next one",
     needs(auto_reg))
{
    Driver driver;
    Live live(driver, basic_params(), auto_device);
    Bytes memory(4096);
    const auto expect_fails = [&](std::string_view why) {
        live.server.seen.clear();
        auto app = App::read(live.device, 0, 4096);
        expect_error(EIO, live.server.serve_until(app), why);
        expect_true(!live.server.next(settle), fmt::format("the server hears nothing of it, {}", why));
        expect_eq(0U, live.server.seen.size(), "requests that it got");
        expect_error(EBUSY, live.server.io(IoNr::commit_and_fetch_req, live.server.cmd(0, 0)),
                     "COMMIT of the armed tag");
    };
    expect_ok(set_slot(live.server.ring(), 0, memory), "memory of the server's own in the slot");
    expect_fails("the slot is taken");
    expect_ok(set_slot(live.server.ring(), 0), "emptying the slot");
    give_word(live, {.index = buffer_slots});
    expect_fails("no such slot");
}

CASE("UBLK-AUTO-008", contract,
     "With FALLBACK a request that cannot be registered says so, and the server registers it where it may",
     needs(auto_reg))
{
    without_and_with_zero_copy([](Live& live, bool on_demand) {
        Bytes memory(4096);
        expect_ok(set_slot(live.server.ring(), 1, memory), "memory of the server's own in slot 1");
        give_word(live, {.index = 1, .flags = uapi::auto_buf_reg_fallback});
        auto held = hold(live.server, write_data(live.device, pattern(4096)));
        expect_ok(held.request.res, "the completion");
        expect_true(needs_registration(held.request), "the descriptor has NEED_REG_BUF");
        const long res = register_buffer(live.server, held.request, 2);
        if (on_demand) {
            expect_ok(res, "REGISTER");
            expect_written(live.server, 2, pattern(4096));
            expect_ok(unregister_buffer(live.server, 2), "UNREGISTER");
        } else {
            expect_error(EINVAL, res, "REGISTER without SUPPORT_ZERO_COPY");
        }
        expect_eq(4096, live.finish(held, 4096), "bytes written");
    });
}

CASE("UBLK-AUTO-009", contract,
     "NEED_REG_BUF stands in the descriptors of requests that fell back, and no others", needs(auto_reg))
{
    Driver driver;
    Live live(driver, basic_params(), auto_device);
    const AutoBufReg word{.index = 1, .flags = uapi::auto_buf_reg_fallback};
    auto without = live.hold_write();
    expect_true(!needs_registration(without.request), "not without FALLBACK");
    live.server.auto_buf = word;
    expect_eq(4096, live.finish(without, 4096), "bytes written");
    Bytes memory(4096);
    for (const bool taken : {false, true, false}) {
        expect_ok(set_slot(live.server.ring(), 1, taken ? std::span(memory) : std::span<std::byte>()),
                  "what is in slot 1");
        auto held = hold(live.server, write_data(live.device, pattern(4096)));
        expect_eq(taken, needs_registration(held.request),
                  taken ? "NEED_REG_BUF, slot taken" : "NEED_REG_BUF, slot free");
        if (!taken)
            expect_written(live.server, 1, pattern(4096));
        expect_eq(4096, live.finish(held, 4096), "bytes written");
    }
}

CASE("UBLK-AUTO-010", contract, "An unprivileged device has no AUTO_BUF_REG", needs(auto_reg))
{
    // Whoever may do everything gets a privileged device, whatever he asks for.
    Child user([](Child&) {
        expect_ok(sys(::chmod(ublk::wire::control_path, 0666)), "chmod of ublk-control");
        become_user();
        Driver driver;
        expect_error(EINVAL, driver.add({.flags = Feature::unprivileged_dev | auto_reg}), "both");
        expect_ok(driver.add({.flags = Feature::unprivileged_dev}), "unprivileged alone");
        return 0;
    });
    expect_eq(0, user.join(), "exit of the ordinary user");
}

CASE("UBLK-AUTO-011", contract, "With USER_COPY the same request can be copied by file position as well",
     needs(auto_reg | Feature::user_copy))
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 1, .flags = auto_reg | Feature::user_copy});
    auto write = hold(live.server, write_data(live.device, pattern(4096)));
    Bytes data(4096);
    expect_eq(4096, copy_out(live.server, write.request, data), "pread");
    expect_true(data == pattern(4096), "it brings what the application wrote");
    expect_written(live.server, 0, pattern(4096));
    expect_eq(4096, live.finish(write, 4096), "bytes written");
    auto read = read_back(live.device, 4096);
    auto held = hold(live.server, std::move(read.app));
    const MemoryFile file(pattern(4096, 1));
    expect_eq(2048, read_fixed(live.server, file.fd(), {.bytes = 2048}), "fixed read of the first half");
    const auto whole = pattern(4096, 1);
    expect_eq(2048, copy_in(live.server, held.request, std::span(whole).subspan(2048), 2048),
              "pwrite of the second half");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
    expect_true(*read.data == whole, "the application got both halves");
}

} // namespace conformance
