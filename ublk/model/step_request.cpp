// Requests: who gets them, who waits, who fails.
#include "ublk/model/stepper.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace ublk::model {

namespace {

std::size_t with_tag(const Device& device, std::uint16_t queue)
{
    return static_cast<std::size_t>(std::ranges::count_if(
        device.requests, [&](const Request& r) { return (r.delivered || r.queued) && r.queue == queue; }));
}

bool is_stopping(const State& state, const Device& device)
{
    return std::ranges::any_of(state.waiting,
                               [&](const Waiting& w) { return w.stopping && w.command.dev == device.id; });
}

// Pages that are registered, whole and one behind the other, need no copy: UBLK-SHMEM-016.
std::optional<Shared> find_shared(const Device& device, std::uint8_t page)
{
    for (std::uint8_t index = 0; page != 0 && index < device.memory.size(); ++index) {
        const Area area = device.memory[index] ? areas[*device.memory[index]] : Area{};
        if (page > area.first_page && page <= area.first_page + area.pages)
            return Shared{.index = index,
                          .offset = static_cast<std::uint32_t>((page - 1 - area.first_page) * request_bytes)};
    }
    return std::nullopt;
}

bool has_armed(const Queue& queue)
{
    return std::ranges::any_of(queue.tags, [](const Tag& tag) { return tag.state == TagState::armed; });
}

} // namespace

std::optional<std::string> no_delivery(const State& state, const Command& command)
{
    const Device* device = find(state, command.dev);
    if (device == nullptr || command.queue >= device->queues.size() || command.tag >= device->depth)
        return "there is no such tag";
    const Queue& queue = device->queues[command.queue];
    const auto request = std::ranges::find(device->requests, command.value, &Request::app);
    if (request == device->requests.end())
        return "no application waits for that request";
    if (request->delivered)
        return "the server has that request already";
    if (request->queue != command.queue)
        return fmt::format("it belongs to queue {}", request->queue);
    if (queue.canceling)
        return "the queue is canceling";
    if (device->flags.has(Feature::batch_io) && !request->queued && !request->parked)
        return "no tag has it";
    const auto tag = queue.tags[command.tag].state;
    if (tag_row(tag, TagEvent::request, TagWhen::plain)->reply.kind == TagReply::Kind::never)
        return fmt::format("the tag is {}", to_string(tag));
    return std::nullopt;
}

// It ends without the server's answer.
void Stepper::fail(const Request& request, const Answer& answer)
{
    if (!request.report)
        return complete(request.app, answer);
    const auto start = std::ranges::find(state_.waiting, request.app, &Waiting::token);
    start->reported = answer.allowed().front();
}

void Stepper::admit(Device& device, Request request)
{
    const Queue& queue = device.queues[request.queue];
    if (queue.fail_io)
        return fail(request, -EREMOTEIO);
    if (queue.aborts && queues_without_server(device))
        return fail(request, -EIO);
    request.shared = find_shared(device, request.page);
    request.parked = queue.canceling && queues_without_server(device);
    const bool halted = is_stopping(state_, device) && queues_without_server(device);
    request.queued = device.flags.has(Feature::batch_io) && !queue.canceling && !halted;
    device.requests.push_back(request); // abort_waiting() comes next
}

// What cannot be delivered any more fails, as soon as the block layer has a tag to fail it with.
void Stepper::abort_waiting(Device& device)
{
    const bool stopping = is_stopping(state_, device), queues = queues_without_server(device);
    // A live device is first emptied of what the server has.
    const bool emptied =
        device.state != DevState::live ||
        std::ranges::none_of(device.requests, [](const Request& r) { return r.delivered || r.queued; });
    for (std::uint16_t q = 0; q < device.queues.size(); ++q) {
        const bool has_tag = with_tag(device, q) < device.depth;
        const bool aborts = queues ? stopping && emptied : device.queues[q].canceling;
        if (!aborts || !has_tag)
            continue;
        std::vector<Request> requests;
        std::swap(requests, device.requests);
        for (const auto& request : requests) {
            if (request.queue != q || request.delivered || request.queued)
                device.requests.push_back(request);
            else
                fail(request, -EIO);
        }
    }
}

void Stepper::deliver(Device& device, const Command& command)
{
    auto& request = *std::ranges::find(device.requests, command.value, &Request::app);
    auto& tag = device.queues[command.queue].tags[command.tag];
    const bool asks = request.write && device.flags.has(Feature::need_get_data);
    const TagRow& row = *tag_row(tag.state, TagEvent::request, asks ? TagWhen::write : TagWhen::plain);
    request.delivered = true;
    request.parked = request.queued = false;
    tag.state = row.to;
    tag.request = request.app;
    if (!device.flags.has(Feature::batch_io)) // whose FETCH_IO_CMDS goes on
        complete(std::exchange(tag.command, 0), row.reply.value);
}

std::vector<Token> due(const State& state, const KernelTraits& kernel)
{
    std::vector<Token> tokens;
    for (const auto& device : state.devices) {
        if (device.flags.has(Feature::batch_io)) {
            for (const auto& request : device.requests) {
                if (request.queued && !device.queues[request.queue].fetches.empty())
                    tokens.push_back(request.app);
            }
            continue;
        }
        const bool too_early = kernel.late_delivery && device.state != DevState::live;
        const bool asked = device.disk || is_reporting(state, device);
        if (!asked || too_early || (is_stopping(state, device) && queues_without_server(device)))
            continue;
        for (const auto& request : device.requests) {
            const Queue& queue = device.queues[request.queue];
            // One that is parked keeps its tag.
            const auto busy = std::ranges::count_if(device.requests, [&](const Request& r) {
                return r.queue == request.queue && (r.delivered || r.parked);
            });
            if (!request.delivered && !request.parked && !queue.canceling && busy < device.depth &&
                has_armed(queue))
                tokens.push_back(request.app);
        }
    }
    return tokens;
}

} // namespace ublk::model
