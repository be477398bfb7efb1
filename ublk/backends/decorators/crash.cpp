#include "ublk/backends/decorators/crash.hpp"

#include <unistd.h>

namespace ublk::backends {

void die(int signal, int status) noexcept
{
    constexpr int by_signal = 128; // as a shell names it: the signal was caught, and did not end us
    if (signal != 0)
        ::raise(signal);
    ::_exit(signal != 0 ? by_signal + signal : status);
}

} // namespace ublk::backends
