// UBLK-LIFE: servers of several threads of which one ends.
#include "conformance/driver/case.hpp"
#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/data_verbs.hpp"
#include "conformance/driver/recovery_verbs.hpp"

#include <memory>

namespace conformance {

namespace uapi = ublk::uapi;

namespace {

// A thread that FETCHes one tag, and ends with its ring when told to.
class Fetcher {
  public:
    Fetcher(const Server& server, const IoCmd& cmd)
    {
        const long taken = thread_->run([&](ublk::wire::Ring& ring) {
            ublk::wire::prep_io(*ring.sqe(), server.fd(), uapi::opcode(IoNr::fetch_req), cmd, 1);
            return ring.submit();
        });
        expect_eq(1, taken, "entries that the thread's ring takes");
        const long came = thread_->run([](ublk::wire::Ring& ring) { return ring.wait(settle) ? 1 : 0; });
        expect_eq(0, came, "completions of a FETCH that is accepted");
    }
    // The driver has taken the command back once this returns: the ring is gone with the thread.
    void end() { thread_.reset(); }

  private:
    std::unique_ptr<Worker> thread_ = std::make_unique<Worker>();
};

// A direct write on the queue's own CPU, served by nobody or by `server`.
App write_on(const Device& device, unsigned q)
{
    return write_data(device, pattern(4096, q), 64 * q, queue_cpus(device, q).front());
}

} // namespace

CASE("UBLK-LIFE-005", contract, "The end of one of a server's threads ends new I/O on all queues",
     needs(Feature::per_io_daemon | Feature::no_auto_part_scan)) // a scan might go to the thread
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2, .queue_depth = 1});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory().resize(8192 * uapi::sector_size);
    Fetcher other(server, server.cmd(1, 0));
    server.fetch(0, 0);
    Pending start = device.begin_start();
    expect_ok(server.serve_until(start), "START_DEV");
    auto before = write_on(device, 0);
    expect_eq(4096, server.serve_until(before), "bytes for queue 0, while both threads live");
    other.end();
    // Until the ring is taken apart queue 0 is served.
    long res = 4096;
    expect_true(eventually([&] {
                    auto write = write_on(device, 0);
                    res = server.serve_until(write);
                    return res != 4096;
                }),
                "writes for queue 0 end");
    expect_error(EIO, res, "a write for queue 0");
    const auto write = write_on(device, 1);
    expect_error(EIO, result_soon(write, "a write for queue 1"), "a write for queue 1");
    expect_true(device.has_disk() && device.state() == DevState::live, "the disk is there and LIVE");
}

CASE("UBLK-LIFE-006", contract,
     "After one of the threads that fetched has ended no I/O is served until ublkcN is released and a new "
     "server "
     "has fetched all",
     needs(failing))
{
    Driver driver;
    const Device device = orphan(driver, {.queue_depth = 2, .flags = failing}, DevState::fail_io);
    start_recovery(device);
    std::optional<Server> server(std::in_place, device);
    {
        Fetcher first(*server, server->cmd(0, 0));
        first.end();
    }
    server->fetch(0, 1);
    expect_true(!server->next(settle), "the other tag's FETCH is accepted");
    const auto read = App::read(device, 0, 4096);
    expect_any_error({EIO, EREMOTEIO}, result_soon(read, "a read"), "a read after all FETCHes");
    server.reset();
    expect_state(device, DevState::fail_io, "after that server's end");
    recover(device, server);
    auto again = App::read(device, 0, 4096);
    expect_eq(4096, server->serve_until(again), "bytes read after the recovery");
}

CASE("UBLK-LIFE-019", contract,
     "A thread that ends before START_DEV leaves a device that waits for a new server, or fails I/O, but is "
     "never silent")
{
    Driver driver;
    const auto device = driver.make({.nr_hw_queues = 2, .queue_depth = 1});
    expect_ok(device.set_params(basic_params()));
    Server server(device);
    server.memory().resize(8192 * uapi::sector_size);
    Fetcher other(server, server.cmd(1, 0));
    other.end();
    server.fetch(0, 0);
    Pending start = device.begin_start();
    const bool at_once = server.serve_until([&] { return start.done(); }, settle);
    if (!at_once)
        start.cancel(); // which comes too late for one that was only slow
    const long res = server.serve_until(start);
    if (!at_once && res != 0)
        return expect_error(EINTR, res, "START_DEV that waited, cancelled");
    if (res != 0)
        return expect_true(!device.has_disk(), "no disk without START_DEV");
    for (const unsigned q : {0, 1}) {
        const auto write = write_on(device, q);
        expect_error(EIO, result_soon(write, "a write"), fmt::format("a write for queue {}", q));
    }
}

CASE("UBLK-LIFE-020", contract,
     "A thread that ends before its device is recovered takes no I/O with it: that waits for the next server",
     needs(waiting | Feature::per_io_daemon))
{
    Driver driver;
    const Device device = orphan(driver, {.nr_hw_queues = 2, .queue_depth = 1, .flags = waiting});
    start_recovery(device);
    std::optional<Server> server(std::in_place, device);
    {
        Fetcher whole(*server, server->cmd(0, 0)); // of the two queues one
        whole.end();
    }
    expect_true(!server->next(settle), "a ring that goes brings nothing");
    auto write = write_on(device, 0);
    expect_waits(*server, write, "a write for queue 0");
    server.reset();
    expect_state(device, DevState::quiesced, "after that server's end");
    recover(device, server);
    expect_eq(4096, server->serve_until(write), "bytes of the write, after the recovery");
}

} // namespace conformance
