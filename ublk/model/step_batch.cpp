// The commands of devices with BATCH_IO: many tags at once, any task, and requests that wait for a command.
#include "ublk/model/stepper.hpp"

#include <algorithm>

namespace ublk::model {

namespace {

// Of PREP and COMMIT, before an element is looked at. Addresses where none may be are told by a flag.
std::int32_t batch_error(const Device& device, const Command& command)
{
    if (command.queue >= device.queues.size())
        return -EINVAL;
    if (command.tags.size() > device.depth)
        return -E2BIG;
    return command.given == Given::wrong && moves_payload(device) ? -EINVAL : 0;
}

} // namespace

void Stepper::batch(Device& device, const Command& command)
{
    switch (command.verb) {
    case Verb::prep_tags:
        return complete(own_, prep(device, command));
    case Verb::commit_tags:
        return complete(own_, commit_tags(device, command));
    case Verb::fetch_tags:
        return fetch_tags(device, command);
    case Verb::unregister_buffer:
        if (!command.bare)
            return unregister_buffer(device, command);
        return complete(own_, -EOPNOTSUPP);
    default:
        break;
    }
    if (command.queue >= device.queues.size() || command.tag >= device.depth)
        return complete(own_, -EINVAL);
    if (command.verb != Verb::register_buffer || command.bare)
        return complete(own_, -EOPNOTSUPP);
    register_buffer(device, command);
}

// All of the tags, or none.
std::int32_t Stepper::prep(Device& device, const Command& command)
{
    if (const auto error = batch_error(device, command))
        return error;
    Queue& queue = device.queues[command.queue];
    std::int32_t error = 0;
    std::vector<std::uint16_t> done;
    for (const auto number : command.tags) {
        error = number >= device.depth ? -EINVAL : prep_one(device, queue, queue.tags[number], command);
        if (error != 0)
            break;
        done.push_back(number);
    }
    if (error == 0)
        return 0;
    for (const auto number : done) {
        queue.canceling = queue.canceling || is_ready(queue);
        queue.tags[number] = {};
    }
    return error;
}

std::int32_t Stepper::prep_one(Device& device, Queue& queue, Tag& tag, const Command& command)
{
    if (command.given == Given::wrong)
        return -EINVAL;
    const BatchEvent event = device.stopping    ? BatchEvent::prep_stopping
                             : is_ready(device) ? BatchEvent::prep_ready
                                                : BatchEvent::prep;
    const BatchRow& row = *batch_row(tag.state, event);
    if (row.result != 0)
        return row.result;
    tag = {.state = row.to};
    device.completed = device.completed || is_ready(device);
    if (is_ready(queue))
        queue_complete(device, queue);
    return 0;
}

// Up to the first that cannot be: how many bytes of elements were taken.
std::int32_t Stepper::commit_tags(Device& device, const Command& command)
{
    if (const auto error = batch_error(device, command))
        return error;
    const std::int32_t element = moves_payload(device) ? 8 : 16;
    std::int32_t taken = 0;
    for (const auto number : command.tags) {
        std::int32_t error = -EINVAL;
        if (number < device.depth)
            error = batch_row(device.queues[command.queue].tags[number].state, BatchEvent::commit)->result;
        if (error == 0 && command.given == Given::wrong)
            error = -EINVAL;
        if (error != 0)
            return taken == 0 ? error : taken;
        end_request(device, device.queues[command.queue].tags[number], command.result);
        taken += element;
    }
    return taken;
}

void Stepper::fetch_tags(Device& device, const Command& command)
{
    if (command.queue >= device.queues.size())
        return complete(own_, -EINVAL);
    Queue& queue = device.queues[command.queue];
    if (queue.canceling || queue.aborts)
        return complete(own_, -ENODEV);
    queue.fetches.push_back({.token = own_, .task = command.task});
}

// STOP_DEV and QUIESCE_DEV.
void Stepper::cancel_fetches(Device& device)
{
    for (auto& queue : device.queues) {
        queue.aborts = true;
        for (const auto& fetch : queue.fetches)
            complete(fetch.token, -ENODEV);
        queue.fetches.clear();
    }
}

// Requests that were parked go to the queue again.
void Stepper::readmit(Device& device)
{
    std::vector<Request> requests;
    std::swap(requests, device.requests);
    for (auto& request : requests) {
        const bool returns = request.parked && !device.queues[request.queue].canceling;
        request.parked = request.parked && !returns;
        if (returns && device.flags.has(Feature::batch_io))
            admit(device, request);
        else
            device.requests.push_back(request);
    }
}

} // namespace ublk::model
