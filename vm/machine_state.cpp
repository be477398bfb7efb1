// A machine's saved state: how it is made, and how the guest goes back to it.
#include "vm/machine_impl.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>

using nlohmann::json;

namespace vm {

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
    auto saved = m.qmp.execute_human(fmt::format("savevm {}", snapshot_tag), Impl::monitor_timeout);
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
    if (auto done = m.qmp.execute_human(fmt::format("loadvm {}", snapshot_tag), Impl::monitor_timeout); !done)
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

} // namespace vm
