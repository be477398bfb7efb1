// UBLK-TAG: the commands of a tag and their completions, counted one by one.
#include "conformance/driver/case.hpp"
#include "conformance/driver/data_verbs.hpp"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <map>
#include <set>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr unsigned depth = 8;
const auto quiesces = needs(Feature::quiesce | Feature::user_recovery);
constexpr auto recovers = Feature::quiesce | Feature::user_recovery;

// A device whose server keeps book of every command it sends and of every completion.
class Ledger {
  public:
    Ledger(Driver& driver, Features flags)
        : device(driver.make({.queue_depth = depth, .flags = flags})), server(device)
    {
        expect_ok(device.set_params(basic_params()), "SET_PARAMS");
        for (unsigned tag = 0; tag < depth; ++tag)
            send(IoNr::fetch_req, tag, 0);
        auto start = device.begin_start();
        expect_ok(serve_until(start), "START_DEV");
    }

    Device device;
    Server server;
    std::map<std::uint64_t, unsigned> out; // commands that are with the driver, and their tags
    std::set<unsigned> owned;
    unsigned requests = 0, aborted = 0;

    // Takes what has completed, and commits every request unless told to hold them.
    void turn(bool commits = true)
    {
        // As many as can be there at once: applications never stop.
        for (unsigned i = 0; i < depth; ++i) {
            const auto done = i == 0 ? server.ring().wait(1ms) : server.ring().poll();
            if (!done)
                return;
            const auto found = out.find(done->user_data);
            expect_true(found != out.end(), "each command completes once");
            const unsigned tag = found->second;
            out.erase(found);
            if (done->res < 0) {
                expect_error(ENODEV, done->res, "a command without request");
                ++aborted;
                continue;
            }
            ++requests;
            expect_true(owned.insert(tag).second, "a tag comes once between two COMMITs");
            if (commits)
                commit(tag);
        }
    }
    void commit(unsigned tag)
    {
        owned.erase(tag);
        send(IoNr::commit_and_fetch_req, tag,
             static_cast<std::int32_t>(server.desc(0, tag).nr_sectors * uapi::sector_size));
    }
    bool serve_until(const std::function<bool()>& holds)
    {
        return eventually([&] {
            turn();
            return holds();
        });
    }
    long serve_until(Pending& command)
    {
        expect_true(serve_until([&] { return command.done(); }),
                    "the command completes while the server serves");
        return command.result();
    }

  private:
    void send(IoNr nr, unsigned tag, std::int32_t result)
    {
        out[server.send(nr, server.cmd(0, tag, result))] = tag;
    }
};

// Applications that read until it fails.
std::vector<App> readers(const Device& device, unsigned count)
{
    std::vector<App> apps;
    for (unsigned i = 0; i < count; ++i)
        apps.push_back(app_with(device, O_RDONLY | O_DIRECT, [](int fd) {
            const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(4096, 4096),
                                                                     &std::free);
            long res = 0;
            do {
                res = sys(::pread(fd, buffer.get(), 4096, 0));
            } while (res > 0);
            return res;
        }));
    return apps;
}

bool all_done(const std::vector<App>& apps)
{
    return std::ranges::all_of(apps, [](const App& app) { return app.done(); });
}

} // namespace

CASE("UBLK-TAG-101", behaviour,
     "Without per-tag threads FETCH of a tag that is not free is EBUSY, and COMMIT of a free one EINVAL")
{
    if (offers(Feature::per_io_daemon))
        skip("needs a kernel without PER_IO_DAEMON");
    Driver driver;
    const auto device = driver.make({.queue_depth = 2, .flags = Feature::need_get_data});
    expect_ok(device.set_params(basic_params()), "SET_PARAMS");
    Server server(device);
    for (const auto nr : {IoNr::commit_and_fetch_req, IoNr::need_get_data})
        expect_error(EINVAL, server.io(nr, server.cmd(0, 1)),
                     "COMMIT and NEED_GET_DATA of a tag never fetched");
    const auto armed = server.send(IoNr::fetch_req, server.cmd(0, 0));
    expect_error(EBUSY, server.io(IoNr::fetch_req, server.cmd(0, 0)), "FETCH of an armed tag");
    const auto other = server.send(IoNr::fetch_req, server.cmd(0, 1));
    expect_ok(device.stop(), "STOP_DEV");
    for (const auto token : {armed, other})
        expect_error(ENODEV, server.wait(token, patience).value_or(0), "the armed tag's end");
    for (const unsigned tag : {0U, 1U})
        expect_error(EBUSY, server.io(IoNr::fetch_req, server.cmd(0, tag)), "FETCH of a canceled tag");

    Live live(driver, basic_params(), {.queue_depth = 2});
    auto held = live.hold_read();
    expect_error(EBUSY, live.server.io(IoNr::fetch_req, live.server.cmd(0, held.request.tag)),
                 "FETCH of an owned tag");
    expect_eq(4096, live.finish(held, 4096), "bytes read");
}

CASE("UBLK-TAG-102", contract, "Every command completes once, whether by a request, STOP_DEV or QUIESCE_DEV",
     quiesces)
{
    for (const auto how : {CtrlNr::stop_dev, CtrlNr::quiesce_dev}) {
        Driver driver;
        Ledger ledger(driver, recovers);
        const auto apps = readers(ledger.device, 3);
        expect_true(ledger.serve_until([&] { return ledger.requests >= 200; }), "200 requests come");
        const auto before = ledger.out;
        auto command = ledger.device.begin(how);
        expect_ok(ledger.serve_until(command), how == CtrlNr::stop_dev ? "STOP_DEV" : "QUIESCE_DEV");
        expect_true(ledger.serve_until([&] {
            return std::ranges::none_of(before,
                                        [&](const auto& sent) { return ledger.out.contains(sent.first); });
        }),
                    "every command from before completes");
        expect_true(ledger.aborted > 0, "some by the abort");
        // What was committed after QUIESCE_DEV is with the driver still: UBLK-TAG-104.
        const auto all = ledger.aborted + ledger.out.size();
        auto stop = ledger.device.begin(CtrlNr::stop_dev);
        expect_ok(ledger.serve_until(stop), "STOP_DEV, the second time for one");
        expect_true(ledger.serve_until([&] { return all_done(apps); }), "the applications end");
        expect_true(ledger.serve_until([&] { return ledger.out.empty(); }), "no command is left");
        expect_eq(all, ledger.aborted, "aborts in all");
    }
}

CASE("UBLK-TAG-103", contract, "A tag comes to the server once, and then not before its COMMIT")
{
    Driver driver;
    Ledger ledger(driver, {});
    const auto apps = readers(ledger.device, depth + 4); // more than there are tags
    expect_true(ledger.serve_until([&] { return ledger.requests >= 200; }), "200 requests come");
    for (int round = 0; round < 20; ++round) {
        // All tags held: nothing more can come, whatever waits.
        expect_true(eventually([&] {
                        ledger.turn(false);
                        return ledger.owned.size() == depth;
                    }),
                    "each tag comes");
        ledger.turn(false);
        expect_true(ledger.out.empty(), "no command is with the driver");
        for (const auto tag : std::set(ledger.owned))
            ledger.commit(tag);
    }
    auto stop = ledger.device.begin(CtrlNr::stop_dev);
    expect_ok(ledger.serve_until(stop), "STOP_DEV");
    expect_true(ledger.serve_until([&] { return all_done(apps); }), "the applications end");
}

CASE("UBLK-TAG-104", contract,
     "A request held over QUIESCE_DEV is committed as ever, and its tag's new command stays", quiesces)
{
    Driver driver;
    Live live(driver, basic_params(), {.queue_depth = 2, .flags = recovers});
    auto held = live.hold_read();
    expect_ok(live.device.control(CtrlNr::quiesce_dev), "QUIESCE_DEV");
    const auto other = live.server.next(patience);
    expect_true(other && other->res == -ENODEV, "the other tag's command ends");
    expect_true(!held.app.done(), "the read waits for its commit");
    live.server.expect_accepted(IoNr::commit_and_fetch_req, live.server.cmd(0, held.request.tag, 4096),
                                "COMMIT after QUIESCE_DEV");
    expect_eq(4096, live.server.serve_until(held.app), "bytes read");
    expect_error(EBUSY, live.server.io(IoNr::commit_and_fetch_req, live.server.cmd(0, held.request.tag)),
                 "a second COMMIT");
}

CASE("UBLK-TAG-105", contract, "STOP_DEV takes no command away whose request has begun", timeout(60s))
{
    for (int round = 0; round < 12; ++round) {
        Driver driver;
        Ledger ledger(driver, {});
        const auto apps = readers(ledger.device, 3);
        expect_true(ledger.serve_until([&] { return ledger.requests >= 5U + round; }), "requests come");
        auto stop = ledger.device.begin(CtrlNr::stop_dev);
        expect_ok(ledger.serve_until(stop), "STOP_DEV");
        // A request whose command was taken away would never end, and STOP_DEV wait for it.
        expect_true(ledger.serve_until([&] { return all_done(apps); }), "the applications end");
        expect_true(ledger.owned.empty(), "no request is left with the server");
    }
}

} // namespace conformance
