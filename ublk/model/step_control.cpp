// Control commands: what they meet, what they do, and what they wait for.
#include "ublk/model/stepper.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace ublk::model {

namespace {

bool is_delete(Verb verb)
{
    return verb == Verb::del || verb == Verb::del_async;
}

bool has_openers(const Device& device)
{
    return device.block_opens != 0 || std::ranges::any_of(device.requests, std::not_fn(&Request::report));
}

} // namespace

namespace {

bool is_bad_memory(const Command& command)
{
    return command.verb == Verb::reg_buf ? command.given == Given::wrong : command.value > most_area_index;
}

// A page is registered once, and gets the lowest index that is free.
std::int32_t register_memory(Device& device, const Command& command)
{
    const Area area = areas.at(command.value);
    const auto overlaps = [area](const auto& registered) {
        const Area other = registered ? areas[*registered] : Area{};
        return area.first_page < other.first_page + other.pages &&
               other.first_page < area.first_page + area.pages;
    };
    if (std::ranges::any_of(device.memory, overlaps))
        return -EEXIST;
    const auto free = std::ranges::find_if(device.memory, [](const auto& registered) { return !registered; });
    *free = static_cast<std::uint8_t>(command.value);
    return static_cast<std::int32_t>(free - device.memory.begin());
}

std::int32_t unregister_memory(Device& device, const Command& command)
{
    if (command.value >= device.memory.size() || !device.memory[command.value])
        return -ENOENT;
    device.memory[command.value].reset();
    return 0;
}

} // namespace

std::int32_t params_error(Features device, const Command& command, const KernelTraits& kernel)
{
    if (command.given == Given::wrong)
        return -EINVAL;
    switch (command.blocks) {
    case Blocks::no_basic:
    case Blocks::devt:
    case Blocks::bad_discard:
    case Blocks::bad_zoned:
        return -EINVAL;
    case Blocks::zoned:
        return device.has(Feature::zoned) ? 0 : -EINVAL;
    default:
        break;
    }
    if (device.has(Feature::zoned)) // cannot do without its block
        return -EINVAL;
    switch (command.blocks) {
    case Blocks::bad_dma_align:
    case Blocks::bad_segment:
        return kernel.few_blocks ? 0 : -EINVAL;
    case Blocks::integrity:
        return !kernel.features.has(Feature::integrity) || device.has(Feature::integrity) ? 0 : -EINVAL;
    case Blocks::bad_integrity:
        return kernel.features.has(Feature::integrity) ? -EINVAL : 0;
    default:
        return 0;
    }
}

Phase phase(const Device& device)
{
    if (device.deleted)
        return Phase::deleted;
    if (device.state != DevState::dead)
        return device.state == DevState::live       ? Phase::live
               : device.state == DevState::quiesced ? Phase::quiesced
                                                    : Phase::fail_io;
    if (device.stopping)
        return Phase::stopped;
    return device.server != 0 ? Phase::fetching : Phase::added;
}

std::string_view to_string(Phase phase)
{
    constexpr std::array<std::string_view, phases.size()> names{"ADDED",   "FETCHING", "LIVE",   "QUIESCED",
                                                                "FAIL_IO", "STOPPED",  "DELETED"};
    return names[static_cast<std::size_t>(phase)];
}

const ControlRow* control_row(Verb verb)
{
    const auto* row = std::ranges::find(detail::control_rows, verb, &ControlRow::verb);
    return row == detail::control_rows.end() ? nullptr : row;
}

bool Stepper::is_locked(const Device& device, Token by_other_than) const
{
    return std::ranges::any_of(state_.waiting, [&](const Waiting& other) {
        return (other.stopping || other.reporting) && other.token != by_other_than &&
               other.command.dev == device.id;
    });
}

// ADD_DEV and DEL_DEV of all devices share a lock; DEL_DEV has it until it has stopped its device.
bool Stepper::is_adding_locked(Token by_other_than) const
{
    return std::ranges::any_of(state_.waiting, [&](const Waiting& other) {
        return is_delete(other.command.verb) && other.begun && !other.stopped && other.token != by_other_than;
    });
}

bool Stepper::is_referenced(const Device& device) const
{
    return device.server != 0 || has_openers(device) ||
           std::ranges::any_of(state_.waiting, [&](const Waiting& other) {
               return other.command.dev == device.id && !other.stopped;
           });
}

void Stepper::collect_deleted()
{
    for (std::size_t i = 0; i < state_.devices.size();) {
        const Device& device = state_.devices[i];
        if (!device.deleted || is_referenced(device)) {
            ++i;
            continue;
        }
        for (const auto& waiting : state_.waiting) {
            if (waiting.command.dev == device.id)
                complete(waiting.token, 0);
        }
        std::erase_if(state_.waiting, [&](const Waiting& w) { return w.command.dev == device.id; });
        state_.devices.erase(state_.devices.begin() + static_cast<std::ptrdiff_t>(i));
    }
}

std::optional<std::int32_t> Stepper::attempt(Waiting& waiting)
{
    const auto verb = waiting.command.verb;
    if (waiting.command.bare && !kernel_.bare_numbers)
        return -EOPNOTSUPP;
    if (verb == Verb::add && add_error(waiting.command) != 0)
        return add_error(waiting.command);
    Device* device = find(state_, waiting.command.dev);
    if (verb != Verb::add && device == nullptr)
        return -ENODEV;
    if (device != nullptr && verb != Verb::add) {
        if (const auto error = not_permitted(waiting.command, device->flags, kernel_))
            return error;
    }
    if ((verb == Verb::add || is_delete(verb)) && !waiting.stopped && is_adding_locked(waiting.token))
        return std::nullopt;
    return verb == Verb::add ? add(waiting.command) : on_device(waiting, *device);
}

// What ADD_DEV says of the request itself, before it waits for anything.
std::int32_t Stepper::add_error(const Command& command) const
{
    const bool counts = command.depth != 0 && command.depth <= uapi::max_queue_depth && command.queues != 0 &&
                        command.queues <= uapi::max_nr_queues;
    if (!counts)
        return -EINVAL;
    if (const auto error = flags_error(command.flags, command.sender, kernel_))
        return error;
    return command.dev == uapi::no_dev_id || command.dev <= uapi::max_dev_id ? 0 : -EINVAL;
}

std::int32_t Stepper::add(const Command& command)
{
    const Features flags = granted(command.flags, kernel_, command.sender);
    std::uint32_t id = command.dev;
    if (id != uapi::no_dev_id && find(state_, id) != nullptr)
        return -EEXIST;
    if (flags.has(Feature::zoned) && !flags.has_any(Feature::user_copy | Feature::support_zero_copy))
        return -EINVAL;
    if (flags.has(Feature::batch_io) && command.depth == 1) // UBLK-BATCH-GEN-008
        return -EINVAL;
    for (id = id == uapi::no_dev_id ? 0 : id; find(state_, id) != nullptr;)
        ++id;
    Queue queue;
    queue.tags.resize(command.depth);
    Device device;
    device.id = id;
    device.depth = command.depth;
    device.flags = flags;
    device.queues.assign(command.queues, queue);
    state_.devices.insert(std::ranges::upper_bound(state_.devices, id, {}, &Device::id), std::move(device));
    return 0;
}

// Of what waits, the answer that comes before the table's.
std::optional<std::int32_t> Stepper::refused(const Waiting& waiting, const Device& device,
                                             const ControlRow& row) const
{
    const bool wrong_pid =
        !kernel_.any_pid && (waiting.pid_server == 0 || waiting.pid_server != device.server);
    if (row.waits && wrong_pid)
        return -EINVAL;
    if (!row.needs.empty() && !device.flags.has_any(row.needs))
        return row.without;
    const auto complete_queue = [](const Queue& queue) { return is_ready(queue); };
    if (kernel_.recovery_einval && waiting.command.verb == Verb::start_recovery &&
        std::ranges::none_of(device.queues, complete_queue))
        return -EINVAL;
    if (device.disk_object && !device.disk && waiting.command.verb == Verb::set_params)
        return -EACCES;
    if (device.disk_object && !device.disk && waiting.command.verb == Verb::start)
        return -EEXIST;
    return std::nullopt;
}

std::optional<std::int32_t> Stepper::on_device(Waiting& waiting, Device& device)
{
    const auto verb = waiting.command.verb;
    const ControlRow& row = *control_row(verb);
    if (!row.since.empty() && !kernel_.features.has_any(row.since))
        return -EOPNOTSUPP;
    const bool begins = !std::exchange(waiting.begun, true);
    if (verb == Verb::start && begins && (!device.has_params || waiting.command.given == Given::zero))
        return -EINVAL;
    if (waiting.stopped)
        return std::nullopt; // collect_deleted() answers
    if (waiting.stopping)
        return stop(waiting, device);
    if (waiting.reporting)
        return report(waiting, device);
    const bool woken = device.stopping;
    const bool round = kernel_.one_shot_start ? device.completed : is_ready(device);
    if (row.waits && !round && !woken)
        return std::nullopt;
    // These look before they take the lock.
    const bool memory = verb == Verb::reg_buf || verb == Verb::unreg_buf;
    if ((verb == Verb::quiesce || memory) && !device.flags.has_any(row.needs))
        return row.without;
    if (memory && is_bad_memory(waiting.command))
        return -EINVAL;
    if (verb == Verb::try_stop && begins) {
        const bool disk = device.disk || is_reporting(state_, device);
        if (!disk || has_openers(device))
            return disk ? -EBUSY : -ENODEV;
        device.try_stopped = true;
    }
    if (verb != Verb::get_info && is_locked(device, waiting.token))
        return std::nullopt;
    if (const auto answer = refused(waiting, device, row))
        return answer;
    if (verb == Verb::try_stop) // whatever has become of the disk since
        return act(waiting, device);
    const auto reply = row.replies[static_cast<std::size_t>(phase(device))];
    switch (reply.kind) {
    case ControlReply::Kind::answers:
        return reply.value;
    case ControlReply::Kind::unless_open:
        if (has_openers(device))
            return reply.value;
        break;
    case ControlReply::Kind::if_closed:
        if (device.server != 0)
            return reply.value;
        break;
    case ControlReply::Kind::does:
        break;
    }
    return act(waiting, device);
}

std::optional<std::int32_t> Stepper::act(Waiting& waiting, Device& device)
{
    switch (waiting.command.verb) {
    case Verb::set_params:
        device.has_params = params_error(device.flags, waiting.command, kernel_) == 0;
        device.sectors = device.has_params ? waiting.command.value : 0;
        device.zoned = device.has_params && waiting.command.blocks == Blocks::zoned;
        device.metadata = device.has_params && waiting.command.blocks == Blocks::integrity &&
                          device.flags.has(Feature::integrity);
        return device.has_params ? 0 : -EINVAL;
    case Verb::start:
        if (device.zoned)
            return report(waiting, device);
        [[fallthrough]];
    case Verb::end_recovery:
        go_live(device);
        return 0;
    case Verb::stop:
    case Verb::try_stop:
    case Verb::del:
    case Verb::del_async:
        return stop(waiting, device);
    case Verb::start_recovery:
        device.completed = device.completed && !kernel_.one_shot_start;
        if (std::exchange(device.unreset, false))
            reset_tags(device);
        return 0;
    case Verb::update_size:
        device.sectors = waiting.command.value;
        return 0;
    case Verb::reg_buf:
        return register_memory(device, waiting.command);
    case Verb::unreg_buf:
        return unregister_memory(device, waiting.command);
    case Verb::quiesce:
        if (device.state == DevState::live) {
            for (auto& queue : device.queues)
                queue.canceling = true;
        }
        cancel_armed(device, kernel_.quiesce_spares);
        return 0; // the next server's as well: UBLK-QUIESCE-015
    default:
        return 0;
    }
}

void Stepper::go_live(Device& device)
{
    device.disk = device.disk_object = true;
    device.state = DevState::live;
    device.info_server = device.server;
    if (kernel_.late_delivery) {
        for (auto& queue : device.queues)
            queue_complete(device, queue);
    }
    readmit(device);
}

// Also called again for as long as requests are out.
std::optional<std::int32_t> Stepper::stop(Waiting& waiting, Device& device)
{
    waiting.stopping = true;
    if (device.disk) {
        // Only a live device is first emptied; of any other no FETCH_IO_CMDS gets what is queued any more.
        if (device.flags.has(Feature::batch_io) && queues_without_server(device) &&
            device.state != DevState::live) {
            for (auto& queue : device.queues)
                queue.aborts = true;
        }
        abort_waiting(device);
        if (!device.requests.empty())
            return std::nullopt;
    }
    device.aborting =
        kernel_.aborts_stay && (device.aborting || (device.disk && queues_without_server(device)));
    if (!device.deleted)
        finish_stop(device);
    waiting.stopping = false;
    if (!is_delete(waiting.command.verb))
        return 0;
    device.deleted = true;
    if (waiting.command.verb == Verb::del_async)
        return 0;
    waiting.stopped = true;
    return std::nullopt;
}

// What waits for FETCHes.
void Stepper::interrupt(const Device& device)
{
    const bool round = is_ready(device) || device.stopping;
    std::erase_if(state_.waiting, [&](const Waiting& w) {
        const ControlRow* row = control_row(w.command.verb);
        const bool hears = w.command.dev == device.id && row != nullptr && row->waits && !round;
        if (hears)
            complete(w.token, {-EINTR, -ECANCELED}); // the latter: no worker had begun with it
        return hears;
    });
}

void Stepper::finish_stop(Device& device)
{
    if (device.disk || device.server != 0 || kernel_.no_stopping)
        cancel_armed(device);
    remove_disk(device);
    device.stopping = device.server != 0 && !kernel_.no_stopping;
}

void Stepper::remove_disk(Device& device)
{
    device.disk = false;
    device.disk_object = device.disk_object && device.block_opens != 0;
    device.state = DevState::dead;
    device.info_server = 0;
}

} // namespace ublk::model
