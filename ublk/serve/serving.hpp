// The life of a served device, for any backend: made, served until a signal or a failure, and taken away.
#pragma once

#include "ublk/backends/async_file.hpp"
#include "ublk/backends/memory.hpp"
#include "ublk/backends/null.hpp"
#include "ublk/backends/protected_memory.hpp"
#include "ublk/backends/zoned.hpp"
#include "ublk/engine/device.hpp"
#include "ublk/engine/parameters.hpp"
#include "ublk/serve/commands.hpp"
#include "ublk/serve/daemon.hpp"
#include "ublk/serve/observing.hpp"
#include "ublk/serve/recording.hpp"

namespace ublk::serve {

// These signals as a descriptor. Made before there are threads, which inherit the mask.
Result<wire::Fd> ending_signals(const std::vector<int>& signals);

// The disk is there: says so, to the file of --json as well.
Result<void> announce(const AddCommand& command, const uapi::DevInfo& info, std::uint64_t size,
                      Starter& starter);

// Serves until there is a reason to end, and returns the exit code.
int serve_until_end(engine::Running running, int signal_fd);

// What a backend makes of payload; one that is decorated, neither.
struct PayloadWays {
    bool unmapped = false; // it needs none in the server's memory
    bool places = false;   // it has places for it
};
template <engine::Backend B>
PayloadWays ways_of(B& backend)
{
    bool places = false;
    if constexpr (engine::PlacesPayload<B>)
        places = backend.has_places();
    return {.unmapped = engine::ServesUnmapped<B>, .places = places};
}

// What --data-path auto comes to on a kernel that offers `offered`.
engine::DataPath best_data_path(const AddCommand& command, PayloadWays ways, uapi::Features offered);

// With --dry-run: what would be made, or why it cannot be. The exit code.
int tell_plan(const AddCommand& command, const engine::Geometry& geometry, PayloadWays ways);

// The device that is to be served, up to where its queues can be started: a new one, or one that lost its
// server.
Result<engine::Configured> make_device(engine::Control& control, const AddCommand& command,
                                       const engine::Geometry& geometry, PayloadWays ways);
Result<engine::Recovering> take_over(engine::Control& control, const AddCommand& command,
                                     const engine::Geometry& geometry);

// `Queue` is what the queues run on, see engine::PrepareStep::prepare().
template <typename Queue = engine::KernelQueue, engine::Backend B>
int serve(const AddCommand& command, B& backend, Starter& starter)
{
    const PayloadWays ways = ways_of(backend);
    const engine::Geometry geometry = backend.geometry();
    if (command.dry_run)
        return tell_plan(command, geometry, ways);
    const auto failed = [&](const Error& error) { return starter.failed(exit_code(error), error.message()); };
    const auto signals = ending_signals(command.ends_on);
    if (!signals)
        return failed(signals.error());
    auto control = engine::Control::open();
    if (!control)
        return failed(control.error());
    const auto run = [&](auto stage) {
        if (!stage)
            return failed(stage.error());
        const auto observation = Observation::open(command, stage->info(), geometry.size);
        if (!observation)
            return failed(observation.error());
        auto running = (*observation)->template start<Queue>(std::move(*stage), backend, signals->get());
        if (!running)
            return failed(running.error());
        if (const auto there = announce(command, running->info(), geometry.size, starter); !there)
            return failed(there.error());
        return serve_until_end(std::move(*running), signals->get());
    };
    return command.recovers ? run(take_over(*control, command, geometry))
                            : run(make_device(*control, command, geometry, ways));
}

// The same behind the decorators of the command.
template <engine::Backend B>
int serve_decorated(const AddCommand& command, B& backend, Starter& starter)
{
    const auto recordings = Recordings::open(command.decorators, command.device.queues);
    if (!recordings)
        return starter.failed(exit_failed, recordings.error().message());
    backends::Decorated decorated(backend, (*recordings)->decorators());
    const int code = serve(command, decorated, starter);
    if (const auto saved = (*recordings)->save(); !saved) {
        complain(saved.error().message());
        return code != exit_ok ? code : exit_failed;
    }
    return code;
}

// Opens the backend that was asked for and calls `then` with it; the exit code of `then`, or of the failure.
// `File` is what a file is served by: for what wraps a backend, a synchronous one.
template <typename File = backends::AsyncFile, typename Then>
int with_backend(const AddCommand& command, Starter& starter, Then then)
{
    const auto opened = [&](auto backend) {
        return backend ? then(*backend) : starter.failed(exit_failed, backend.error().message());
    };
    switch (command.type) {
    case BackendType::null: {
        backends::Null backend(command.size, command.block_size);
        return then(backend);
    }
    case BackendType::memory:
        if (command.integrity)
            return opened(backends::ProtectedMemory::create(command.size, command.block_size,
                                                            *command.integrity, command.read_only));
        return opened(backends::Memory::create(command.size, command.block_size, command.read_only));
    case BackendType::file:
        return opened(File::open({.path = command.file,
                                  .size = command.size,
                                  .block_size = command.block_size,
                                  .direct = command.direct,
                                  .read_only = command.read_only}));
    case BackendType::zoned:
        return opened(backends::Zoned::create(command.zones));
    }
    return exit_usage;
}

} // namespace ublk::serve
