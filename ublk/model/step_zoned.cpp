// The zones of a disk, which START_DEV asks its server for.
#include "ublk/model/stepper.hpp"

#include <algorithm>
#include <utility>

namespace ublk::model {

std::uint16_t zones(const Device& device)
{
    return static_cast<std::uint16_t>(device.sectors / zone_sectors);
}

bool is_reporting(const State& state, const Device& device)
{
    return std::ranges::any_of(state.waiting,
                               [&](const Waiting& w) { return w.reporting && w.command.dev == device.id; });
}

// START_DEV of a zoned device, first when it would start it, and then until it is known what came of it.
std::optional<std::int32_t> Stepper::report(Waiting& waiting, Device& device)
{
    if (waiting.reported) {
        if (*waiting.reported == 0)
            go_live(device);
        else
            remove_disk(device);
        return waiting.reported;
    }
    if (waiting.reporting)
        return std::nullopt;
    if (zones(device) == 0) // UBLK-ZONE-005
        return -ENODEV;
    waiting.reporting = true;
    device.zones_mixed = false;
    device.state = DevState::live;
    device.info_server = device.server;
    admit(device, {.app = waiting.token, .report = true});
    return std::nullopt;
}

// The server's answer. Whoever has not told all zones is asked for the rest: UBLK-ZONE-003.
void Stepper::finish_report(Device& device, Request request, std::int32_t bytes)
{
    if (bytes < 0)
        return fail(request, bytes);
    const bool again = bytes == 0 && kernel_.short_resent;
    device.zones_mixed = device.zones_mixed || (!again && request.zone != 0 && request.filled != 0);
    if (!again)
        request.zone = static_cast<std::uint16_t>(request.zone + std::exchange(request.filled, 0));
    if (request.zone == zones(device))
        return fail(request, 0);
    request.delivered = false;
    request.committed.reset();
    admit(device, request);
}

} // namespace ublk::model
