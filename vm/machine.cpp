#include "vm/machine.hpp"

#include "vm/console.hpp"
#include "vm/file_io.hpp"
#include "vm/initramfs.hpp"
#include "vm/lines.hpp"
#include "vm/listener.hpp"
#include "vm/machine_command.hpp"
#include "vm/process.hpp"
#include "vm/qmp.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

namespace vm {
namespace {

// Generous: the host may be busy with other machines, and none of these is a measurement.
constexpr auto start_timeout = 60s;
constexpr auto monitor_timeout = 60s;
constexpr auto send_timeout = 10s;
constexpr auto last_words_timeout = 3s; // from "Kernel panic" to its end marker: a backtrace on a serial line
constexpr std::size_t console_file_limit = std::size_t{64} * 1024 * 1024;

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point deadline)
{
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 1 << 30));
}

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

struct Machine::Impl {
    MachineSpec spec;
    Process process;
    Qmp qmp;
    Listener listener;
    UniqueFd port, console_socket, console_file;
    LineSplitter lines{};
    Console console{};
    std::size_t console_written = 0;
    bool port_open = true, console_open = true;
    bool has_state_disk = false;
    std::optional<ReadOutcome> ended{}; // why no further line will come

    fs::path state_path() const { return spec.work_dir / "state.qcow2"; }
    fs::path qemu_log() const { return spec.work_dir / "qemu.log"; }

    static Result<std::unique_ptr<Impl>> start(const MachineSpec& spec, const StartOptions& options);

    Result<json> monitor(std::string_view command, const json& arguments = json::object())
    {
        return qmp.execute(command, arguments, monitor_timeout);
    }
    Result<void> add_state_disk();
    Result<void> wait_for_job(const std::string& id);
    Result<void> wait_for_port(bool connected);
    Result<void> drain_port();
    Result<void> replace_port();
    Result<void> revive();
    void write_console_file(std::string_view bytes);
    bool read_port();    // one chunk; false: nothing there now
    bool read_console(); // one chunk; false: nothing there now
    void wait_for_something(Clock::time_point deadline, bool until_writable);
    void notice_the_end();
    void let_panic_finish();
    std::string why_dead() const;
};

// ---------------------------------------------------------------------------------------------- start

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

// ------------------------------------------------------------------------------------- save and restore

Result<void> Machine::Impl::wait_for_job(const std::string& id)
{
    for (;;) { // a job of some milliseconds; each question is a round trip to QEMU's main loop
        auto jobs = monitor("query-jobs");
        if (!jobs)
            return std::unexpected(jobs.error());
        const auto job = std::ranges::find_if(*jobs, [&](const json& j) { return j.value("id", "") == id; });
        if (job == jobs->end())
            return unavailable("QEMU lost its job " + id);
        if (job->value("status", "") != "concluded")
            continue;
        const auto why = job->value("error", "");
        auto done = monitor("job-dismiss", {{"id", id}});
        if (!why.empty())
            return unavailable(fmt::format("QEMU cannot make {}: {}", state_path().string(), why));
        return done ? Result<void>() : std::unexpected(done.error());
    }
}

// QEMU keeps a saved state inside a disk image. It makes the image itself, which spares us qemu-img. The
// guest does not see this disk.
Result<void> Machine::Impl::add_state_disk()
{
    if (has_state_disk)
        return {};
    if (const UniqueFd made(::open(state_path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        !made)
        return unavailable(
            fmt::format("{} cannot be written: {}", state_path().string(), std::strerror(errno)));
    const json cache{{"no-flush", true}}; // a saved state need not survive the host
    const auto add_file = monitor("blockdev-add", {{"driver", "file"},
                                                   {"filename", state_path().string()},
                                                   {"node-name", "state-file"},
                                                   {"cache", cache}});
    if (!add_file)
        return std::unexpected(add_file.error());
    const json options{{"driver", "qcow2"}, {"file", "state-file"}, {"size", 1 << 20}};
    if (auto made = monitor("blockdev-create", {{"job-id", "make-state"}, {"options", options}}); !made)
        return std::unexpected(made.error());
    if (auto done = wait_for_job("make-state"); !done)
        return done;
    const auto add_disk =
        monitor("blockdev-add",
                {{"driver", "qcow2"}, {"file", "state-file"}, {"node-name", "state"}, {"cache", cache}});
    if (!add_disk)
        return std::unexpected(add_disk.error());
    has_state_disk = true;
    return {};
}

Result<void> Machine::save()
{
    auto& m = *impl_;
    if (auto done = m.add_state_disk(); !done)
        return done;
    if (auto done = m.monitor("stop"); !done)
        return std::unexpected(done.error());
    auto saved = m.qmp.execute_human(fmt::format("savevm {}", snapshot_tag), monitor_timeout);
    // The second stop writes QEMU's own caches of the image out, so that the file can be copied.
    auto flushed = m.monitor("stop");
    auto continued = m.monitor("cont");
    m.qmp.take_events(); // of our own stopping, which notice_the_end() would take for the guest's end
    if (!saved)
        return saved;
    if (!flushed || !continued)
        return std::unexpected((flushed ? continued : flushed).error());
    return {};
}

Result<void> Machine::Impl::wait_for_port(bool connected)
{
    const auto deadline = Clock::now() + monitor_timeout;
    while (Clock::now() < deadline) { // each question lets QEMU's main loop run once
        auto chardevs = monitor("query-chardev");
        if (!chardevs)
            return std::unexpected(chardevs.error());
        for (const auto& chardev : *chardevs)
            if (chardev.value("label", "") == "port" &&
                chardev.value("filename", "").starts_with("disconnected:") != connected)
                return {};
    }
    return unavailable("QEMU does not take the connection to its port");
}

// Until a stopped guest has nothing more to say. QEMU 7.2 leaves the port blocked for good when it finds the
// connection closed while it still has data to write.
Result<void> Machine::Impl::drain_port()
{
    for (int quiet_rounds = 0; quiet_rounds < 2;) {
        ++quiet_rounds;
        while (read_port()) {
            lines.clear();
            quiet_rounds = 0;
        }
        if (auto turn = monitor("query-status"); !turn) // lets QEMU's main loop write what it holds
            return std::unexpected(turn.error());
    }
    return {};
}

// A new connection for the port: what the guest had not read of the old one is gone with it.
Result<void> Machine::Impl::replace_port()
{
    if (auto drained = drain_port(); !drained)
        return drained;
    port.reset();
    port_open = false;
    if (auto gone = wait_for_port(false); !gone)
        return gone;
    auto connection = listener.connect();
    if (!connection)
        return std::unexpected(connection.error());
    port = std::move(*connection);
    port_open = true;
    return wait_for_port(true);
}

// A machine whose guest has powered off or reset does not continue, whatever is loaded into it, before it has
// had a reset of its own.
Result<void> Machine::Impl::revive()
{
    auto status = monitor("query-status");
    if (!status)
        return std::unexpected(status.error());
    const auto name = status->value("status", "");
    if (name != "shutdown" && name != "internal-error" && name != "guest-panicked")
        return {};
    if (auto done = monitor("set-action", {{"reboot", "reset"}}); !done)
        return std::unexpected(done.error());
    qmp.take_events();
    if (auto done = monitor("system_reset"); !done)
        return std::unexpected(done.error());
    const auto deadline = Clock::now() + monitor_timeout;
    for (bool reset = false; !reset && Clock::now() < deadline;) { // it happens in QEMU's main loop, later
        if (auto asked = monitor("query-status"); !asked)
            return std::unexpected(asked.error());
        else
            reset = asked->value("status", "") != name;
    }
    auto done = monitor("set-action", {{"reboot", "shutdown"}});
    return done ? Result<void>() : std::unexpected(done.error());
}

Result<void> Machine::restore()
{
    auto& m = *impl_;
    if (!m.process.running())
        return unavailable("this machine cannot be restored: " + m.why_dead());
    if (!m.has_state_disk)
        return usage_error("this machine has no saved state: call save() first");
    if (auto done = m.monitor("stop"); !done)
        return std::unexpected(done.error());
    if (auto done = m.revive(); !done)
        return done;
    if (auto done = m.replace_port(); !done)
        return done;
    if (auto done = m.qmp.execute_human(fmt::format("loadvm {}", snapshot_tag), monitor_timeout); !done)
        return done;
    while (m.read_console()) {
    }
    m.write_console_file("\n--- restored ---\n");
    m.lines.clear();
    m.console.clear();
    m.qmp.take_events();
    m.ended.reset();
    auto done = m.monitor("cont");
    return done ? Result<void>() : std::unexpected(done.error());
}

fs::path Machine::saved_state() const
{
    return impl_->state_path();
}

// ------------------------------------------------------------------------------------------- bytes and lines

void Machine::Impl::write_console_file(std::string_view bytes)
{
    if (console_written >= console_file_limit)
        return; // a guest that floods its console must not fill the host's disk
    console_written += bytes.size();
    std::string text(bytes);
    if (console_written >= console_file_limit)
        text += "\n--- no more of this console is kept ---\n";
    // A full disk costs the log, not the run.
    [[maybe_unused]] const auto written = ::write(console_file.get(), text.data(), text.size());
}

bool Machine::Impl::read_console()
{
    std::array<char, 16 * 1024> chunk;
    const auto n = console_open ? ::recv(console_socket.get(), chunk.data(), chunk.size(), 0) : 0;
    if (n <= 0) {
        console_open = console_open && n < 0 && (errno == EAGAIN || errno == EINTR);
        return false;
    }
    const std::string_view bytes(chunk.data(), static_cast<std::size_t>(n));
    console.push(bytes);
    write_console_file(bytes);
    return true;
}

bool Machine::Impl::read_port()
{
    std::array<char, 64 * 1024> chunk;
    const auto n = port_open ? ::recv(port.get(), chunk.data(), chunk.size(), 0) : 0;
    if (n <= 0) {
        port_open = port_open && n < 0 && (errno == EAGAIN || errno == EINTR);
        return false;
    }
    lines.push({chunk.data(), static_cast<std::size_t>(n)});
    return true;
}

void Machine::Impl::wait_for_something(Clock::time_point deadline, bool until_writable)
{
    const auto events = static_cast<short>(until_writable ? POLLOUT : POLLIN);
    pollfd fds[] = {{port_open ? port.get() : -1, events, 0},
                    {console_open ? console_socket.get() : -1, POLLIN, 0},
                    {qmp.closed() ? -1 : qmp.fd(), POLLIN, 0},
                    {process.exit_fd(), POLLIN, 0}};
    poll(fds, std::size(fds), milliseconds_until(deadline));
}

std::string Machine::Impl::why_dead() const
{
    return fmt::format("QEMU ended ({}): {}", process.describe_end(), tail_of(qemu_log()));
}

// Reads what the console and the monitor have to say, and sets `ended` when no further line will come.
void Machine::Impl::notice_the_end()
{
    read_console();
    if (ended)
        return;
    if (!console.panic().empty()) {
        let_panic_finish();
        ended = ReadOutcome{ReadOutcome::Kind::panic, console.panic(), false};
    }
    for (const auto& event : qmp.take_events()) {
        const auto reason = event.data.value("reason", "");
        if (event.name == "SHUTDOWN")
            ended = ReadOutcome{ReadOutcome::Kind::panic,
                                reason == "guest-reset" ? "the guest reset itself (triple fault or reboot)"
                                                        : "the guest powered off (" + reason + ")",
                                false};
        else if (event.name == "GUEST_PANICKED" || event.name == "GUEST_CRASHLOADED")
            ended = ReadOutcome{ReadOutcome::Kind::panic, "the guest reported a panic", false};
        else if (event.name == "STOP" && !ended) // nobody of us says stop between two reads
            ended = ReadOutcome{ReadOutcome::Kind::panic, "QEMU stopped the guest (internal error)", false};
    }
    if (!process.running())
        ended = ReadOutcome{ReadOutcome::Kind::dead, why_dead(), false};
    if (ended)
        while (read_console()) {
        }
}

// The backtrace comes after the line that says panic. Afterwards the guest would only burn a host CPU.
void Machine::Impl::let_panic_finish()
{
    const auto deadline = Clock::now() + last_words_timeout;
    while (!console.panic_complete() && console_open && Clock::now() < deadline)
        if (!read_console()) {
            pollfd waiting{console_socket.get(), POLLIN, 0};
            poll(&waiting, 1, milliseconds_until(deadline));
        }
    [[maybe_unused]] const auto stopped = monitor("stop");
    qmp.take_events();
}

ReadOutcome Machine::read_line(std::chrono::milliseconds timeout)
{
    auto& m = *impl_;
    const auto deadline = Clock::now() + timeout;
    for (;;) {
        if (auto line = m.lines.next())
            return {ReadOutcome::Kind::line, std::move(line->text), line->overlong};
        m.notice_the_end(); // before the port is read: what was sent before the end is read after it
        if (m.read_port())
            continue;
        if (m.ended)
            return *m.ended;
        if (Clock::now() >= deadline)
            return {};
        m.wait_for_something(deadline, false);
    }
}

Result<void> Machine::send_line(std::string_view line)
{
    auto& m = *impl_;
    const auto deadline = Clock::now() + send_timeout;
    const auto text = std::string(line) + "\n";
    for (std::size_t sent = 0; sent < text.size();) {
        const auto n = ::send(m.port.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (n > 0) {
            sent += static_cast<std::size_t>(n);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return unavailable("the machine takes no line: " + m.why_dead());
        m.notice_the_end();
        if (m.ended)
            return unavailable("the machine takes no line: " + m.ended->text);
        if (Clock::now() >= deadline)
            return unavailable("the guest takes no line: it has not read its port for 10 s");
        m.wait_for_something(deadline, true);
    }
    return {};
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
                       m.spec.cpus, m.spec.memory_mib, m.process.pid());
}

} // namespace vm
