// UBLK-BATCH-LIFE: requests of a batch device when its server goes.
#include "conformance/driver/batch_verbs.hpp"
#include "conformance/driver/case.hpp"

#include <cstdio>

namespace conformance {

CASE("UBLK-BATCH-LIFE-001", contract,
     "Requests that no FETCH has brought end with their server as those that it owns do",
     needs(Feature::batch_io | Feature::user_recovery))
{
    const auto waiting = [](const Device& device) {
        unsigned reads = 0, writes = 0;
        std::sscanf(device.sysfs("inflight").c_str(), "%u %u", &reads, &writes);
        return reads;
    };
    const Features recovers = Feature::user_recovery | Feature::user_recovery_reissue;
    for (const auto more : {Features{}, recovers}) {
        Driver driver;
        const auto device = driver.make({.flags = more | Feature::batch_io});
        std::optional<App> app;
        {
            BatchServer server(device);
            server.go_live();
            app.emplace(App::read(device, 0, 4096));
            expect_true(eventually([&] { return waiting(device) == 1; }), "the request waits");
        }
        if (more.empty()) {
            expect_true(eventually([&] { return app->done(); }), "the read ends with the server");
            expect_error(EIO, app->result(), "the read");
            continue;
        }
        expect_true(eventually([&] { return device.state() == DevState::quiesced; }),
                    "the server's end is seen");
        expect_ok(device.control(CtrlNr::start_user_recovery), "START_USER_RECOVERY");
        BatchServer next(device);
        next.prep_all();
        TagFetch fetch(next.base);
        fetch.send();
        expect_ok(device.control(CtrlNr::end_user_recovery, static_cast<std::uint64_t>(::getpid())),
                  "END_USER_RECOVERY");
        expect_true(!app->done(), "the read waits for the next server");
        next.commit(0, fetch.expect_tags(1), 4096);
        expect_true(eventually([&] { return app->done(); }), "the read ends");
        expect_eq(4096, app->result(), "bytes read");
    }
}

} // namespace conformance
