#include "vm/machine.hpp"

#include "vm/file_io.hpp"
#include "vm/initramfs.hpp"
#include "vm/machine_impl.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace vm {
namespace {

constexpr auto start_timeout = 60s; // generous: the host may be busy with other machines

std::string tail_of(const fs::path& file)
{
    auto text = read_file(file).value_or("");
    while (text.ends_with('\n'))
        text.pop_back();
    if (text.size() > 2048)
        text.erase(0, text.size() - 2048);
    return text.empty() ? "it said nothing" : text;
}

} // namespace

Result<std::unique_ptr<Machine::Impl>> Machine::Impl::start(const MachineSpec& spec,
                                                            const StartOptions& options)
{
    auto monitor = make_socket_pair(), console = make_socket_pair();
    if (!monitor || !console)
        return std::unexpected((monitor ? console : monitor).error());
    auto listener = Listener::create(spec.work_dir);
    if (!listener)
        return std::unexpected(listener.error());
    auto port = listener->connect(); // before QEMU starts, so that the guest never finds nobody there
    if (!port)
        return std::unexpected(port.error());
    const MachineSockets sockets{monitor->theirs.get(), console->theirs.get(), listener->fd()};
    auto process =
        Process::spawn(spec.qemu, qemu_arguments(spec, sockets, options),
                       {sockets.monitor, sockets.console, sockets.port}, spec.work_dir / "qemu.log");
    if (!process)
        return std::unexpected(process.error());
    monitor->theirs.reset(); // so that we see QEMU's end close
    console->theirs.reset();
    listener->close_ours();

    auto qmp = Qmp::connect(std::move(monitor->ours), start_timeout);
    if (!qmp) {
        const bool in_time = qmp.error().message.find("in time") == std::string::npos;
        process->end();
        const auto said = tail_of(spec.work_dir / "qemu.log");
        if (options.sandbox && (said.contains("sandbox") || said.contains("seccomp")))
            return start(spec, {.saved_state = options.saved_state, .sandbox = false});
        return unavailable(
            fmt::format("QEMU {}: {}", in_time ? "did not start" : "did not answer in time", said));
    }
    const auto log = spec.work_dir / "console.log";
    UniqueFd file(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!file)
        return unavailable(fmt::format("{} cannot be written: {}", log.string(), std::strerror(errno)));
    return std::make_unique<Impl>(Impl{spec, std::move(*process), std::move(*qmp), std::move(*listener),
                                       std::move(*port), std::move(console->ours), std::move(file)});
}

namespace {

// The spec with QEMU found and its files checked, because QEMU's own words for a missing file are poor.
Result<MachineSpec> prepare(MachineSpec spec)
{
    auto qemu = find_program(spec.qemu.empty() ? fs::path("qemu-system-x86_64") : spec.qemu);
    if (!qemu)
        return std::unexpected(qemu.error());
    spec.qemu = std::move(*qemu);
    for (const auto& file : {spec.image, spec.initramfs})
        if (::access(file.c_str(), R_OK) != 0)
            return usage_error(fmt::format("{} cannot be read: {}", file.string(), std::strerror(errno)));
    std::error_code code;
    fs::create_directories(spec.work_dir, code);
    if (code)
        return unavailable(
            fmt::format("work directory {} cannot be made: {}", spec.work_dir.string(), code.message()));
    return spec;
}

} // namespace

Result<Machine> Machine::boot(const MachineSpec& spec)
{
    auto prepared = prepare(spec);
    if (!prepared)
        return std::unexpected(prepared.error());
    auto impl = Impl::start(*prepared, {});
    if (!impl)
        return std::unexpected(impl.error());
    return Machine(std::move(*impl));
}

Result<Machine> Machine::clone(const MachineSpec& spec, const fs::path& saved_state)
{
    auto prepared = prepare(spec);
    if (!prepared)
        return std::unexpected(prepared.error());
    std::error_code code;
    const auto copy = prepared->work_dir / "state.qcow2";
    fs::copy_file(saved_state, copy, fs::copy_options::overwrite_existing, code);
    if (code)
        return unavailable(fmt::format("saved state {} cannot be copied to {}: {}", saved_state.string(),
                                       copy.string(), code.message()));
    auto impl = Impl::start(*prepared, {.saved_state = copy, .sandbox = true});
    if (!impl)
        return std::unexpected(impl.error());
    (*impl)->has_state_disk = true;
    if (auto done = (*impl)->wait_for_port(true); !done)
        return std::unexpected(done.error());
    if (auto done = (*impl)->monitor("cont"); !done)
        return std::unexpected(done.error());
    return Machine(std::move(*impl));
}

Machine::Machine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Machine::Machine(Machine&&) noexcept = default;
Machine& Machine::operator=(Machine&&) noexcept = default;
Machine::~Machine() = default;

std::string Machine::Impl::why_dead() const
{
    return fmt::format("QEMU ended ({}): {}", process.describe_end(), tail_of(qemu_log()));
}

fs::path Machine::saved_state() const
{
    return impl_->state_path();
}

std::string Machine::console_since_restore() const
{
    return impl_->console.text();
}
bool Machine::alive() const
{
    return impl_->process.running();
}
int Machine::pid() const
{
    return impl_->process.pid();
}

std::string Machine::describe() const
{
    const auto& m = *impl_;
    return fmt::format("QEMU {}, {}, {} CPUs, {} MiB, pid {}", m.qmp.version(), to_string(m.spec.accel),
                       m.spec.exact ? 1 : m.spec.cpus, m.spec.memory_mib, m.process.pid());
}

} // namespace vm
