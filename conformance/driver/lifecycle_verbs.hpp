// Verbs for the cases about a device's life: servers that are other processes, openers, uevents.
#pragma once

#include "conformance/driver/child.hpp"
#include "conformance/driver/driver.hpp"
#include "conformance/driver/server.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace conformance {

// A server in a process of its own: makes the device live, then serves from memory until killed.
class ServerProcess {
  public:
    explicit ServerProcess(const Device& device, Where where = Where::current())
        : ServerProcess(device, {}, where)
    {
    }
    // `arrange` is called in the process once the device is live.
    ServerProcess(const Device& device, const std::function<void(Server&)>& arrange,
                  Where where = Where::current());
    pid_t pid() const { return child_.pid(); }
    void kill(Where where = Where::current()); // SIGKILL, and waits for the process's end

  private:
    Child child_;
};

// A system call in a thread of its own that is expected to sleep in the kernel.
class Sleeper {
  public:
    explicit Sleeper(std::function<long()> call);
    // Its thread sleeps where no signal wakes it (state D), as I/O that waits does; ends the case if it
    // never does.
    void expect_asleep(std::string_view what, Where where = Where::current()) const;
    App& app() { return app_; }

  private:
    std::shared_ptr<std::atomic<pid_t>> tid_;
    App app_;
};

// Listens to the kernel's device events from its construction on.
class Uevents {
  public:
    Uevents();
    // Waits for the event whose first line is `header`, e.g. "add@/devices/virtual/block/ublkb0", and which
    // has that other line, if one is given.
    bool wait_for(const std::string& header, Millis limit = patience, const std::string& line = "");

  private:
    Fd socket_;
};
std::string disk_event(std::string_view action, const Device& device); // a header for wait_for()

// ublkbN opened; the open is served meanwhile if a server is given. Failing that fails the case.
Fd open_block(const Device& device, int flags, Where where = Where::current());
Fd open_block(Server& server, int flags, Where where = Where::current());

// The result of a control command, of which the server serves what it asks for.
long control_served(Server& server, CtrlNr nr, std::uint64_t data = 0, Where where = Where::current());

// Sends FETCH for one tag through a ring and a file that need not belong together; returns nothing, the
// completion carries `user_data`.
void send_fetch(ublk::wire::Ring& ring, int char_fd, unsigned tag, const void* buffer,
                std::uint64_t user_data);

// Runs `body` in a process of its own that is number 1 of a new pid namespace; what it expects, it expects of
// the case.
void in_pid_namespace(const std::function<void()>& body, Where where = Where::current());

// A page that no access may touch: an address that every copy faults on.
class BadPage {
  public:
    BadPage();
    ~BadPage();
    BadPage(const BadPage&) = delete;
    BadPage& operator=(const BadPage&) = delete;
    const void* get() const { return page_; }

  private:
    void* page_;
};

} // namespace conformance
