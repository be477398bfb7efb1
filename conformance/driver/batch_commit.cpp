// UBLK-BATCH-COMMIT: finishing requests and giving their tags back, many at once.
#include "conformance/driver/batch_verbs.hpp"
#include "conformance/driver/case.hpp"

#include <algorithm>
#include <cstring>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr std::int32_t piece = 4096;

// As many reads of one piece each, by as many applications.
struct Reads {
    std::vector<App> apps;
    Tags tags; // tags[i] has what apps[i] reads

    Reads(BatchLive& live, unsigned count)
    {
        for (unsigned i = 0; i < count; ++i) {
            apps.push_back(App::read(live.device, i * (piece / uapi::sector_size), piece));
            tags.push_back(static_cast<std::uint16_t>(live.hold(apps.back())));
        }
    }
    void expect_done(unsigned i, long result = piece, Where where = Where::current()) const
    {
        if (!eventually([&] { return apps[i].done(); }))
            fail(fmt::format("read {} ends", i), "it waits", where);
        expect_eq(result, apps[i].result(), fmt::format("result of read {}", i), where);
    }
    void expect_waits(unsigned i, Where where = Where::current()) const
    {
        expect_true(!apps[i].done(), fmt::format("read {} waits for its commit", i), where);
    }
};

} // namespace

CASE("UBLK-BATCH-COMMIT-001", contract, "COMMIT answers with the bytes of elements that it took",
     needs(batch_io | Feature::user_copy))
{
    for (const auto more : {Features{}, Features(Feature::user_copy)}) {
        Driver driver;
        BatchLive live(driver, {.queue_depth = 4, .flags = more});
        const Reads reads(live, 3);
        expect_eq(more.empty() ? 16U : 8U, live.server.elem_bytes(), "bytes of an element");
        expect_eq(3 * live.server.elem_bytes(), live.server.commit(0, reads.tags, piece), "answer for three");
        for (unsigned i = 0; i < 3; ++i)
            reads.expect_done(i);
    }
}

CASE("UBLK-BATCH-COMMIT-002", contract,
     "COMMIT stops at the first element it refuses: what is before it counts, it alone is an error",
     needs(batch_io))
{
    Driver driver;
    BatchLive live(driver, {.queue_depth = 4});
    auto& server = live.server;
    const Reads reads(live, 3);
    const auto [a, b, c] = std::tuple(reads.tags[0], reads.tags[1], reads.tags[2]);
    const auto armed = static_cast<std::uint16_t>(0 + 1 + 2 + 3 - a - b - c);
    expect_error(EBUSY, server.commit(0, {armed, a}, piece), "a tag that is not owned first");
    expect_error(EINVAL, server.commit(0, {4, a}, piece), "a tag that does not exist first");
    auto without = server.entries(0, {a, b}, piece);
    without[0].buf_addr = 0;
    expect_error(EINVAL, server.commit_entries(0, without), "no buffer first");
    reads.expect_waits(0);
    expect_eq(16, server.commit(0, {a, armed, b}, piece), "a tag that is not owned second");
    reads.expect_done(0);
    reads.expect_waits(1);
    without = server.entries(0, {b, c}, piece);
    without[1].buf_addr = 0;
    expect_eq(16, server.commit_entries(0, without), "no buffer second");
    reads.expect_done(1);
    reads.expect_waits(2);
    expect_eq(16, server.commit(0, {c, 0xffff}, piece), "a tag that does not exist second");
    reads.expect_done(2);
}

CASE("UBLK-BATCH-COMMIT-003", contract, "A tag is not owned any more the second time one COMMIT names it",
     needs(batch_io))
{
    Driver driver;
    BatchLive live(driver);
    const Reads reads(live, 2);
    expect_eq(16, live.server.commit(0, {reads.tags[0], reads.tags[0], reads.tags[1]}, piece),
              "answer for a tag, itself again, and another");
    reads.expect_done(0);
    reads.expect_waits(1);
    expect_eq(16, live.server.commit(0, {reads.tags[1]}, piece), "the other");
    reads.expect_done(1);
}

CASE("UBLK-BATCH-COMMIT-004", behaviour,
     "COMMIT reads its elements 480 bytes at a time: where one piece cannot be read the earlier ones count",
     needs(batch_io))
{
    constexpr unsigned requests = 40, at_once = 480 / 16;
    auto params = basic_params();
    params.basic.max_sectors = piece / uapi::sector_size;
    Driver driver;
    BatchLive live(driver, {.queue_depth = 64}, params);
    auto app = App::read(live.device, 0, requests * piece); // too long for one request
    auto tags = live.fetch.expect_tags(requests);
    expect_eq(std::size_t{requests}, tags.size(), "requests");
    const GuardedPages pages;
    const auto commit_readable = [&](std::size_t readable) {
        const auto elements = uapi::encode_batch(live.server.entries(0, tags, piece), live.server.flags);
        std::byte* at = pages.end() - readable;
        std::memcpy(at, elements.data(), readable);
        return live.server.command(IoNr::commit_io_cmds, live.server.head(0, tags.size()), at);
    };
    expect_error(EFAULT, commit_readable(0), "nothing can be read");
    expect_error(EFAULT, commit_readable(479), "479 bytes can be read");
    expect_eq(480, commit_readable(480 + 100), "answer where 580 bytes can be read");
    expect_true(!app.done(), "the application waits for the rest");
    tags.erase(tags.begin(), tags.begin() + at_once);
    expect_eq((requests - at_once) * 16, live.server.commit(0, tags, piece), "COMMIT of the rest");
    expect_true(eventually([&] { return app.done(); }), "the read ends");
    expect_eq(requests * piece, app.result(), "bytes read");
}

CASE("UBLK-BATCH-COMMIT-005", contract, "Each element's result means what that of a single commit means",
     needs(batch_io))
{
    Driver driver;
    BatchLive live(driver, {.queue_depth = 4});
    auto& server = live.server;
    const Reads reads(live, 4);
    auto elements = server.entries(0, reads.tags, piece);
    elements[1].head.result = -ENOSPC;
    elements[2].head.result = 512;
    // Before 7.3 a result that is too long is taken, with a warning.
    elements[3].head.result = kernel_version() >= uapi::KernelVersion{7, 3} ? 2 * piece : 0;
    expect_eq(4 * 16, server.commit_entries(0, elements), "answer for the four");
    reads.expect_done(0);
    reads.expect_done(1, -ENOSPC);
    const auto rest = live.fetch.expect_tags(1).at(0);
    expect_eq(7U, server.request(0, rest).desc.nr_sectors, "sectors of the rest of the short read");
    reads.expect_waits(2);
    expect_eq(16, server.commit(0, {rest}, piece - 512), "COMMIT of the rest");
    reads.expect_done(2);
    reads.expect_done(3, elements[3].head.result == 0 ? -EIO : piece);
}

CASE("UBLK-BATCH-COMMIT-006", contract, "The data of a read is taken from the buffer that its element names",
     needs(batch_io))
{
    Driver driver;
    BatchLive live(driver);
    auto read = read_back(live.device, piece);
    const auto tag = live.hold(read.app);
    std::memset(live.server.base.buffer(0, tag), 0xa1, piece);
    Bytes other(piece, std::byte{0xb2});
    auto element = live.server.entry(0, tag, piece);
    element.buf_addr = reinterpret_cast<std::uintptr_t>(other.data());
    expect_eq(16, live.server.commit_entries(0, std::vector{element}), "COMMIT");
    expect_true(eventually([&] { return read.app.done(); }), "the read ends");
    expect_eq(piece, read.app.result(), "bytes read");
    expect_true(all_are(*read.data, std::byte{0xb2}), "the application got what is in the element's buffer");
}

} // namespace conformance
