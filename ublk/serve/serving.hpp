// The life of a served device, for any backend: made, served until a signal or a failure, and taken away.
#pragma once

#include "ublk/backends/file.hpp"
#include "ublk/backends/memory.hpp"
#include "ublk/backends/null.hpp"
#include "ublk/backends/zoned.hpp"
#include "ublk/engine/device.hpp"
#include "ublk/engine/parameters.hpp"
#include "ublk/serve/commands.hpp"
#include "ublk/serve/daemon.hpp"
#include "ublk/serve/observing.hpp"
#include "ublk/serve/recording.hpp"

namespace ublk::serve {

// The signals that end the server, as a descriptor. Made before there are threads, which inherit the mask.
Result<wire::Fd> ending_signals();

// The disk is there: says so, to the file of --json as well.
Result<void> announce(const AddCommand& command, const uapi::DevInfo& info, std::uint64_t size,
                      Starter& starter);

// Serves until there is a reason to end, and returns the exit code.
int serve_until_end(engine::Running running, int signal_fd);

// `Queue` is what the queues run on, see engine::Configured::start().
template <typename Queue = engine::KernelQueue, engine::Backend B>
int serve(const AddCommand& command, B& backend, Starter& starter)
{
    const auto failed = [&](const Error& error) { return starter.failed(exit_code(error), error.message()); };
    const auto signals = ending_signals();
    if (!signals)
        return failed(signals.error());
    auto control = engine::Control::open();
    if (!control)
        return failed(control.error());
    auto created = engine::Created::add(*control, command.device);
    if (!created)
        return failed(created.error());
    const engine::Geometry geometry = backend.geometry();
    auto configured =
        std::move(*created).set_parameters(engine::make_params(geometry, created->info().max_io_buf_bytes));
    if (!configured)
        return failed(configured.error());
    const auto observation = Observation::open(command, configured->info(), geometry.size);
    if (!observation)
        return failed(observation.error());
    auto running = (*observation)->template start<Queue>(std::move(*configured), backend, signals->get());
    if (!running)
        return failed(running.error());
    if (const auto there = announce(command, running->info(), geometry.size, starter); !there)
        return failed(there.error());
    return serve_until_end(std::move(*running), signals->get());
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
template <typename Then>
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
        return opened(backends::Memory::create(command.size, command.block_size, command.read_only));
    case BackendType::file:
        return opened(backends::File::open({.path = command.file,
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
