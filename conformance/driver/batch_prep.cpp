// UBLK-BATCH-PREP: giving tags to the driver, many at once.
#include "conformance/driver/batch_verbs.hpp"
#include "conformance/driver/case.hpp"

#include <cstring>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

// A device with parameters, and a server that has done nothing yet.
struct Fresh {
    Driver driver;
    Device device;
    BatchServer server;

    explicit Fresh(AddOptions options = {.queue_depth = 4, .flags = batch_io})
        : device(driver.make(options)), server(device)
    {
        expect_ok(device.set_params(basic_params()), "SET_PARAMS");
    }
};

} // namespace

CASE("UBLK-BATCH-PREP-001", contract,
     "A device is ready once all tags of all queues are prepared, in whichever batches", needs(batch_io))
{
    Fresh fresh({.nr_hw_queues = 2, .queue_depth = 3, .flags = batch_io});
    auto& server = fresh.server;
    if (fresh.device.queues() < 2)
        skip("needs two CPUs");
    auto start = fresh.device.begin_start();
    expect_ok(server.prep(0, {2, 0}), "PREP of two tags");
    expect_ok(server.prep(1, {1}), "PREP of a tag of the other queue");
    expect_ok(server.prep(1, {0, 2}), "PREP of the rest of it");
    start.expect_pending("START_DEV, one tag left out");
    expect_ok(server.prep(0, {1}), "PREP of that");
    expect_ok(start.result(), "START_DEV");
}

CASE("UBLK-BATCH-PREP-002", contract,
     "PREP takes all its elements or none: what a bad one leaves can be prepared again", needs(batch_io))
{
    Fresh fresh({.queue_depth = 5, .flags = batch_io}); // with tag 4 left out it never is ready meanwhile
    auto& server = fresh.server;
    expect_ok(server.prep(0, {3}), "PREP of one tag");
    for (const std::uint16_t bad : {5, 0xffff, 1, 3})
        expect_error(EINVAL, server.prep(0, {0, 1, 2, bad}), fmt::format("tag {} last of four", bad));
    auto elements = server.entries(0, {0, 1, 2});
    elements.back().buf_addr = 0;
    expect_error(EINVAL, server.prep_entries(0, elements), "no buffer, last of three");
    auto start = fresh.device.begin_start();
    start.expect_pending("START_DEV with one tag prepared");
    expect_ok(server.prep(0, {0, 1, 2, 4}), "PREP of the others");
    expect_ok(start.result(), "START_DEV");
}

CASE("UBLK-BATCH-PREP-003", contract, "PREP is refused once a device is ready, and while it stops",
     needs(batch_io))
{
    Driver driver;
    BatchLive live(driver);
    expect_error(EBUSY, live.server.prep(0, {0}), "one tag of a live device");
    expect_error(EBUSY, live.server.prep(0, live.server.all_tags()), "all tags of a live device");
    expect_ok(live.device.stop(), "STOP_DEV");
    // From 7.3.4 on what was stopped knows it.
    expect_error(fixed_in({{7, 3, 4}}) ? ENODEV : EBUSY, live.server.prep(0, {0}), "stopped, ublkcN open");
}

CASE("UBLK-BATCH-PREP-004", contract, "PREP brings a buffer for each tag where payload is copied",
     needs(batch_io | Feature::user_copy))
{
    {
        Fresh fresh;
        auto& server = fresh.server;
        auto elements = server.entries(0, server.all_tags());
        for (auto& element : elements)
            element.buf_addr = 0;
        expect_error(EINVAL, server.prep_entries(0, elements), "address 0");
        server.flags = {};
        expect_error(EINVAL, server.prep(0, server.all_tags()), "no address");
        server.flags = BatchFlag::has_buf_addr;
        expect_ok(server.prep(0, server.all_tags()), "addresses");
    }
    Fresh fresh({.queue_depth = 4, .flags = batch_io | Feature::user_copy});
    expect_ok(fresh.server.prep(0, fresh.server.all_tags()), "no address, no copy");
}

CASE("UBLK-BATCH-PREP-005", contract, "PREP of elements that cannot be read prepares none", needs(batch_io))
{
    constexpr unsigned depth = 128;
    Fresh fresh({.queue_depth = depth, .flags = batch_io});
    auto& server = fresh.server;
    const auto elements = uapi::encode_batch(server.entries(0, server.all_tags()), server.flags);
    const GuardedPages pages(2);
    for (const std::size_t readable : {std::size_t{0}, std::size_t{8}, std::size_t{479}, std::size_t{480},
                                       std::size_t{1000}, elements.size() - 1}) {
        std::byte* at = pages.end() - readable;
        std::memcpy(at, elements.data(), readable);
        expect_error(EFAULT, server.command(IoNr::prep_io_cmds, server.head(0, depth), at),
                     fmt::format("{} of {} bytes can be read", readable, elements.size()));
    }
    expect_ok(server.prep(0, server.all_tags()), "PREP of all that can be read");
    expect_ok(fresh.device.start(), "START_DEV");
}

} // namespace conformance
