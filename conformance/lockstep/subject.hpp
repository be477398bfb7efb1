// The real driver, as something that commands are sent to and answers come from.
#pragma once

#include "conformance/driver/ctrl_verbs.hpp"
#include "conformance/driver/driver.hpp"
#include "conformance/driver/server.hpp"
#include "conformance/lockstep/server_process.hpp"
#include "ublk/model/step.hpp"

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace conformance::lockstep {

using ublk::model::Command;
using ublk::model::Given;
using ublk::model::Token;
using ublk::model::Verb;

struct Answered {
    Token token;
    long result;
    std::vector<std::uint16_t> tags{}; // that a FETCH_IO_CMDS has brought
    bool more = false;                 // and it goes on
};

// Whether ADD_DEV would find the id free. It outlives the device a little.
bool is_free_id(Driver& driver, std::uint32_t dev);

class Subject {
  public:
    Subject();
    ~Subject(); // ends servers and deletes devices, as far as that works

    // The answer comes by collect(). `before`: the device as the model has it; nullptr: there is none.
    void send(const Command& command, Token token, const ublk::model::Device* before);
    // Control and I/O commands, at once. They have the tokens from `first` on.
    void send(const std::vector<Command>& commands, Token first, const ublk::model::State& before);
    std::vector<Answered> collect();   // what has come back since the last call
    std::string where_is(Token token); // ", its thread: S in futex_wait"; "" if it has none

    // The request that a tag of the server holds: the application that made it, and how far it is done.
    struct Held {
        Token app = 0; // 0: it is START_DEV's report
        unsigned done_bytes = 0;
        bool write = false;
        unsigned bytes = 0;
        IoDesc desc{};
    };
    std::optional<Held> held(std::uint32_t dev, unsigned queue, unsigned tag);

    // Of answered commands:
    const DevInfo& info(Token token) const { return buffers_.at(token)->info; }
    const Params& params(Token token) const { return buffers_.at(token)->params; }
    DevInfo info_now(std::uint32_t dev);
    bool is_free(std::uint32_t dev) { return is_free_id(driver_, dev); }
    pid_t pid_of(std::uint32_t server) const { return server == 0 ? -1 : pids_.at(server - 1); }

  private:
    struct Buffers {
        DevInfo info;
        Params params;
        ublk::uapi::ShmemBufReg memory;
        std::string sent;        // what the command's address points to: the path, and then what is below
        std::size_t path = 0;    // its length
        void* payload = nullptr; // one of the above; nullptr: none
        std::size_t len = 0;
    };
    void send_control(const Command& command, Token token, const ublk::model::Device* before);
    void pause_after(const Command& command);
    // By one of the server's tasks; a thread for each task may. The answer, if it has come already.
    std::optional<long> send_io(const Command& command, Token token, const ublk::model::Device& before);
    long send_batch(const Command& command, Token token, const ublk::model::Device& before);
    void start_app(const Command& command, Token token);
    Device device_of(const Command& command) { return {driver_, devices_.at(command.dev)}; }
    void interrupt(std::uint32_t dev);
    void take_answer(Token token, const Command& command);

    Driver driver_;
    Pages memory_{ublk::model::memory_pages * 4096};             // of which the model's areas are parts
    std::map<ublk::model::Sender, std::uint16_t> personalities_; // of the driver's ring
    std::map<std::uint32_t, DevInfo> devices_;
    std::map<std::uint32_t, std::unique_ptr<ServerProcess>> servers_; // by device
    std::vector<pid_t> pids_;                                         // of all servers there have been
    std::map<Token, std::unique_ptr<Buffers>> buffers_;
    struct Sent {
        Command command;
        Pending pending;
    };
    std::map<Token, Sent> sent_;
    std::map<Token, App> apps_;
    std::map<Token, std::shared_ptr<std::atomic<pid_t>>> threads_; // of applications, once they move data
    std::map<Token, std::uint64_t> sectors_;                       // of each application's page
    std::multimap<std::uint32_t, Fd> open_disks_;
    std::vector<Answered> at_once_; // by system calls
};

} // namespace conformance::lockstep
