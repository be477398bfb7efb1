// The payload of requests, as servers get at it that do not have it copied.
#include "ublk/model/buffers.hpp"
#include "ublk/model/stepper.hpp"
#include "ublk/uapi/io.hpp"

#include <algorithm>
#include <utility>

namespace ublk::model {

bool is_in_use(const Device& device, Token request)
{
    return std::ranges::any_of(
        device.fixed, [&](const auto& ring) { return std::ranges::find(ring, request) != ring.end(); });
}

// Any task may register what any task was given, also after the COMMIT.
void Stepper::register_buffer(Device& device, const Command& command)
{
    const bool offered = kernel_.features.has(Feature::support_zero_copy);
    const bool there = command.queue < device.queues.size() && command.tag < device.depth;
    const Tag* tag = there ? &device.queues[command.queue].tags[command.tag] : nullptr;
    const bool own = tag != nullptr && tag->state != TagState::unfetched && tag->task == command.task &&
                     !device.flags.has(Feature::batch_io);
    if (!offered || own) {
        if (const auto error = io_error(device, command))
            return complete(own_, *error);
    }
    if (tag == nullptr || tag->request == 0 || !device.flags.has(Feature::support_zero_copy))
        return complete(own_, -EINVAL);
    if (command.value >= fixed_buffers)
        return complete(own_, -EINVAL);
    Token& buffer = device.fixed[command.task][command.value];
    if (buffer != 0)
        return complete(own_, -EBUSY);
    buffer = tag->request;
    complete(own_, 0);
}

// Neither queue nor tag is looked at.
void Stepper::unregister_buffer(Device& device, const Command& command)
{
    const bool offered = kernel_.features.has(Feature::support_zero_copy);
    if (!offered) {
        const auto error = io_error(device, command);
        return complete(own_, error.value_or(-EINVAL));
    }
    const bool there = device.flags.has(Feature::support_zero_copy) && command.value < fixed_buffers;
    if (!there || device.fixed[command.task][command.value] == 0)
        return complete(own_, -EINVAL);
    drop(device, device.fixed[command.task][command.value]);
    complete(own_, 0);
}

void Stepper::drop(Device& device, Token& buffer)
{
    const Token app = std::exchange(buffer, 0);
    const auto request = std::ranges::find(device.requests, app, &Request::app);
    if (app == 0 || request == device.requests.end() || !request->committed || is_in_use(device, app))
        return;
    const Request finished = *request;
    device.requests.erase(request);
    for (auto& tag : device.queues[finished.queue].tags) {
        if (tag.request != app)
            continue;
        tag.request = 0;
        if (tag.state == TagState::referenced)
            tag.state = TagState::armed;
    }
    finish(device, finished, *finished.committed);
}

void Stepper::copy(Device& device, const Command& command)
{
    if (device.state == DevState::dead)
        return complete(own_, -EACCES);
    const bool metadata = command.metadata && kernel_.features.has(Feature::integrity); // else it is no bit
    const bool refused = metadata && !device.flags.has(Feature::integrity);
    if (refused || command.queue >= device.queues.size())
        return complete(own_, -EINVAL);
    if (!device.flags.has(Feature::user_copy))
        return complete(own_, kernel_.copy_einval ? -EINVAL : -EACCES);
    const Token app =
        command.tag < device.depth ? device.queues[command.queue].tags[command.tag].request : Token{0};
    const auto request = std::ranges::find(device.requests, app, &Request::app);
    if (app == 0 || request == device.requests.end())
        return complete(own_, -EINVAL);
    if (request->write != (command.verb == Verb::copy_out))
        return complete(own_, -EACCES);
    const std::int32_t left = request_bytes - request->done;
    if (request->report) {
        const auto asked = static_cast<std::uint16_t>(zones(device) - request->zone);
        request->filled = command.given == Given::half ? asked / 2 : asked;
        return complete(own_, asked * zone_bytes); // the whole of it is written, zeros behind the zones
    }
    if (metadata)
        return complete(own_, device.metadata ? left / std::int32_t{uapi::sector_size} * metadata_bytes : 0);
    complete(own_, kernel_.copy_untruncated ? request_bytes : left); // a page is asked for
}

} // namespace ublk::model
