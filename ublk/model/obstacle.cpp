// What cannot be sent, and what must not: commands that a kernel is known to crash or hang on.
#include "ublk/model/control_table.hpp"
#include "ublk/model/step.hpp"

#include <algorithm>
#include <functional>

namespace ublk::model {

namespace {

constexpr std::size_t most_requests = 8, most_devices = 3;

using Reason = std::optional<std::string>;

template <typename F>
bool any_tag(const Device& device, F holds)
{
    return std::ranges::any_of(device.queues,
                               [&](const Queue& queue) { return std::ranges::any_of(queue.tags, holds); });
}

bool is_canceled(const Tag& tag)
{
    return tag.state == TagState::canceled;
}

bool is_armed(const Tag& tag)
{
    return tag.state == TagState::armed;
}

bool is_stopping(const State& state, const Device& device)
{
    return std::ranges::any_of(state.waiting,
                               [&](const Waiting& w) { return w.stopping && w.command.dev == device.id; });
}

bool stops(const Command& command)
{
    return command.verb == Verb::stop || command.verb == Verb::try_stop || command.verb == Verb::del ||
           command.verb == Verb::del_async;
}

// A STOP_DEV or DEL_DEV has not begun to stop the device, because of a lock.
bool waits_to_stop(const State& state, const Device& device)
{
    return std::ranges::any_of(state.waiting, [&](const Waiting& w) {
        return stops(w.command) && w.command.dev == device.id && !w.stopping && !w.stopped;
    });
}

bool starts(const Command& command)
{
    const auto* row = control_row(command.verb);
    return row != nullptr && row->waits;
}

constexpr auto failed_report = "this kernel crashes after a report that fails: UBLK-ZONE-016";

// START_DEV and END_USER_RECOVERY, sent now or waiting already, on tags whose commands have come back.
Reason start_hazard(const State& state, const Device& device, const Command& command,
                    const KernelTraits& kernel)
{
    const bool waits = std::ranges::any_of(
        state.waiting, [&](const Waiting& w) { return w.command.dev == device.id && starts(w.command); });
    const bool goes_on =
        starts(command) || (waits && (command.verb == Verb::fetch || command.verb == Verb::prep_tags));
    if (!goes_on)
        return std::nullopt;
    if (kernel.any_pid && starts(command) && (command.given == Given::wrong || device.server == 0))
        return "this kernel takes any pid, and tells it as the server's: UBLK-START-006";
    if (device.zoned) {
        if (device.queues.size() > 1)
            return "in which queue it asks for the zones is the driver's choice";
        if (starts(command) && waits)
            return "which of two START_DEVs asks for the zones first is the driver's choice";
        if (queues_without_server(device) && any_tag(device, is_canceled))
            return "nothing ends what it asks about the zones on tags whose commands have come back";
        if (kernel.report_timer_stays &&
            (!device.flags.has(Feature::user_copy) || any_tag(device, is_canceled)))
            return failed_report;
    }
    if (device.aborting)
        return "this kernel goes on failing all I/O: UBLK-QUIESCE-012";
    const bool aborts = std::ranges::any_of(device.queues, [](const Queue& queue) { return queue.aborts; });
    if (aborts && kernel.aborts_stay)
        return "this kernel fails all commands of the next server: UBLK-QUIESCE-012";
    if (kernel.no_stopping && (aborts || any_tag(device, is_canceled)))
        return "this kernel starts a disk on commands that have come back: UBLK-CTRL-STOP-008";
    if (kernel.one_shot_start && device.completed && !is_ready(device))
        return "this kernel does not wait for a second round: UBLK-START-010";
    return std::nullopt;
}

// One task for a queue, and the end of that task is the server's.
Reason queue_daemon_hazard(const State& state, const Device& device, const Command& command)
{
    if (command.verb == Verb::end_task)
        return "on this kernel the end of a task is that of its queues' server";
    if (command.verb == Verb::kill && std::ranges::any_of(device.queues, [&](const Queue& queue) {
            return !is_ready(queue) && std::ranges::any_of(queue.tags, is_armed);
        }))
        return "this kernel warns when the task of an incomplete queue ends: UBLK-CDEV-OPEN-005";
    if (command.verb == Verb::kill && is_stopping(state, device) && !device.requests.empty())
        return "this kernel hangs when a server dies beside a STOP_DEV that waits for it: UBLK-LIFE-009";
    const auto with_server = [](const Tag& tag) { return tag.request != 0; };
    if (command.verb == Verb::kill && std::ranges::any_of(device.queues, [&](const Queue& queue) {
            return std::ranges::any_of(queue.tags, with_server) && std::ranges::none_of(queue.tags, is_armed);
        }))
        return "this kernel fails the requests of a dead server after 30 s if the queue has no other "
               "command: "
               "UBLK-LIFE-002";
    if (command.verb != Verb::fetch || command.queue >= device.queues.size())
        return std::nullopt;
    if (any_tag(device, is_canceled))
        return "this kernel takes FETCHes after STOP_DEV, and warns when their task ends";
    const auto& tags = device.queues[command.queue].tags;
    if (std::ranges::any_of(tags, [&](const Tag& tag) {
            return tag.state != TagState::unfetched && tag.task != command.task;
        }))
        return "this kernel warns when a task ends that did not complete its queue: UBLK-PIOD-006";
    return std::nullopt;
}

// PREP_IO_CMDS has a bad tag behind the one with which all are prepared.
bool completes_and_fails(Device device, const Command& command)
{
    if (command.queue >= device.queues.size())
        return false;
    auto& tags = device.queues[command.queue].tags;
    for (const auto number : command.tags) {
        if (number >= tags.size() || tags[number].state != TagState::unfetched)
            return is_ready(device);
        tags[number].state = TagState::armed;
    }
    return false;
}

// COMMIT_IO_CMDS names a tag twice, and the tag may have its next request when its second turn comes.
bool commits_twice(const Device& device, const Command& command)
{
    const bool twice = std::ranges::any_of(
        command.tags, [&](std::uint16_t tag) { return std::ranges::count(command.tags, tag) > 1; });
    const bool more = command.result == Given::half || command.result == Given::zero ||
                      std::ranges::any_of(device.requests, [&](const Request& request) {
                          return request.queue == command.queue && !request.delivered;
                      });
    return command.verb == Verb::commit_tags && twice && more;
}

// The payload of requests that a server gets at by itself, and what becomes of it when the server goes.
Reason payload_hazard(const Device& device, const Command& command, const KernelTraits& kernel)
{
    const bool ends = command.verb == Verb::kill || command.verb == Verb::end_task;
    const bool committed = std::ranges::any_of(
        device.requests, [](const Request& request) { return request.committed.has_value(); });
    if (ends && committed)
        return "a ring that has the pages of a request that it has committed never ends: "
               "UBLK-ZC-EXIT-002";
    if (committed && (command.verb == Verb::copy_in || command.verb == Verb::copy_out))
        return "what pread and pwrite get of a request that is committed is not in the model";
    if (command.metadata && device.flags.has(Feature::integrity) && !device.metadata &&
        request_of(device, command.queue, command.tag) != nullptr)
        return "this kernel shifts by a negative number: UBLK-INTEG-012";
    const bool with_server = std::ranges::any_of(device.requests, &Request::delivered);
    if (kernel.references_stay && ends && with_server && moves_payload(device))
        return "this kernel warns when a server dies with a request whose payload it moves itself: "
               "UBLK-ZONE-013";
    if (!kernel.features.has(Feature::support_zero_copy) || kernel.features.has(Feature::buf_reg_off_daemon))
        return std::nullopt;
    if (command.verb == Verb::register_buffer || command.verb == Verb::unregister_buffer)
        return "the rules for buffers on this kernel are not in the model";
    if (ends && with_server && device.flags.has(Feature::auto_buf_reg))
        return "this kernel crashes when a ring goes with a request's pages: UBLK-LIFE-014";
    return std::nullopt;
}

// The pages of a request of a device with BATCH_IO and AUTO_BUF_REG are in the ring of the FETCH_IO_CMDS that
// brought it, and stay there if another ring commits it.
bool leaves_buffers(const Device& device, const Command& command)
{
    return (command.verb == Verb::fetch_tags || command.verb == Verb::commit_tags) && command.task != 0 &&
           device.flags.has(Feature::batch_io) && device.flags.has(Feature::auto_buf_reg);
}

// QUIESCE_DEV takes the next server its commands, and requests go on to be given to their tags.
Reason quiesce_hazard(const Device& device, const KernelTraits& kernel)
{
    if (!device.disk || device.state == DevState::live || device.flags.has(Feature::batch_io))
        return std::nullopt;
    const bool given = std::ranges::any_of(device.queues, [&](const Queue& queue) {
        const bool canceled = std::ranges::any_of(queue.tags, is_armed);
        return canceled && (is_ready(queue) || !kernel.quiesce_spares) &&
               (!queue.canceling || kernel.cancel_forgotten);
    });
    if (given)
        return "this kernel crashes on requests for commands that have come back: UBLK-QUIESCE-016";
    return std::nullopt;
}

// What this kernel is known to do wrong with the command.
Reason defect(const State& state, const Device& device, const Command& command, const KernelTraits& kernel)
{
    if (kernel.resize_oopses && command.verb == Verb::update_size &&
        (!device.disk || is_stopping(state, device)))
        return "this kernel crashes on UPDATE_SIZE without a disk: UBLK-SIZE-002, UBLK-SIZE-010";
    const bool looks_at_tags = is_io(command.verb) || starts(command) || command.verb == Verb::open ||
                               command.verb == Verb::copy_in || command.verb == Verb::copy_out ||
                               command.verb == Verb::end_task || command.verb == Verb::kill;
    if (device.unreset && looks_at_tags)
        return "this kernel keeps the tags of the dead server: UBLK-CTRL-STOP-010, UBLK-LIFE-016";
    if (kernel.no_buffer_hangs && command.verb == Verb::fetch && command.given == Given::wrong)
        return "this kernel does not answer a FETCH without the buffer that it needs: UBLK-IO-FETCH-002";
    if (kernel.one_shot_start && command.verb == Verb::prep_tags && completes_and_fails(device, command))
        return "this kernel starts on a PREP that fails after it has completed the device: UBLK-START-010";
    if (kernel.cancel_repeats && command.verb == Verb::fetch && any_tag(device, is_canceled))
        return "this kernel completes a canceled command again: UBLK-TAG-102";
    if (command.verb == Verb::quiesce) {
        if (auto why = quiesce_hazard(device, kernel))
            return why;
    }
    if (kernel.cancel_once && command.verb == Verb::end_task && device.disk && !is_ready(device) &&
        std::ranges::any_of(device.queues, [](const Queue& queue) { return !queue.canceling; }))
        return "this kernel crashes on requests for commands of a task that has ended: UBLK-LIFE-020";
    const bool cancels = stops(command) || command.verb == Verb::kill || command.verb == Verb::end_task ||
                         command.verb == Verb::quiesce;
    if (kernel.cancel_repeats && cancels && device.completed && !is_ready(device) &&
        any_tag(device, is_armed))
        return "this kernel does not cancel commands of a second round before it is complete: UBLK-TAG-102";
    return std::nullopt;
}

Reason hazard(const State& state, const Device& device, const Command& command, const KernelTraits& kernel)
{
    const bool starting = std::ranges::any_of(
        state.waiting, [&](const Waiting& w) { return w.command.dev == device.id && starts(w.command); });
    // Where STOP_DEV waits for the server, and START_DEV for STOP_DEV, a death leaves the order to chance.
    if ((starts(command) && is_stopping(state, device)) ||
        (stops(command) && starting && std::ranges::any_of(device.requests, std::not_fn(&Request::report))))
        return "START_DEV beside a STOP_DEV that waits";
    if (is_control(command.verb) && device.deleted && device.flags.has(Feature::unprivileged_dev) &&
        command.path == Given::good)
        return "the node that the command names has just gone, or is about to";
    if ((command.verb == Verb::reg_buf || command.verb == Verb::unreg_buf) && !device.requests.empty())
        return "it waits for the requests, which its sender may have to answer: UBLK-SHMEM-014";
    if (command.verb == Verb::set_params && starting)
        return "START_DEV would take some parameters from before and some from after: UBLK-START-004";
    // It waits for the lock, which STOP_DEV has until the server has answered, and no signal ends that.
    if ((command.verb == Verb::fetch || command.verb == Verb::prep_tags) && is_stopping(state, device))
        return "FETCH beside a STOP_DEV that waits hangs the task that is to answer: UBLK-RING-012";
    if (is_reporting(state, device)) {
        if (command.verb == Verb::fetch)
            return "FETCH waits for START_DEV, and the task that is to answer it with it: UBLK-RING-012";
        if (command.verb == Verb::kill || command.verb == Verb::end_task)
            return "what becomes of START_DEV then is UBLK-ZONE-013's business";
        if (kernel.report_timer_stays && command.verb == Verb::commit && command.result == Given::wrong)
            return failed_report;
    }
    if (command.verb == Verb::kill && waits_to_stop(state, device) && !is_stopping(state, device))
        return "STOP_DEV and the end of a ring would cancel the same commands: "
               "conformance/known/reports/ring-exit-beside-del-dev.md";
    if (command.verb == Verb::kill && std::ranges::any_of(device.requests, [&](const Request& request) {
            return device.flags.has(Feature::batch_io) && request.parked &&
                   !device.queues[request.queue].canceling;
        }))
        return "whether a tag has what was parked is not in the model";
    if (command.verb == Verb::fetch_tags && is_stopping(state, device) && device.state != DevState::live &&
        queues_without_server(device))
        return "whether STOP_DEV has come to the queue yet is a race";
    if (leaves_buffers(device, command))
        return "which ring has the pages is not in the model";
    if (commits_twice(device, command))
        return "whether a tag that is named twice has its next request by then is a race";
    if (const auto why = payload_hazard(device, command, kernel))
        return why;
    if (const auto why = defect(state, device, command, kernel))
        return why;
    if (const auto why = start_hazard(state, device, command, kernel))
        return why;
    if (kernel.queue_daemon)
        return queue_daemon_hazard(state, device, command);
    return std::nullopt;
}

// The read must be on its way at once, and alone: the time limit is only changed while nothing is out.
Reason cannot_time_out(const State& state, const Device& device, const Command& command)
{
    if (!device.flags.has(Feature::unprivileged_dev))
        return "the time limit means nothing to this device";
    if (!device.disk || is_stopping(state, device))
        return "ublkbN is gone, or about to go"; // and with it the server
    if (!device.requests.empty() || command.queue >= device.queues.size())
        return "other requests are out";
    if (device.queues[command.queue].canceling)
        return "the server would not get the read";
    return std::nullopt;
}

// Nobody is there to send it, or nothing to send it to.
Reason impossible(const State& state, const Device& device, const Command& command)
{
    switch (command.verb) {
    case Verb::open:
        if (device.deleted)
            return "ublkcN is gone";
        return std::nullopt;
    case Verb::open_block:
    case Verb::read:
    case Verb::write:
        if (!device.disk || is_stopping(state, device))
            return "ublkbN is gone, or about to go";
        if (command.verb == Verb::write && device.zones_mixed)
            return "which zones this kernel takes for sequential is told by no report: UBLK-ZONE-017";
        if (device.requests.size() >= most_requests || command.queue >= device.queues.size())
            return "enough requests wait";
        if (device.flags.has(Feature::batch_io) &&
            std::ranges::count(device.requests, command.queue, &Request::queue) >= device.depth)
            return "which of the requests have a tag is not in the model";
        return std::nullopt;
    case Verb::time_out:
        return cannot_time_out(state, device, command);
    case Verb::close_block:
        if (device.block_opens == 0)
            return "nobody has ublkbN open";
        return std::nullopt;
    case Verb::interrupt:
        return std::nullopt;
    default:
        if (device.server == 0)
            return "there is no server";
        if (command.verb != Verb::kill && (device.ended_tasks & (1U << command.task)) != 0)
            return "that task has ended";
        return std::nullopt;
    }
}

Reason death_with_a_read(State state, const Command& command, const KernelTraits& kernel)
{
    constexpr Token read = ~Token{0};
    Device& device = *find(state, command.dev);
    auto& tags = device.queues[command.queue].tags;
    const auto tag = std::ranges::find_if(tags, is_armed);
    device.requests.push_back({.app = read, .queue = command.queue, .delivered = true});
    if (tag != tags.end()) // with BATCH_IO it may as well be in the queue
        *tag = {.state = TagState::owned, .task = tag->task, .request = read};
    return hazard(state, device, {.verb = Verb::kill, .dev = command.dev}, kernel);
}

} // namespace

std::optional<std::string> obstacle(const State& state, const Command& command, const KernelTraits& kernel)
{
    const Device* device = find(state, command.dev);
    if (command.verb == Verb::deliver)
        return no_delivery(state, command);
    if (command.verb == Verb::add) {
        if (state.devices.size() >= most_devices)
            return "there are enough devices";
        const bool deleting = std::ranges::any_of(state.waiting, [](const Waiting& w) {
            return !w.stopped && (w.command.verb == Verb::del || w.command.verb == Verb::del_async);
        });
        if (deleting)
            return "which id it gets is a race with DEL_DEV";
        return std::nullopt;
    }
    if (is_control(command.verb))
        return device == nullptr ? std::nullopt : hazard(state, *device, command, kernel);
    if (device == nullptr)
        return "there is no such device";
    if (auto why = impossible(state, *device, command))
        return why;
    if (command.verb == Verb::time_out)
        return death_with_a_read(state, command, kernel);
    return hazard(state, *device, command, kernel);
}

} // namespace ublk::model
