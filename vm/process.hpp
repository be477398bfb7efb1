// A child process that cannot outlive us, and file descriptors that close themselves.
#pragma once

#include "vm/error.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace vm {

class UniqueFd {
  public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept
    {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~UniqueFd() { reset(); }
    void reset();
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

// Both ends close on exec; ours does not block.
struct SocketPair {
    UniqueFd ours, theirs;
};
Result<SocketPair> make_socket_pair();

// Owns one child, in a process group of its own (Ctrl-C is for us to handle), with no input and with both
// outputs in one file. A guard process ends it when we die without our destructors, by SIGKILL for example.
class Process {
  public:
    // `inherited`: descriptors of ours that stay open in the child, under the same numbers.
    // Error (unavailable): the program cannot be started, or `output` cannot be written.
    static Result<Process> spawn(const std::filesystem::path& program,
                                 const std::vector<std::string>& arguments, const std::vector<int>& inherited,
                                 const std::filesystem::path& output);
    Process(Process&& other) noexcept;
    Process& operator=(Process&& other) noexcept;
    ~Process() { end(); }

    pid_t pid() const { return pid_; }
    int exit_fd() const { return pidfd_.get(); } // readable once the child has ended
    bool running();                              // does not wait
    std::optional<int> wait_status() const { return status_; }
    std::string describe_end() const; // "exit status 1", "signal 9"
    void end();                       // SIGKILL and reap; nothing when it has ended before

  private:
    Process() = default;
    void start_guard();

    pid_t pid_ = -1, guard_ = -1;
    UniqueFd pidfd_, lifeline_; // the guard sees the lifeline close
    std::optional<int> status_;
};

} // namespace vm
