// UBLK-BATCH-FETCH: the command that brings the tags of requests.
#include "conformance/driver/batch_verbs.hpp"
#include "conformance/driver/case.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

Params page_requests()
{
    auto params = basic_params();
    params.basic.max_sectors = 8;
    return params;
}

unsigned reads_in_flight(const Device& device)
{
    unsigned reads = 0, writes = 0;
    std::sscanf(device.sysfs("inflight").c_str(), "%u %u", &reads, &writes);
    return reads;
}

// Device and server, live, and nothing fetched.
struct Unfetched {
    Driver driver;
    Device device;
    BatchServer server;

    explicit Unfetched(AddOptions options, const Params& params = basic_params())
        : device(driver.make(options)), server(device)
    {
        server.go_live(params);
    }
    // A read of `requests` pages, each a request that waits for a FETCH.
    App queue_reads(unsigned requests, Where where = Where::current()) const
    {
        auto app = App::read(device, 0, requests * std::size_t{4096});
        expect_true(eventually([&] { return reads_in_flight(device) == requests; }),
                    fmt::format("{} requests wait", requests), where);
        return app;
    }
    void finish(const App& app, const Tags& tags, long bytes, Where where = Where::current())
    {
        expect_eq(static_cast<long>(tags.size() * server.elem_bytes()), server.commit(0, tags, 4096, where),
                  "COMMIT", where);
        expect_true(eventually([&] { return app.done(); }), "the application is done", where);
        expect_eq(bytes, app.result(), "bytes read", where);
    }
};

} // namespace

CASE("UBLK-BATCH-FETCH-001", contract,
     "FETCH is multishot, selects a buffer, has elements of two bytes, no flags and a queue that exists",
     needs(batch_io))
{
    Driver driver;
    const auto device = driver.make({.flags = batch_io});
    const BatchServer server(device);
    TagFetch fetch(server.base);
    const auto expect_refused = [&](std::string_view what, auto change) {
        auto command = fetch.well_formed();
        change(command);
        fetch.send(command);
        expect_error(EINVAL, fetch.expect_end(what), what);
    };
    using Command = TagFetch::Command;
    expect_refused("not multishot", [](Command& c) { c.multishot = false; });
    expect_refused("no buffer selected", [](Command& c) { c.selects_buffer = false; });
    for (const std::uint8_t bytes : {0, 1, 4, 8, 16})
        expect_refused("elements of another size", [bytes](Command& c) { c.head.elem_bytes = bytes; });
    for (unsigned bit = 0; bit < 16; ++bit)
        expect_refused("a flag", [bit](Command& c) { c.head.flags = static_cast<std::uint16_t>(1U << bit); });
    for (const std::uint16_t q : {1, 0xffff})
        expect_refused("no such queue", [q](Command& c) { c.head.q_id = q; });
    auto command = fetch.well_formed();
    command.head.nr_elem = 0xffff;
    fetch.send(command);
    fetch.expect_nothing("well-formed, whatever the number of elements");
}

CASE("UBLK-BATCH-FETCH-002", contract,
     "FETCH brings 16-bit tags, as many as the buffer holds and 128 at most, and goes on", needs(batch_io))
{
    constexpr unsigned requests = 200;
    for (const auto& [bytes, most] : {std::pair(512U, 128U), {64U, 32U}, {10U, 5U}, {3U, 1U}, {2U, 1U}}) {
        Unfetched live({.queue_depth = 256, .flags = batch_io}, page_requests());
        const auto app = live.queue_reads(requests);
        TagFetch fetch(live.server.base, 0, {.count = 256, .bytes = bytes});
        fetch.send();
        std::set<unsigned> tags;
        std::size_t longest = 0;
        while (tags.size() < requests) {
            const auto arrival = fetch.expect_arrival(fmt::format("tags, buffers of {} bytes", bytes));
            expect_true(arrival.res > 0 && arrival.more && arrival.buffer.has_value(),
                        fmt::format("{} with a buffer, and FETCH goes on", result_text(arrival.res)));
            expect_eq(0, arrival.res % 2, "half a tag");
            for (const auto tag : arrival.tags)
                expect_true(tag < 256 && tags.insert(tag).second, fmt::format("tag {} is new", tag));
            longest = std::max(longest, arrival.tags.size());
        }
        expect_eq(most, longest, fmt::format("most tags in a buffer of {} bytes", bytes));
        live.finish(app, {tags.begin(), tags.end()}, requests * 4096L);
    }
}

CASE("UBLK-BATCH-FETCH-003", contract,
     "FETCH ends with ENOBUFS where no buffer is left; the tags wait for the next", needs(batch_io))
{
    {
        Unfetched live({.queue_depth = 4, .flags = batch_io}, page_requests());
        const auto first = live.queue_reads(1);
        TagFetch fetch(live.server.base, 0, {.count = 2, .provided = 1});
        fetch.send();
        const auto one = fetch.next(patience, false);
        expect_true(one && one->tags.size() == 1 && one->more, "the buffer brings the first request");
        const auto second = App::read(live.device, 64, 4096);
        expect_error(ENOBUFS, fetch.expect_end("a request, and no buffer left"), "the end");
        fetch.buffers().provide(1);
        fetch.send();
        const auto tags = fetch.expect_tags(1);
        expect_eq(64U, live.server.request(0, tags[0]).desc.start_sector, "sector of the second request");
        live.finish(second, tags, 4096);
        live.finish(first, one->tags, 4096);
    }
    Unfetched live({.queue_depth = 4, .flags = batch_io}, page_requests());
    const auto app = live.queue_reads(2);
    TagFetch narrow(live.server.base, 0, {.bytes = 1});
    narrow.send();
    expect_error(ENOBUFS, narrow.expect_end("buffers of one byte"), "buffers of one byte");
    TagFetch fetch(live.server.base);
    fetch.send();
    live.finish(app, fetch.expect_tags(2), 8192);
}

CASE("UBLK-BATCH-FETCH-004", contract,
     "FETCH ends where it cannot say what it brings: tags wait for the next, and nothing stays registered",
     needs(batch_io | Feature::auto_buf_reg))
{
    for (const auto more : {Features{}, Features(Feature::auto_buf_reg)}) {
        Unfetched live({.queue_depth = 4, .flags = more | batch_io}, page_requests());
        const auto app = live.queue_reads(1);
        TagFetch fetch(live.server.base, 0, {.writable = false});
        fetch.send();
        expect_true(fetch.expect_end("a buffer that is read-only") < 0, "the end is an error");
        if (!more.empty())
            expect_error(EFAULT, write_fixed(fetch.ring(), live.server.base.fd(), {.bytes = 1}),
                         "fixed write through the slot");
        expect_true(!app.done(), "the application waits");
        fetch.buffers().make_writable();
        fetch.send();
        // Through that ring, or the slot would stay.
        const auto elements =
            uapi::encode_batch(live.server.entries(0, fetch.expect_tags(1), 4096), live.server.flags);
        expect_eq(
            static_cast<long>(elements.size()),
            live.server.command(fetch.ring(), IoNr::commit_io_cmds, live.server.head(0, 1), elements.data()),
            "COMMIT");
        expect_true(eventually([&] { return app.done(); }), "the application is done");
        expect_eq(4096, app.result(), "bytes read");
    }
    constexpr unsigned requests = 8;
    Unfetched live({.queue_depth = 16, .flags = batch_io}, page_requests());
    const auto app = live.queue_reads(requests);
    TagFetch fetch(live.server.base, 0, {.count = 16, .bytes = 2}, 4); // room for four completions
    fetch.send();
    std::set<std::uint16_t> tags;
    unsigned ends = 0;
    while (tags.size() < requests) {
        const auto arrival = fetch.expect_arrival("tags, and a small completion queue");
        for (const auto tag : arrival.tags)
            expect_true(tags.insert(tag).second, "the tag is new");
        if (arrival.more)
            continue;
        expect_true(arrival.res < 0, "the end is an error");
        ++ends;
        fetch.send();
    }
    expect_true(ends > 0, "FETCH ended when the queue was full");
    live.finish(app, {tags.begin(), tags.end()}, requests * 4096L);
}

CASE("UBLK-BATCH-FETCH-005", contract, "A queue may have several FETCHes, and each tag comes to one of them",
     needs(batch_io))
{
    constexpr unsigned requests = 32, rounds = 20;
    Unfetched live({.queue_depth = 64, .flags = batch_io}, page_requests());
    std::vector<std::unique_ptr<TagFetch>> fetches;
    for (unsigned i = 0; i < 4; ++i) {
        fetches.push_back(
            std::make_unique<TagFetch>(live.server.base, 0, TagBuffers::Options{.count = 64, .bytes = 8}));
        fetches.back()->send();
        fetches.back()->send();
    }
    for (unsigned round = 0; round < rounds; ++round) {
        const auto app = App::read(live.device, 0, requests * std::size_t{4096});
        std::set<unsigned> tags;
        expect_true(eventually([&] {
                        for (auto& fetch : fetches) {
                            if (const auto arrival = fetch->next(0ms)) {
                                expect_true(arrival->more, "no FETCH ends");
                                for (const auto tag : arrival->tags)
                                    expect_true(tags.insert(tag).second, "the tag comes once");
                            }
                        }
                        return tags.size() == requests;
                    }),
                    "all requests come");
        live.finish(app, {tags.begin(), tags.end()}, requests * 4096L);
    }
    for (auto& fetch : fetches)
        expect_true(!fetch->next(0ms), "nothing else comes");
}

CASE("UBLK-BATCH-FETCH-006", contract,
     "FETCH is accepted before any PREP; in a recovery, only once its queue is prepared",
     needs(batch_io | Feature::user_recovery))
{
    Driver driver;
    const auto device =
        driver.make({.nr_hw_queues = 2, .queue_depth = 2, .flags = batch_io | Feature::user_recovery});
    if (device.queues() < 2)
        skip("needs two CPUs");
    {
        BatchServer server(device);
        TagFetch fetch(server.base);
        fetch.send();
        fetch.expect_nothing("no tag prepared");
        server.go_live();
    }
    expect_true(eventually([&] { return device.state() == DevState::quiesced; }), "the server's end is seen");
    expect_ok(device.control(CtrlNr::start_user_recovery), "START_USER_RECOVERY");
    BatchServer server(device);
    TagFetch first(server.base, 0), second(server.base, 1);
    const auto expect_refused = [](TagFetch& fetch, std::string_view when) {
        fetch.send();
        expect_error(ENODEV, fetch.expect_end(when), when);
    };
    expect_refused(first, "no tag prepared, in a recovery");
    expect_ok(server.prep(0, {0}), "PREP of one tag");
    expect_refused(first, "half the queue prepared");
    expect_ok(server.prep(0, {1}), "PREP of the other");
    first.send();
    first.expect_nothing("the queue is prepared");
    expect_refused(second, "the other queue is not prepared");
    expect_ok(server.prep(1, {0, 1}), "PREP of the other queue");
    second.send();
    second.expect_nothing("the other queue is prepared");
    expect_ok(device.control(CtrlNr::end_user_recovery, static_cast<std::uint64_t>(::getpid())),
              "END_USER_RECOVERY");
}

CASE("UBLK-BATCH-FETCH-007", contract, "FETCH of a queue that is stopped or quiesced is refused",
     needs(batch_io | Feature::quiesce))
{
    for (const auto how : {CtrlNr::stop_dev, CtrlNr::quiesce_dev}) {
        Driver driver;
        BatchLive live(driver, {.flags = Feature::user_recovery | Feature::quiesce});
        expect_ok(live.device.control(how), how == CtrlNr::stop_dev ? "STOP_DEV" : "QUIESCE_DEV");
        TagFetch late(live.server.base);
        late.send();
        expect_error(ENODEV, late.expect_end("a FETCH that comes afterwards"), "a FETCH afterwards");
    }
}

CASE("UBLK-BATCH-FETCH-008", contract, "STOP_DEV and QUIESCE_DEV end the FETCHes that wait, with ENODEV",
     needs(batch_io | Feature::quiesce))
{
    for (const auto how : {CtrlNr::stop_dev, CtrlNr::quiesce_dev}) {
        Driver driver;
        BatchLive live(driver, {.flags = Feature::user_recovery | Feature::quiesce});
        TagFetch other(live.server.base);
        other.send();
        expect_ok(live.device.control(how), how == CtrlNr::stop_dev ? "STOP_DEV" : "QUIESCE_DEV");
        for (auto* fetch : {&live.fetch, &other}) {
            expect_error(ENODEV, fetch->expect_end("a FETCH that waited"), "a FETCH that waited");
            expect_true(!fetch->next(0ms), "nothing comes after its end");
        }
    }
}

CASE("UBLK-BATCH-FETCH-009", contract, "Requests wait for a FETCH where there is none", needs(batch_io))
{
    Unfetched live({.queue_depth = 4, .flags = batch_io}, page_requests());
    const auto app = live.queue_reads(3);
    expect_true(!eventually([&] { return app.done(); }, settle), "the application waits");
    TagFetch fetch(live.server.base);
    fetch.send();
    live.finish(app, fetch.expect_tags(3), 3 * 4096);
}

CASE("UBLK-BATCH-FETCH-010", contract, "FETCH takes its buffers from the group that its entry names",
     needs(batch_io))
{
    Unfetched live({.queue_depth = 4, .flags = batch_io});
    TagFetch fetch(live.server.base, 0, {.group = 0});
    const TagBuffers others(fetch.ring(), {.group = 7, .count = 2, .bytes = 8});
    auto command = fetch.well_formed();
    const auto app = live.queue_reads(1);
    command.group = 3;
    fetch.send(command);
    expect_error(ENOBUFS, fetch.expect_end("a group that does not exist"), "no such group");
    command.group = 7;
    fetch.send(command);
    const auto arrival = fetch.next(patience, false);
    expect_true(arrival && arrival->res == 2 && arrival->buffer, "the request comes in a buffer");
    expect_eq(0U, *arrival->buffer, "the buffer, the group's first");
    const auto tag = others.tags(0, 2).at(0);
    // The group that was not named holds zeroes, and tag 0 would be there too.
    expect_eq(8U, live.server.request(0, tag).desc.nr_sectors, "sectors of the request");
    live.finish(app, {tag}, 4096);
}

CASE("UBLK-BATCH-FETCH-011", contract,
     "STOP_DEV ends every FETCH that waits, also one whose ring has task work to run for it", needs(batch_io))
{
    Driver driver;
    const auto device = driver.make({.flags = batch_io});
    BatchServer server(device);
    TagFetch lazy(server.base, 0, {}, 1024, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    TagFetch other(server.base);
    server.go_live();
    lazy.send();
    other.send(); // makes the driver ask the first, by task work that its ring runs when it is entered
    expect_ok(device.control(CtrlNr::stop_dev), "STOP_DEV");
    expect_error(ENODEV, other.expect_end("the second FETCH"), "the second FETCH");
    const auto end = lazy.next(settle);
    expect_true(end.has_value(), "the first FETCH ends");
    expect_error(ENODEV, end->res, "the first FETCH");
}

} // namespace conformance
