// What a server shows of itself: counters for `ublk-serve top`, an endpoint for Prometheus, a log.
#pragma once

#include "ublk/engine/observers.hpp"
#include "ublk/observe/prometheus.hpp"
#include "ublk/serve/commands.hpp"

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ublk::serve {

class Observation {
  public:
    // Error: --metrics names a port that cannot be had. Counters that cannot be put where `top` looks are
    // kept to ourselves, with a warning in the log.
    static Result<std::unique_ptr<Observation>> open(const AddCommand& command, const uapi::DevInfo& info,
                                                     std::uint64_t size);

    // Starts the device, watched as the command wants it. *this has to live until the device is stopped.
    template <typename Queue, std::derived_from<engine::PrepareStep> Stage, engine::Backend B>
    Result<engine::Running> start(Stage stage, B& backend, int interrupt_fd)
    {
        const auto with = [&](auto watch) {
            return std::move(stage).template start<Queue>(backend, interrupt_fd, watch);
        };
        using enum engine::Watching;
        switch (watching_) {
        case paranoid:
            return with(engine::Watch<paranoid>(metrics_, log_));
        case timing:
            return with(engine::Watch<timing>(metrics_, log_));
        case counting:
            break;
        }
        return with(engine::Watch<counting>(metrics_, log_));
    }

  private:
    Observation(const AddCommand& command, observe::Metrics metrics);

    engine::Watching watching_;
    observe::Metrics metrics_;
    observe::Log log_;
    std::optional<observe::Endpoint> endpoint_; // goes first: its threads look at the metrics
};

// Where servers of this user put their counters: /run/ublk-serve for root, else below XDG_RUNTIME_DIR; empty
// if that is not set.
std::string stats_directory();

// What is being served by servers that are alive, by device id; without `directories`, of root's and of this
// user's.
std::vector<observe::Snapshot> served_devices(const std::vector<std::string>& directories);
std::vector<observe::Snapshot> served_devices();

// The devices in `now` and what they did in the `seconds` since `before`; those that are new did nothing yet.
std::string top_table(const std::vector<observe::Snapshot>& before, const std::vector<observe::Snapshot>& now,
                      double seconds);

} // namespace ublk::serve
