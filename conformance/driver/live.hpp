// A device that serves, and what sysfs says of it: where cases about the effect of a parameter or the fate of
// a request start.
#pragma once

#include "conformance/driver/server.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace conformance {

// Device and server, live. Of a USER_COPY, zero copy or AUTO_BUF_REG device the server gives no buffers; its
// ring then has a table of fixed buffers, all slots empty.
inline constexpr unsigned buffer_slots = 8;
struct Live {
    Device device;
    Server server;

    explicit Live(Driver& driver, const Params& params = basic_params(), const AddOptions& options = {},
                  Where where = Where::current());
    // A request that an application's read or write made; it stays owned by the server.
    struct Held {
        App app;
        Server::Request request;
    };
    Held hold_read(std::uint64_t sector = 0, std::size_t bytes = 4096, Where where = Where::current());
    Held hold_write(std::uint64_t sector = 0, std::size_t bytes = 4096, Where where = Where::current());
    // Commits `held` with `result` and serves until its application is done; the application's result.
    long finish(Held& held, std::int32_t result, Where where = Where::current());
};

// Number in /sys/block/ublkbN/<name>; one that is not there or is no number fails the case.
std::uint64_t sysfs_number(const Device& device, const std::string& name, Where where = Where::current());
// Writes it, and sees that it is what was written.
void set_sysfs(const Device& device, const std::string& name, const std::string& value,
               Where where = Where::current());

// basic_params() of a disk that takes discards and zeroing.
Params discard_params(ublk::uapi::Attrs attrs = {});
// BLKDISCARD and its like on the disk's first `bytes`.
long range_ioctl(int fd, unsigned long request, std::uint64_t bytes);

// An application that opens the disk and does `call` with the descriptor; what that returns is its result.
App app_with(const Device& device, int flags, std::function<long(int)> call);

bool is_op(const Server::Request& request, IoOp op);
// How many requests of a kind the server met.
unsigned count_seen(const Server& server, IoOp op);

// A direct read from the disk's beginning whose data is kept: bytes that were not read stay 0xcc.
struct ReadBack {
    std::shared_ptr<std::vector<std::byte>> data;
    App app;
};
ReadBack read_back(const Device& device, std::size_t bytes);

// A second thread of the case, with a ring of its own, that does one thing at a time when told to. Nothing
// in it may expect(): what it finds out is its answer.
class Worker {
  public:
    Worker();
    ~Worker(); // closes the ring, then ends the thread
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    long run(const std::function<long(ublk::wire::Ring&)>& job); // waits for its answer
    // Sends an I/O command; its result, or -ETIME if it is still out after `limit`. Completions of earlier
    // commands that come meanwhile are dropped.
    long io(int fd, IoNr nr, const IoCmd& cmd, Millis limit = patience);

  private:
    void loop();

    std::mutex lock_;
    std::condition_variable changed_;
    std::packaged_task<long(ublk::wire::Ring&)> job_;
    bool ending_ = false;
    std::uint64_t last_token_ = 0;
    std::thread thread_;
};

// Pages of which the last is not accessible.
class GuardedPages {
  public:
    explicit GuardedPages(std::size_t pages = 1); // accessible ones, zero
    ~GuardedPages();
    GuardedPages(const GuardedPages&) = delete;
    GuardedPages& operator=(const GuardedPages&) = delete;

    std::byte* begin() const { return base_; }
    std::byte* end() const { return base_ + bytes_; } // first byte that faults

  private:
    std::byte* base_;
    std::size_t bytes_;
};

} // namespace conformance
