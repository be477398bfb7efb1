// Where the one line about the start goes: to the terminal, or from a daemon to the process the shell waits
// for.
#pragma once

#include "ublk/wire/ring.hpp"

#include <optional>
#include <string>

namespace ublk::serve {

class Starter {
  public:
    // Goes to the background: the child goes on with nullopt; the parent waits for the child's report, prints
    // it, and gets the exit code to leave with. Call it before there are threads.
    std::optional<int> daemonize();

    // The device is usable. In a daemon the standard streams are closed from here on.
    void ready(const std::string& line);
    // It came to nothing; returns `exit_code`.
    int failed(int exit_code, const std::string& message);

  private:
    void report(int exit_code, const std::string& text);
    wire::Fd to_parent_;
};

} // namespace ublk::serve
