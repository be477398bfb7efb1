// The inside of step(): the state that is being changed, and what has been told so far.
#pragma once

#include "ublk/model/control_table.hpp"
#include "ublk/model/step.hpp"

#include <optional>

namespace ublk::model {

class Stepper {
  public:
    Stepper(State& state, const Context& context)
        : state_(state), kernel_(context.kernel), own_(context.token)
    {
    }
    Expected run(const Command& command);

  private:
    // Control commands: each is tried when it is sent, and again after every step for as long as it waits.
    struct Ended {
        Token token;
        Command command;
        std::uint32_t pid_server;
        std::int32_t result;
    };
    void settle();
    void allow_any_order(const std::vector<Ended>& ended);
    std::optional<std::int32_t> attempt(Waiting& waiting);
    std::int32_t add_error(const Command& command) const;
    std::int32_t add(const Command& command);
    std::optional<std::int32_t> on_device(Waiting& waiting, Device& device);
    std::optional<std::int32_t> refused(const Waiting& waiting, const Device& device,
                                        const ControlRow& row) const;
    std::optional<std::int32_t> act(Waiting& waiting, Device& device);
    std::optional<std::int32_t> stop(Waiting& waiting, Device& device);
    void interrupt(const Device& device);
    void finish_stop(Device& device);
    void remove_disk(Device& device);
    bool is_locked(const Device& device, Token by_other_than) const;
    bool is_adding_locked(Token by_other_than) const;
    bool is_referenced(const Device& device) const;
    void collect_deleted();

    // The server.
    void open(Device& device);
    void io(Device& device, const Command& command);
    std::optional<std::int32_t> io_error(const Device& device, const Command& command) const;
    void fetch(Device& device, const Command& command);
    void commit(Device& device, const Command& command);
    void end_request(Device& device, Tag& tag, Given result);
    void finish(Device& device, Request request, std::int32_t bytes);
    void get_data(Device& device, const Command& command);
    void register_buffer(Device& device, const Command& command);
    void unregister_buffer(Device& device, const Command& command);
    void drop(Device& device, Token& buffer);
    void copy(Device& device, const Command& command);
    void queue_complete(Device& device, Queue& queue);
    void end_task(Device& device, unsigned task);
    void release(Device& device);
    void die(Device& device);
    void reset_tags(Device& device);
    void freeze_tags(Device& device);
    void cancel_armed(Device& device, bool of_complete_queues = false);

    // BATCH_IO.
    void batch(Device& device, const Command& command);
    std::int32_t prep(Device& device, const Command& command);
    std::int32_t prep_one(Device& device, Queue& queue, Tag& tag, const Command& command);
    std::int32_t commit_tags(Device& device, const Command& command);
    void fetch_tags(Device& device, const Command& command);
    void cancel_fetches(Device& device);
    void readmit(Device& device);

    // The zones that START_DEV asks for.
    std::optional<std::int32_t> report(Waiting& waiting, Device& device);
    void ask_for_zones(Device& device, Request request);
    void finish_report(Device& device, Request request, std::int32_t bytes);
    void go_live(Device& device);

    // Requests.
    void fail(const Request& request, const Answer& answer);
    void admit(Device& device, Request request);
    void deliver(Device& device, const Command& command);
    void abort_waiting(Device& device);

    void complete(Token token, const Answer& answer);

    State& state_;
    const KernelTraits& kernel_;
    Token own_;
    Expected told_;
};

} // namespace ublk::model
