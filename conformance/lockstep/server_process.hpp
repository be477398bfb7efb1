// A server in a process of its own, which does what it is told and thinks nothing: two tasks (threads), each
// with a ring. It is only as good as the commands that it is given, and can be killed like any server.
#pragma once

#include "conformance/driver/driver.hpp"
#include "ublk/model/command.hpp"

#include <array>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

namespace conformance::lockstep {

// A completion, with the tags that a FETCH_IO_CMDS has brought.
struct Brought {
    static constexpr std::size_t most_tags = 8;
    ublk::wire::Completion done;
    std::array<std::uint16_t, most_tags> tags{};
    std::uint8_t count = 0;
    bool more = false; // the command goes on
};

// PREP_IO_CMDS, COMMIT_IO_CMDS or FETCH_IO_CMDS.
struct BatchOrder {
    static constexpr std::size_t most_tags = ublk::model::most_tags;
    IoNr nr = IoNr::prep_io_cmds;
    std::uint16_t queue = 0;
    std::array<std::uint16_t, most_tags> tags{};
    std::array<std::int32_t, most_tags> results{}; // COMMIT
    std::uint8_t count = 0;
    bool addresses = false; // elements have one, by their flag
    bool zeros = false;     // ... and it is 0
};

// Two threads may tell its tasks something at once, each another task.
class ServerProcess {
  public:
    static constexpr unsigned tasks = 2;

    // The process is there, ublkcN is not open yet. It has no CAP_SYS_ADMIN, so no kernel scans for
    // partitions.
    explicit ServerProcess(const DevInfo& device);
    ~ServerProcess(); // kills it
    ServerProcess(const ServerProcess&) = delete;
    ServerProcess& operator=(const ServerProcess&) = delete;

    pid_t pid() const { return pid_; }
    long open(); // opens ublkcN and maps its descriptors; 0 or -errno of the open
    // Sends an I/O command: 0, or -errno of io_uring_enter. `buffer`: the tag's own; else the address is the
    // command's. AUTO_BUF_REG gets a slot for each tag, behind those that register_buffer uses.
    long send(unsigned task, std::uint32_t op, IoCmd cmd, bool buffer, std::uint64_t user_data);
    long send(unsigned task, const BatchOrder& order, std::uint64_t user_data);
    // pread or pwrite of a request's data or metadata on ublkcN: bytes, or -errno. `zones`: that a report
    // asks for, which copy_in gives, or half of them; 0: it is no report.
    long copy(const ublk::model::Command& command, unsigned zones);
    std::vector<Brought> completions(); // that are there, of both tasks
    IoDesc describe(unsigned queue, unsigned tag);
    void pause();                 // every task has run what the kernel had for it to run
    void end_task(unsigned task); // and waits for the end of its ring, as does
    void kill();                  // SIGKILL, and
    void await_death();           // what somebody else's does

  private:
    struct Order;
    struct Report;
    Report tell(unsigned task, const Order& order);
    [[noreturn]] void serve(const std::array<int, tasks>& sockets, const std::array<int, tasks>& alive) const;
    void await_ring(unsigned task) const;

    DevInfo device_;
    pid_t pid_ = -1;
    std::array<Fd, tasks> sockets_;
    std::array<Fd, tasks> events_; // of each task's ring: readable if there is a completion
    std::array<Fd, tasks> rings_;  // hang up when it is gone
    std::array<bool, tasks> ended_{};
    std::mutex early_lock_;
    std::vector<Brought> early_; // that came with another answer
};

} // namespace conformance::lockstep
