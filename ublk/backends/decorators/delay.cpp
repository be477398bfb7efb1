#include "ublk/backends/decorators/delay.hpp"

#include <cerrno>
#include <ctime>

namespace ublk::backends {

void sleep_for(std::chrono::nanoseconds time) noexcept
{
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    timespec left{.tv_sec = seconds.count(), .tv_nsec = (time - seconds).count()};
    while (::clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

} // namespace ublk::backends
