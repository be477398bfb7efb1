// A decorator that takes the server down at a chosen request, before the backend sees it.
#pragma once

#include "ublk/backends/decorators/selection.hpp"

#include <csignal>

namespace ublk::backends {

class Crash;

struct CrashOptions {
    using Decorator = Crash;
    Selection which;      // the first that is chosen is the last
    int signal = SIGKILL; // the server raises it in the queue's thread; 0: it calls _exit()
    int status = 0;       // of _exit()
};

// Does not return.
[[noreturn]] void die(int signal, int status) noexcept;

class Crash {
  public:
    explicit Crash(const CrashOptions& options)
        : selector_(options.which), signal_(options.signal), status_(options.status)
    {
    }

    std::optional<std::int32_t> before(const engine::Io& io) noexcept
    {
        if (selector_.choose(io))
            die(signal_, status_);
        return std::nullopt;
    }
    std::int32_t after(const engine::Io&, std::int32_t answer) noexcept { return answer; }

  private:
    Selector selector_;
    int signal_, status_;
};

} // namespace ublk::backends
