// QEMU's monitor protocol over a connected socket: one command at a time, events on the way kept for later.
#pragma once

#include "vm/error.hpp"
#include "vm/lines.hpp"
#include "vm/process.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace vm {

struct QmpEvent {
    std::string name;    // "SHUTDOWN"
    nlohmann::json data; // {"guest": true, "reason": "guest-reset"}
};

class Qmp {
  public:
    // `socket` must not block. Waits for the greeting and leaves the negotiation mode.
    static Result<Qmp> connect(UniqueFd socket, std::chrono::milliseconds timeout);

    // Sends a command and waits for its answer: the value of "return", or an error with QEMU's own words.
    Result<nlohmann::json> execute(std::string_view command, const nlohmann::json& arguments,
                                   std::chrono::milliseconds timeout);
    // The human monitor's commands (savevm, loadvm) answer in words, and only when something went wrong.
    Result<void> execute_human(const std::string& command_line, std::chrono::milliseconds timeout);

    // What came since the last call, without waiting.
    std::vector<QmpEvent> take_events();
    int fd() const { return socket_.get(); }
    bool closed() const { return closed_; }                 // the other side is gone
    const std::string& version() const { return version_; } // "7.2.22", from the greeting

  private:
    explicit Qmp(UniqueFd socket) : socket_(std::move(socket)) {}
    using Clock = std::chrono::steady_clock;
    Result<void> send_text(std::string_view text, Clock::time_point deadline);
    Result<nlohmann::json> next_message(Clock::time_point deadline); // events do not count
    bool fill(Clock::time_point deadline);                           // false: nothing in time, or closed

    UniqueFd socket_;
    LineSplitter lines_;
    std::vector<QmpEvent> events_;
    std::string version_;
    unsigned last_id_ = 0;
    bool closed_ = false;
};

} // namespace vm
