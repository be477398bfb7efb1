// The server's side: its file, its rings, its commands.
#include "ublk/model/buffers.hpp"
#include "ublk/model/stepper.hpp"

#include <algorithm>
#include <utility>

namespace ublk::model {

namespace {

bool holds_command(TagState state)
{
    return state == TagState::armed || state == TagState::canceled || state == TagState::referenced;
}

// What the buffer's address, right or wrong, is answered with. `needs` one: 0 is wrong; else all but 0 is.
bool is_bad_buffer(const Device& device, Given buffer, bool needs)
{
    return buffer == Given::wrong && (needs || moves_payload(device));
}

} // namespace

void Stepper::open(Device& device)
{
    if (device.server != 0)
        return complete(own_, -EBUSY);
    device.server = ++state_.servers;
    complete(own_, 0);
}

void Stepper::io(Device& device, const Command& command)
{
    if (device.flags.has(Feature::batch_io))
        return batch(device, command);
    if (command.bare && !kernel_.bare_numbers)
        return complete(own_, -EOPNOTSUPP);
    if (is_batch(command.verb)) { // no operation of this device; what it would be the tag of is 0
        Command unknown = command;
        unknown.verb = Verb::unknown_io;
        return complete(own_, io_error(device, unknown).value_or(-EINVAL));
    }
    if (command.verb == Verb::register_buffer)
        return register_buffer(device, command);
    if (command.verb == Verb::unregister_buffer)
        return unregister_buffer(device, command);
    if (const auto error = io_error(device, command))
        return complete(own_, *error);
    switch (command.verb) {
    case Verb::fetch:
        return fetch(device, command);
    case Verb::commit:
        return commit(device, command);
    default:
        return get_data(device, command);
    }
}

// The answer to a command that changes nothing; nullopt: it is accepted.
std::optional<std::int32_t> Stepper::io_error(const Device& device, const Command& command) const
{
    if (command.queue >= device.queues.size())
        return -EINVAL;
    const Queue& queue = device.queues[command.queue];
    const bool foreign_queue = kernel_.queue_daemon && queue.had_daemon && queue.daemon != command.task;
    if (foreign_queue || command.tag >= device.depth)
        return -EINVAL;
    const Tag& tag = queue.tags[command.tag];
    const bool is_fetch = command.verb == Verb::fetch;
    const bool needs_buffer = !device.flags.has(Feature::need_get_data);
    if (is_fetch && !kernel_.buffer_last && is_bad_buffer(device, command.given, needs_buffer))
        return -EINVAL;
    const bool foreign =
        !kernel_.queue_daemon && tag.state != TagState::unfetched && tag.task != command.task;
    TagEvent event = foreign ? TagEvent::commit_foreign : TagEvent::commit;
    if (is_fetch) {
        const bool ready = kernel_.queue_ready ? is_ready(queue) : is_ready(device);
        event = device.stopping ? TagEvent::fetch_stopping : ready ? TagEvent::fetch_ready : TagEvent::fetch;
        if (kernel_.armed_busy && foreign)
            return -EINVAL;
        if (kernel_.armed_busy && holds_command(tag.state))
            return -EBUSY;
        if (kernel_.armed_busy && tag.state == TagState::need_data)
            return -EINVAL;
    } else if (command.verb == Verb::get_data && !foreign) {
        event = TagEvent::get_data;
    }
    const bool asks_data = event == TagEvent::get_data;
    const TagReply reply = tag_row(tag.state, event, asks_data ? TagWhen::copied : TagWhen::done)->reply;
    if (reply.kind == TagReply::Kind::answers && reply.value < 0)
        return reply.value;
    const bool buffers = command.verb == Verb::register_buffer || command.verb == Verb::unregister_buffer;
    if (command.verb == Verb::unknown_io || (buffers && !kernel_.features.has(Feature::support_zero_copy)))
        return -EINVAL;
    if (is_fetch && is_bad_buffer(device, command.given, needs_buffer))
        return -EINVAL;
    if (command.verb == Verb::commit) {
        const auto request = std::ranges::find(device.requests, tag.request, &Request::app);
        if (is_bad_buffer(device, command.given, needs_buffer || !request->write))
            return -EINVAL;
    }
    return std::nullopt;
}

void Stepper::fetch(Device& device, const Command& command)
{
    Queue& queue = device.queues[command.queue];
    queue.tags[command.tag] = {
        .state = tag_row(TagState::unfetched, TagEvent::fetch)->to, .task = command.task, .command = own_};
    if (is_ready(queue)) {
        queue.had_daemon = true;
        queue.daemon = command.task;
    }
    device.completed = device.completed || is_ready(device);
    if (kernel_.late_delivery && device.state != DevState::dead)
        return;
    if (kernel_.all_queues && is_ready(device)) {
        for (auto& each : device.queues)
            queue_complete(device, each);
    } else if (!kernel_.all_queues && is_ready(queue)) {
        queue_complete(device, queue);
    }
}

// New requests are delivered from now on, unless a command of the round has been canceled meanwhile.
void Stepper::queue_complete(Device& device, Queue& queue)
{
    const auto canceled = [](const Tag& tag) { return tag.state == TagState::canceled; };
    const bool lost = std::ranges::any_of(
        device.queues, [&](const Queue& each) { return std::ranges::any_of(each.tags, canceled); });
    if ((lost || device.lost_fetch) && !kernel_.cancel_forgotten)
        return;
    queue.canceling = false;
    queue.fail_io = false;
    queue.aborts = queue.aborts && kernel_.aborts_stay;
}

std::int32_t committed_bytes(const Request& request, Given result)
{
    if (request.report)
        return result == Given::good ? report_bytes : result == Given::wrong ? -EIO : 0;
    const std::int32_t left = request_bytes - request.done;
    switch (result) {
    case Given::good:
        return left;
    case Given::half:
        return request.done == 0 ? left / 2 : left; // a second half would be no whole number of sectors soon
    case Given::zero:
        return 0;
    case Given::wrong:
        break;
    }
    return -EIO;
}

void Stepper::commit(Device& device, const Command& command)
{
    Tag& tag = device.queues[command.queue].tags[command.tag];
    tag.command = own_;
    end_request(device, tag, command.result);
}

void Stepper::end_request(Device& device, Tag& tag, Given result)
{
    const auto request = std::ranges::find(device.requests, tag.request, &Request::app);
    const std::int32_t bytes = committed_bytes(*request, result);
    const bool in_use = is_in_use(device, request->app);
    tag.state = tag_row(TagState::owned, TagEvent::commit, in_use ? TagWhen::referenced : TagWhen::done)->to;
    if (in_use) {
        request->committed = bytes;
        return;
    }
    tag.request = 0;
    const Request finished = *request;
    device.requests.erase(request);
    finish(device, finished, bytes);
}

// `request` is no longer among the device's.
void Stepper::finish(Device& device, Request request, std::int32_t bytes)
{
    if (request.report)
        return finish_report(device, request, bytes);
    const bool is_short = bytes >= 0 && bytes < request_bytes - request.done && !request.shared;
    const bool copied_read = !request.write && !moves_payload(device);
    if (bytes < 0 || (bytes == 0 && !request.write))
        return complete(request.app, -EIO);
    if (!is_short || (!copied_read && !kernel_.short_resent))
        return complete(request.app, request_bytes);
    request.done = static_cast<std::uint16_t>(request.done + bytes);
    request.delivered = false;
    request.committed.reset();
    admit(device, request);
}

void Stepper::get_data(Device& device, const Command& command)
{
    Tag& tag = device.queues[command.queue].tags[command.tag];
    const auto found = std::ranges::find(device.requests, tag.request, &Request::app);
    const bool copied = command.given == Given::good || found->shared; // of which nothing is to be copied
    const TagRow& row =
        *tag_row(tag.state, TagEvent::get_data, copied ? TagWhen::copied : TagWhen::not_copied);
    tag.state = row.to;
    if (copied)
        return complete(own_, row.reply.value);
    // Nothing could be copied: the request comes again.
    tag.command = own_;
    tag.request = 0;
    Request request = *found;
    device.requests.erase(found);
    request.delivered = false;
    admit(device, request);
}

// Commands that the task sent are canceled, and nobody is left to be told. Its ring's buffers go with it.
void Stepper::end_task(Device& device, unsigned task)
{
    bool any = false;
    device.ended_tasks |= static_cast<std::uint8_t>(1U << task);
    for (auto& buffer : device.fixed[task])
        drop(device, buffer);
    const bool single = !device.flags.has(Feature::batch_io);
    for (auto& queue : device.queues) {
        const auto gone = std::erase_if(queue.fetches, [=](const TagFetch& f) { return f.task == task; });
        any = any || gone != 0;
        for (auto& tag : queue.tags) {
            const TagRow* row = tag_row(tag.state, TagEvent::cancel);
            if (!single || tag.task != task || row->reply.kind != TagReply::Kind::posts)
                continue;
            tag.state = row->to;
            tag.command = 0;
            any = true;
        }
    }
    if (!single && !device.disk && kernel_.cancel_needs_disk)
        return;
    device.lost_fetch = device.lost_fetch || (any && !single);
    for (auto& queue : device.queues)
        queue.canceling = queue.canceling || any;
}

void Stepper::cancel_armed(Device& device, bool of_complete_queues)
{
    if (device.flags.has(Feature::batch_io))
        return cancel_fetches(device);
    for (auto& queue : device.queues) {
        if (of_complete_queues && !is_ready(queue))
            continue;
        for (auto& tag : queue.tags) {
            const TagRow* row = tag_row(tag.state, TagEvent::cancel);
            if (row->reply.kind != TagReply::Kind::posts)
                continue;
            tag.state = row->to;
            complete(std::exchange(tag.command, 0), row->reply.value);
        }
    }
}

void Stepper::reset_tags(Device& device)
{
    for (auto& queue : device.queues) {
        queue.had_daemon = false;
        for (auto& tag : queue.tags)
            tag = {.state = tag_row(tag.state, TagEvent::release)->to};
    }
}

// As a dead server leaves them on kernels that do not reset them: fetched, and nobody's.
void Stepper::freeze_tags(Device& device)
{
    for (auto& queue : device.queues) {
        for (auto& tag : queue.tags) {
            if (tag.state != TagState::unfetched)
                tag = {.state = TagState::canceled, .task = tag.task};
        }
    }
}

// The whole server.
void Stepper::die(Device& device)
{
    end_task(device, 0);
    end_task(device, 1);
    release(device);
}

// The last close of ublkcN. All of its rings are gone.
void Stepper::release(Device& device)
{
    const bool stays = device.disk && !is_locked(device, 0) && device.flags.has(Feature::user_recovery);
    const bool queues = stays && queues_without_server(device);
    const bool reissue = queues && device.flags.has(Feature::user_recovery_reissue);
    std::vector<Request> requests;
    std::swap(requests, device.requests);
    for (auto& request : requests) {
        const bool had_tag = request.delivered || request.queued;
        if (queues && (!had_tag || reissue) && !device.queues[request.queue].aborts) {
            request.delivered = request.queued = false;
            request.parked = true;
            device.requests.push_back(request);
        } else {
            // One that waits for a tag gets it from one that is failed, beside the device's change of state.
            const bool either = stays && !queues && !had_tag;
            complete(request.app, either ? Answer{-EREMOTEIO, -EIO} : Answer{-EIO});
        }
    }
    device.server = 0;
    device.lost_fetch = false;
    device.ended_tasks = 0;
    device.stopping = false;
    const bool batch = device.flags.has(Feature::batch_io);
    for (auto& queue : device.queues) {
        queue.canceling =
            stays || (batch && queue.canceling); // FETCH_IO_CMDS looks at it without a disk, too
        queue.fail_io = stays && !queues;
        queue.aborts = queue.aborts || (batch && device.disk && !stays);
    }
    device.unreset = (kernel_.tags_survive && !device.disk) || kernel_.never_resets;
    if (!device.unreset)
        reset_tags(device);
    else
        freeze_tags(device);
    if (!device.disk || is_locked(device, 0))
        return;
    if (!stays)
        return remove_disk(device);
    device.state = queues ? DevState::quiesced : DevState::fail_io;
    if (!kernel_.pid_stays)
        device.info_server = 0;
}

} // namespace ublk::model
