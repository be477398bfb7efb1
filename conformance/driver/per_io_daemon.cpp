// UBLK-PIOD: the thread that fetched a tag serves it.
#include "conformance/driver/case.hpp"
#include "conformance/driver/child.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <optional>
#include <sys/ioctl.h>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

constexpr auto by_tag = Feature::per_io_daemon;

// Threads of which each serves, through a ring of its own, the tag of queue 0 that has its number.
class TagThreads {
  public:
    TagThreads(Server& server, unsigned threads) : server_(server)
    {
        for (unsigned i = 0; i < threads; ++i)
            threads_.push_back(std::make_unique<Worker>());
    }

    Worker& thread(unsigned i) { return *threads_.at(i); }
    void end(unsigned i) { threads_.at(i).reset(); } // and its ring
    unsigned requests() const { return requests_; }

    // By thread `tag`, for its tag; the completion comes to its ring.
    void send(IoNr nr, unsigned tag, std::int32_t result = 0)
    {
        const auto cmd = server_.cmd(0, tag, result);
        const long taken = thread(tag).run([&](ublk::wire::Ring& ring) {
            ublk::wire::prep_io(*ring.sqe(), server_.fd(), uapi::opcode(nr), cmd, tag);
            return ring.submit();
        });
        expect_eq(1, taken, "entries that a thread's ring takes");
    }
    void fetch(unsigned tag) { send(IoNr::fetch_req, tag); }
    // Its next completion: a tag.
    std::optional<ublk::wire::Completion> next(unsigned i, Millis limit)
    {
        std::optional<ublk::wire::Completion> done;
        thread(i).run([&](ublk::wire::Ring& ring) {
            done = ring.wait(limit);
            return 0;
        });
        if (done && done->res >= 0)
            ++requests_;
        return done;
    }
    // The answer to a command sent for a tag by whichever thread, which must come at once.
    long io(unsigned i, IoNr nr, unsigned tag) { return thread(i).io(server_.fd(), nr, server_.cmd(0, tag)); }

    bool serve_until(const std::function<bool()>& holds, Millis limit = patience)
    {
        return eventually(
            [&] {
                for (unsigned i = 0; i < threads_.size(); ++i) {
                    if (const auto done = next(i, 1ms); done && done->res == 0)
                        send(IoNr::commit_and_fetch_req, i,
                             static_cast<std::int32_t>(server_.desc(0, i).nr_sectors * uapi::sector_size));
                }
                return holds();
            },
            limit);
    }
    // START_DEV, and the partition scan where it cannot be suppressed.
    void start(const Device& device, bool scanned)
    {
        auto command = device.begin_start();
        expect_true(serve_until([&] { return command.done(); }), "START_DEV ends");
        expect_ok(command.result(), "START_DEV");
        if (!scanned)
            return;
        serve_until([&] { return requests_ > 0; }, 2s);
        auto open = app_with(device, O_RDONLY, [](int) { return 0L; });
        expect_true(serve_until([&] { return open.done(); }), "an open ends");
    }

  private:
    Server& server_;
    std::vector<std::unique_ptr<Worker>> threads_;
    unsigned requests_ = 0;
};

// Two reads or writes at once: each of two tags is owned when this returns.
struct TwoRequests {
    App first, second;

    TwoRequests(TagThreads& threads, std::int32_t res, App one, App other)
        : first(std::move(one)), second(std::move(other))
    {
        for (const unsigned i : {0, 1}) {
            const auto done = threads.next(i, patience);
            expect_true(done.has_value(), fmt::format("a request comes to thread {}", i));
            expect_eq(i, done->user_data, fmt::format("the tag that comes to thread {}", i));
            expect_eq(res, done->res, "its completion");
        }
    }
    void finish(TagThreads& threads)
    {
        for (const unsigned i : {0, 1})
            threads.send(IoNr::commit_and_fetch_req, i, 4096);
        expect_true(threads.serve_until([&] { return first.done() && second.done(); }), "both end");
        expect_eq(4096, first.result(), "bytes of the first");
        expect_eq(4096, second.result(), "bytes of the second");
    }
};

bool scans()
{
    return !offers(Feature::no_auto_part_scan);
}

} // namespace

CASE("UBLK-PIOD-001", contract, "A device has PER_IO_DAEMON whether it was asked for or not", needs(by_tag))
{
    Driver driver;
    for (const auto flags : {Features{}, Features(by_tag), Features(Feature::user_copy)}) {
        const auto device = driver.make({.flags = flags});
        expect_true(Features::from_raw(device.added().flags).has(by_tag), "ADD_DEV answers so");
        expect_true(Features::from_raw(device.info().flags).has(by_tag), "GET_DEV_INFO says so");
    }
}

CASE("UBLK-PIOD-002", contract, "Each tag of a queue is delivered to the thread that fetched it",
     needs(by_tag))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    TagThreads threads(server, 2);
    for (const unsigned tag : {0, 1})
        threads.fetch(tag);
    threads.start(device, scans());
    for (int round = 0; round < 4; ++round) {
        TwoRequests both(threads, 0, App::read(device, 0, 4096), App::read(device, 64, 4096));
        expect_true(server.desc(0, 0).start_sector + server.desc(0, 1).start_sector == 64,
                    "the two descriptors are those of the two reads");
        both.finish(threads);
    }
}

CASE("UBLK-PIOD-003", contract, "COMMIT and NEED_GET_DATA of a tag are for its own thread alone",
     needs(by_tag | Feature::need_get_data))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 2, .flags = Feature::need_get_data});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    TagThreads threads(server, 2);
    for (const unsigned tag : {0, 1})
        threads.fetch(tag);
    threads.start(device, scans());
    TwoRequests both(threads, uapi::io_res_need_get_data, App::write(device, 0, 4096, std::byte{1}),
                     App::write(device, 64, 4096, std::byte{2}));
    const auto expect_refused = [&](IoNr nr) {
        for (const unsigned tag : {0, 1}) {
            expect_error(EINVAL, threads.io(1 - tag, nr, tag), "the thread of another tag");
            expect_error(EINVAL, server.io(nr, server.cmd(0, tag)), "a thread without tags");
        }
    };
    expect_refused(IoNr::need_get_data);
    for (const unsigned tag : {0, 1})
        expect_ok(threads.io(tag, IoNr::need_get_data, tag), "its own thread's NEED_GET_DATA");
    expect_refused(IoNr::commit_and_fetch_req);
    expect_true(!both.first.done() && !both.second.done(), "the writes wait for their own threads' commits");
    both.finish(threads);
}

CASE("UBLK-PIOD-004", contract, "One thread may serve tags of several queues")
{
    Driver driver;
    Live live(driver, basic_params(), {.nr_hw_queues = 2, .queue_depth = 2});
    if (live.device.queues() < 2)
        skip("needs two queues, so two processors");
    std::vector<Live::Held> writes;
    for (unsigned q = 0; q < 2; ++q) {
        const auto cpu = queue_cpus(live.device, q).front();
        writes.push_back(hold(live.server, write_data(live.device, pattern(4096, q), q * 8, cpu)));
        expect_eq(q, writes.back().request.q, "queue of the request");
    }
    for (auto& held : writes)
        expect_eq(4096, live.finish(held, live.server.serve_from_memory(held.request)), "bytes written");
}

CASE("UBLK-PIOD-005", contract, "A tag keeps its thread for the round; the next server's may be any",
     needs(by_tag | Feature::user_recovery))
{
    Driver driver;
    const auto device = driver.make({.queue_depth = 1, .flags = Feature::user_recovery});
    expect_ok(device.set_params(basic_params()));
    std::optional<Server> first(device);
    TagThreads threads(*first, 2);
    threads.fetch(0);
    threads.start(device, scans());
    auto app = App::read(device, 0, 4096);
    expect_true(threads.next(0, patience).has_value(), "a request comes to the first thread");
    expect_error(kernel_before(6, 17) ? EINVAL : EBUSY, threads.io(1, IoNr::fetch_req, 0),
                 "FETCH by the second thread");
    expect_error(EINVAL, threads.io(1, IoNr::commit_and_fetch_req, 0), "COMMIT by the second thread");
    threads.send(IoNr::commit_and_fetch_req, 0, 4096);
    expect_true(eventually([&] { return app.done(); }), "the read ends");
    expect_eq(4096, app.result(), "bytes read");
    threads.end(0);
    first.reset(); // mappings too, which keep ublkcN open

    expect_true(eventually([&] { return device.state() == DevState::quiesced; }), "the device is QUIESCED");
    start_recovery(device);
    Server next(device);
    Worker second;
    const auto fetch = next.cmd(0, 0);
    expect_error(ETIME, second.io(next.fd(), IoNr::fetch_req, fetch, settle), "FETCH, within its limit");
    expect_ok(device.control(CtrlNr::end_user_recovery, static_cast<std::uint64_t>(::getpid())),
              "END_USER_RECOVERY");
    expect_error(EINVAL, next.io(IoNr::commit_and_fetch_req, fetch), "COMMIT by any other thread");
    expect_error(EBUSY, second.io(next.fd(), IoNr::commit_and_fetch_req, fetch),
                 "COMMIT of the armed tag by its new thread");
}

CASE(
    "UBLK-PIOD-006", behaviour,
    "Without PER_IO_DAEMON the last thread to FETCH serves the queue, and tags of others fail their requests")
{
    if (offers(by_tag))
        skip("needs a kernel without PER_IO_DAEMON");
    Driver driver;
    const auto device = driver.make({.queue_depth = 2});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory().resize(8192 * uapi::sector_size);
    Worker other;
    expect_error(ETIME, other.io(server.fd(), IoNr::fetch_req, server.cmd(0, 0), settle),
                 "FETCH of tag 0 by another thread, within its limit");
    server.fetch(0, 1);
    auto start = device.begin_start();
    expect_ok(server.serve_until(start), "START_DEV");
    // The block layer chooses the tag; while tag 1 is held it can only be tag 0.
    std::optional<Server::Request> held;
    server.handler = [&](const Server::Request& request) -> std::optional<std::int32_t> {
        held = request;
        return std::nullopt;
    };
    std::optional<App> app;
    const bool reached = server.serve_until([&] {
        if (!app || app->done())
            app.emplace(App::read(device, 0, 4096));
        return held.has_value();
    });
    expect_true(reached, "a read reaches the server");
    expect_eq(1U, held->tag, "its tag");
    auto failed = App::read(device, 64, 4096);
    expect_error(EIO, server.serve_until(failed), "a read at the other thread's tag");
    server.commit(0, 1, 4096);
    expect_eq(4096, server.serve_until(*app), "bytes of the read at the last thread's tag");
}

CASE("UBLK-PIOD-007", contract,
     "A device is scanned for partitions only if every thread that fetched has CAP_SYS_ADMIN", needs(by_tag))
{
    for (const unsigned lacking : {2, 0, 1}) { // 2: none
        Driver driver;
        const auto device = driver.make({.queue_depth = 2}, true);
        expect_ok(device.set_params(basic_params()));
        Server server(device);
        TagThreads threads(server, 2);
        if (lacking < 2)
            threads.thread(lacking).run([](auto&) {
                drop_sys_admin();
                return 0;
            });
        for (const unsigned tag : {0, 1})
            threads.fetch(tag);
        threads.start(device, lacking == 2);
        auto rescan = app_with(device, O_RDONLY, [](int fd) { return sys(::ioctl(fd, BLKRRPART)); });
        expect_true(threads.serve_until([&] { return rescan.done(); }), "BLKRRPART ends");
        if (lacking == 2) {
            expect_ok(rescan.result(), "BLKRRPART, every thread has it");
            expect_true(threads.requests() > 0, "the partition table was read");
        } else {
            expect_error(EINVAL, rescan.result(), fmt::format("BLKRRPART, thread {} lacks it", lacking));
            expect_eq(0U, threads.requests(), "reads of the partition table");
        }
    }
}

} // namespace conformance
