// What comes out of a machine and goes into it: its console, its port, and the signs of its end.
#include "vm/clock.hpp"
#include "vm/machine_impl.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace vm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto send_timeout = 10s;
constexpr auto last_words_timeout = 3s; // from "Kernel panic" to its end marker: a backtrace on a serial line
constexpr std::size_t console_file_limit = std::size_t{64} * 1024 * 1024;

} // namespace

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

} // namespace vm
