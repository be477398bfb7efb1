// UBLK-BATCH-GEN: which commands a batch device has, and what their heads may say.
#include "conformance/driver/batch_verbs.hpp"
#include "conformance/driver/case.hpp"

#include <cstring>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr IoNr batch_commands[] = {IoNr::prep_io_cmds, IoNr::commit_io_cmds, IoNr::fetch_io_cmds};

constexpr std::uint32_t encoded(std::uint32_t nr, std::uint32_t size = sizeof(BatchIo),
                                uapi::Direction direction = uapi::Direction::read_write)
{
    return uapi::encode_opcode(direction, uapi::opcode_type_ublk, nr, size);
}

const char* name_of(IoNr nr)
{
    return nr == IoNr::prep_io_cmds ? "PREP" : nr == IoNr::commit_io_cmds ? "COMMIT" : "FETCH";
}

} // namespace

CASE("UBLK-BATCH-GEN-001", contract,
     "A batch device has no commands for one tag and no raw numbers; queue and tag are looked at first",
     needs(batch_io))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4, .flags = batch_io});
    BatchServer server(device);
    std::vector<std::uint32_t> ops{uapi::opcode(IoNr::fetch_req), uapi::opcode(IoNr::commit_and_fetch_req),
                                   uapi::opcode(IoNr::need_get_data), encoded(0x30)};
    for (std::uint32_t nr = 0x20; nr <= 0x27; ++nr)
        ops.push_back(nr);
    for (const auto op : ops) {
        const auto what = fmt::format("command {:#x}", op);
        const auto io = [&](std::uint16_t q, std::uint16_t tag) {
            return server.base.io(op, {.q_id = q, .tag = tag, .addr = server.base.buffer_addr(0, 0)});
        };
        expect_error(EOPNOTSUPP, io(0, 0), what);
        expect_error(EINVAL, io(1, 0), what + " for a queue that does not exist");
        expect_error(EINVAL, io(0, 4), what + " for a tag that does not exist");
    }
    expect_ok(server.prep(0, server.all_tags()), "PREP afterwards");
}

CASE("UBLK-BATCH-GEN-002", contract, "A batch device compares opcodes with all their bits", needs(batch_io))
{
    Driver driver;
    const auto device = driver.make({.flags = batch_io});
    BatchServer server(device);
    const auto elements = uapi::encode_batch(server.entries(0, server.all_tags()), server.flags);
    const auto send = [&](std::uint32_t op) {
        ublk::wire::prep_batch(*server.base.ring().sqe(), server.base.fd(), op,
                               server.head(0, device.depth()),
                               reinterpret_cast<std::uintptr_t>(elements.data()), 0);
        expect_eq(1, server.base.ring().submit(), "entries taken");
        const auto done = server.base.ring().wait(patience);
        expect_true(done.has_value(), fmt::format("command {:#x} is answered", op));
        return static_cast<long>(done->res);
    };
    for (const auto nr : batch_commands) {
        const auto number = static_cast<std::uint32_t>(nr);
        for (const auto op : {encoded(number, 8), encoded(number, 32), encoded(number, 0),
                              encoded(number, sizeof(BatchIo), uapi::Direction::read),
                              encoded(number, sizeof(BatchIo), uapi::Direction::write),
                              encoded(number, sizeof(BatchIo), uapi::Direction::none)})
            expect_error(EOPNOTSUPP, send(op), fmt::format("{} as {:#x}", name_of(nr), op));
    }
    for (const auto nr : {IoNr::register_io_buf, IoNr::unregister_io_buf})
        expect_error(EOPNOTSUPP,
                     server.base.io(encoded(static_cast<std::uint32_t>(nr), 8), server.base.cmd(0, 0)),
                     "registration, wrong size");
    expect_ok(send(uapi::opcode(IoNr::prep_io_cmds)), "PREP as it is");
}

CASE("UBLK-BATCH-GEN-003", contract, "Any other device knows batch commands as little as any unknown one",
     needs(batch_io))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1});
    expect_ok(device.set_params(basic_params()), "SET_PARAMS");
    Server server(device);
    const auto expect_refused = [&](int err, std::string_view state) {
        for (const auto nr : batch_commands)
            expect_error(err, server.io(nr, server.cmd(0, 0)), fmt::format("{}, {}", name_of(nr), state));
    };
    expect_refused(EINVAL, "tag not fetched");
    server.go_live();
    expect_refused(EBUSY, "tag armed");
    auto app = App::read(device, 0, 4096);
    server.expect_request("the application's read");
    expect_refused(EINVAL, "tag owned");
    server.commit(0, 0, 4096);
    expect_eq(4096, server.serve_until(app), "bytes read");
}

CASE("UBLK-BATCH-GEN-004", contract,
     "PREP and COMMIT look at queue, number of elements, flags and size of an element, in that order",
     needs(batch_io))
{
    constexpr std::uint16_t lba = 1, address = 2, fallback = 4, unknown = 8;
    struct Row {
        int err;
        BatchIo head;
    };
    const auto expect_all = [](Features more, const std::vector<Row>& rows) {
        Driver driver;
        const auto device = driver.make({.queue_depth = 4, .flags = more | batch_io});
        BatchServer server(device);
        for (const auto nr : {IoNr::prep_io_cmds, IoNr::commit_io_cmds}) {
            for (const auto& [err, head] : rows) {
                const long res = server.command(nr, head, nullptr);
                const auto what = fmt::format("{}: queue {}, flags {}, {} elements of {} bytes", name_of(nr),
                                              head.q_id, head.flags, head.nr_elem, head.elem_bytes);
                if (err == 0)
                    expect_ok(res, what);
                else
                    expect_error(err, res, what);
            }
        }
    };
    expect_all({}, {{EINVAL, {.q_id = 1, .flags = address, .elem_bytes = 16}},
                    {EINVAL, {.q_id = 1, .flags = address, .nr_elem = 5, .elem_bytes = 16}},
                    {E2BIG, {.flags = address, .nr_elem = 5, .elem_bytes = 16}},
                    {E2BIG, {.flags = unknown, .nr_elem = 0xffff, .elem_bytes = 3}},
                    {EINVAL, {.flags = lba, .elem_bytes = 16}},
                    {EINVAL, {.flags = lba | address, .elem_bytes = 24}},
                    {EINVAL, {.flags = fallback, .elem_bytes = 8}},
                    {EINVAL, {.flags = unknown, .elem_bytes = 8}},
                    {EINVAL, {.flags = address | 0x8000, .elem_bytes = 16}},
                    {EINVAL, {.flags = address, .elem_bytes = 8}},
                    {EINVAL, {.flags = address, .elem_bytes = 24}},
                    {EINVAL, {.flags = 0, .elem_bytes = 16}},
                    {EINVAL, {.flags = 0, .elem_bytes = 0}},
                    {0, {.flags = address, .elem_bytes = 16}},
                    {0, {.flags = 0, .elem_bytes = 8}}});
    expect_all(Feature::user_copy, {{EINVAL, {.flags = address, .elem_bytes = 16}},
                                    {EINVAL, {.flags = fallback, .elem_bytes = 8}},
                                    {0, {.elem_bytes = 8}}});
    expect_all(Feature::auto_buf_reg, {{EINVAL, {.flags = address | fallback, .elem_bytes = 16}},
                                       {EINVAL, {.flags = address, .elem_bytes = 16}},
                                       {0, {.flags = fallback, .elem_bytes = 8}}});
    expect_all(Feature::zoned | Feature::user_copy,
               {{EINVAL, {.flags = lba, .elem_bytes = 8}}, {0, {.flags = lba, .elem_bytes = 16}}});
}

CASE("UBLK-BATCH-GEN-005", contract, "Reserved members of a batch are not looked at", needs(batch_io))
{
    Driver driver;
    const auto device = driver.make({.flags = batch_io});
    expect_ok(device.set_params(basic_params()), "SET_PARAMS");
    BatchServer server(device);
    auto head = server.head(0, device.depth());
    head.reserved = 0xff;
    head.reserved2 = ~0ULL;
    auto elements = uapi::encode_batch(server.entries(0, server.all_tags()), server.flags);
    expect_ok(server.command(IoNr::prep_io_cmds, head, elements.data()), "PREP");
    expect_ok(device.start(), "START_DEV");
    TagFetch fetch(server.base);
    auto command = fetch.well_formed();
    command.head.reserved = 0xff;
    command.head.reserved2 = ~0ULL;
    fetch.send(command);
    const auto app = App::read(device, 0, 4096);
    const auto tag = fetch.expect_tags(1).at(0);
    elements = uapi::encode_batch(server.entries(0, {tag}, 4096), server.flags);
    head.nr_elem = 1;
    expect_eq(server.elem_bytes(), server.command(IoNr::commit_io_cmds, head, elements.data()), "COMMIT");
    expect_true(eventually([&] { return app.done(); }), "the read ends");
    expect_eq(4096, app.result(), "bytes read");
}

CASE("UBLK-BATCH-GEN-006", contract, "A batch without elements does nothing, and that well", needs(batch_io))
{
    Driver driver;
    const auto device = driver.make({.flags = batch_io});
    expect_ok(device.set_params(basic_params()), "SET_PARAMS");
    BatchServer server(device);
    const auto expect_nothing_done = [&](std::string_view when) {
        for (const auto nr : {IoNr::prep_io_cmds, IoNr::commit_io_cmds})
            expect_ok(server.command(nr, server.head(0, 0), nullptr),
                      fmt::format("{} {}", name_of(nr), when));
    };
    expect_nothing_done("before any tag");
    auto start = device.begin_start();
    start.expect_pending("START_DEV");
    expect_ok(server.prep(0, server.all_tags()), "PREP of all tags");
    expect_ok(start.result(), "START_DEV");
    TagFetch fetch(server.base);
    fetch.send();
    const auto app = App::read(device, 0, 4096);
    const auto tags = fetch.expect_tags(1);
    expect_nothing_done("while a tag is owned");
    expect_true(!app.done(), "the read waits for its commit");
    expect_eq(server.elem_bytes(), server.commit(0, tags, 4096), "COMMIT of the tag");
    expect_true(eventually([&] { return app.done(); }), "the read ends");
}

CASE("UBLK-BATCH-GEN-007", contract, "PREP, COMMIT and FETCH may come from any thread, through any ring",
     needs(batch_io))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 4, .flags = batch_io});
    expect_ok(device.set_params(basic_params()), "SET_PARAMS");
    BatchServer server(device);
    Worker preparing, fetching, committing;
    const auto send = [&](Worker& by, IoNr nr, const Tags& tags, std::int32_t result) {
        const auto elements = uapi::encode_batch(server.entries(0, tags, result), server.flags);
        return by.run([&](ublk::wire::Ring& ring) {
            return server.command(ring, nr, server.head(0, tags.size()), elements.data());
        });
    };
    expect_ok(send(preparing, IoNr::prep_io_cmds, {0, 2}, 0), "PREP by one thread");
    expect_ok(send(committing, IoNr::prep_io_cmds, {1, 3}, 0), "PREP by another");
    expect_ok(device.start(), "START_DEV");
    TagFetch fetch(server.base);
    fetching.run([&](ublk::wire::Ring&) {
        fetch.send();
        return 0;
    });
    for (int round = 0; round < 8; ++round) {
        const auto app = App::read(device, 0, 4096);
        std::optional<TagFetch::Arrival> arrival;
        fetching.run([&](ublk::wire::Ring&) {
            arrival = fetch.next(patience);
            return 0;
        });
        expect_true(arrival && arrival->tags.size() == 1, "the fetching thread is brought the request");
        auto& by = round % 2 == 0 ? committing : preparing;
        expect_eq(server.elem_bytes(), send(by, IoNr::commit_io_cmds, arrival->tags, 4096), "COMMIT");
        expect_true(eventually([&] { return app.done(); }), "the read ends");
        expect_eq(4096, app.result(), "bytes read");
    }
}

CASE("UBLK-BATCH-GEN-008", contract, "A batch device, too, may have one tag", needs(batch_io))
{
    for (const unsigned depth : {2, 1}) {
        Driver driver;
        expect_ok(driver.add({.queue_depth = depth, .flags = batch_io}), fmt::format("depth {}", depth));
        BatchLive live(driver, {.queue_depth = depth, .flags = batch_io});
        auto app = App::read(live.device, 0, 4096);
        expect_eq(4096, live.serve_until(app), fmt::format("bytes read, depth {}", depth));
    }
}

} // namespace conformance
