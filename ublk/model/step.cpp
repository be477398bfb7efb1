#include "ublk/model/step.hpp"

#include "ublk/model/stepper.hpp"

#include <algorithm>

namespace ublk::model {

bool Answer::allows(std::int32_t result) const
{
    return std::ranges::find(allowed_, result) != allowed_.end();
}

void Answer::allow(std::int32_t result)
{
    if (!allows(result))
        allowed_.push_back(result);
}

const Device* find(const State& state, std::uint32_t id)
{
    const auto found = std::ranges::find(state.devices, id, &Device::id);
    return found == state.devices.end() ? nullptr : &*found;
}

Device* find(State& state, std::uint32_t id)
{
    const auto found = std::ranges::find(state.devices, id, &Device::id);
    return found == state.devices.end() ? nullptr : &*found;
}

bool is_ready(const Queue& queue)
{
    return std::ranges::none_of(queue.tags, [](const Tag& tag) { return tag.state == TagState::unfetched; });
}

bool is_ready(const Device& device)
{
    return std::ranges::all_of(device.queues, [](const Queue& queue) { return is_ready(queue); });
}

const Request* request_of(const Device& device, std::size_t queue, std::size_t tag)
{
    if (queue >= device.queues.size() || tag >= device.depth)
        return nullptr;
    const Token app = device.queues[queue].tags[tag].request;
    const auto found = std::ranges::find(device.requests, app, &Request::app);
    return app == 0 || found == device.requests.end() ? nullptr : &*found;
}

bool moves_payload(const Device& device)
{
    return device.flags.has_any(Feature::user_copy | Feature::support_zero_copy | Feature::auto_buf_reg);
}

bool queues_without_server(const Device& device)
{
    return device.flags.has(Feature::user_recovery) && !device.flags.has(Feature::user_recovery_fail_io);
}

InfoView info(const Device& device)
{
    return {.state = device.state,
            .server = device.info_server,
            .flags = device.flags,
            .queues = static_cast<std::uint16_t>(device.queues.size()),
            .depth = device.depth};
}

Outcome step(State state, const Command& command, const Context& context)
{
    Outcome outcome{.state = std::move(state), .expected = {}};
    outcome.expected = Stepper(outcome.state, context).run(command);
    return outcome;
}

Expected Stepper::run(const Command& command)
{
    if (is_control(command.verb)) {
        const Device* device = find(state_, command.dev);
        const bool means_server = command.given == Given::good && device != nullptr;
        state_.waiting.push_back(
            {.token = own_, .command = command, .pid_server = means_server ? device->server : 0});
        settle();
        return std::move(told_);
    }
    Device& device = *find(state_, command.dev);
    switch (command.verb) {
    case Verb::open:
        open(device);
        break;
    case Verb::end_task:
        end_task(device, command.task);
        complete(own_, 0);
        break;
    case Verb::kill:
        die(device);
        complete(own_, 0);
        break;
    case Verb::interrupt:
        interrupt(device);
        complete(own_, 0);
        break;
    case Verb::read:
    case Verb::write:
        admit(device, {.app = own_,
                       .queue = command.queue,
                       .write = command.verb == Verb::write,
                       .page = command.page});
        break;
    case Verb::time_out: // of an unprivileged device: the driver kills the server
        device.requests.push_back({.app = own_, .queue = command.queue, .delivered = true});
        die(device);
        break;
    case Verb::open_block: {
        const auto error = disk_open_error(device.flags, device.try_stopped, command.sender);
        device.block_opens = static_cast<std::uint16_t>(device.block_opens + (error == 0 ? 1 : 0));
        complete(own_, error);
        break;
    }
    case Verb::close_block:
        --device.block_opens;
        device.disk_object = device.disk || device.block_opens != 0;
        complete(own_, 0);
        break;
    case Verb::deliver:
        deliver(device, command);
        break;
    case Verb::copy_out:
    case Verb::copy_in:
        copy(device, command);
        break;
    default:
        io(device, command);
    }
    settle();
    return std::move(told_);
}

void Stepper::complete(Token token, const Answer& answer)
{
    if (token == own_)
        told_.answer = answer;
    else
        told_.effects.push_back({token, answer});
}

// Of commands that are alike and end together, the driver chooses which comes first.
void Stepper::allow_any_order(const std::vector<Ended>& ended)
{
    const auto told = [this](Token token) -> Answer& {
        const auto effect = std::ranges::find(told_.effects, token, &Effect::token);
        return effect == told_.effects.end() ? told_.answer : effect->answer;
    };
    for (const auto& one : ended) {
        for (const auto& other : ended) {
            Command same = other.command; // who sent it, and how, makes no difference any more
            same.bare = one.command.bare;
            same.sender = one.command.sender;
            same.path = one.command.path;
            same.together = one.command.together;
            if (one.token != other.token && one.command == same && one.pid_server == other.pid_server)
                told(one.token).allow(other.result);
        }
    }
}

void Stepper::settle()
{
    std::vector<Ended> ended;
    for (bool again = true; again;) {
        again = false;
        for (auto& device : state_.devices)
            abort_waiting(device);
        for (std::size_t i = 0; i < state_.waiting.size() && !again; ++i) {
            const auto& waiting = state_.waiting[i];
            const bool stopped = waiting.stopped, reporting = waiting.reporting;
            const auto result = attempt(state_.waiting[i]);
            again = result.has_value() || waiting.stopped != stopped || waiting.reporting != reporting;
            if (!result)
                continue;
            const Waiting& done = state_.waiting[i];
            ended.push_back({done.token, done.command, done.pid_server, *result});
            complete(done.token, *result);
            state_.waiting.erase(state_.waiting.begin() + static_cast<std::ptrdiff_t>(i));
        }
        collect_deleted();
    }
    allow_any_order(ended);
}

} // namespace ublk::model
