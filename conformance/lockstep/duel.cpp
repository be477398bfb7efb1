#include "conformance/lockstep/duel.hpp"

#include "conformance/lockstep/generate.hpp"
#include "ublk/uapi/names.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace conformance::lockstep {

namespace model = ublk::model;
using std::chrono::steady_clock;

namespace {

constexpr Millis control_settles = 4ms; // a control command that must wait would have been answered by then
constexpr Millis all_settles = 30ms;
constexpr Millis aftermath = 1s; // of a server's death: a worker's time to take note

// What may be the end of a disk: the rest of it takes a moment.
bool ends_disk(Verb verb)
{
    return verb == Verb::kill || verb == Verb::time_out || verb == Verb::commit || verb == Verb::stop ||
           verb == Verb::try_stop || verb == Verb::del || verb == Verb::del_async ||
           verb == Verb::close_block;
}

// What a server tries again in the aftermath of a death.
bool retried(Verb verb)
{
    return verb == Verb::start_recovery || verb == Verb::end_recovery || verb == Verb::start ||
           verb == Verb::set_params;
}

std::string view_text(const DevInfo& info)
{
    return fmt::format("{}, pid {}, {} queues of {}, {}",
                       ublk::uapi::to_string(static_cast<DevState>(info.state)), info.ublksrv_pid,
                       info.nr_hw_queues, info.queue_depth,
                       ublk::uapi::to_string(Features::from_raw(info.flags)));
}

} // namespace

void Duel::differ(std::string expected, std::string observed)
{
    if (divergence_)
        return;
    const auto last = done_.empty() ? "the start" : model::to_string(done_.back());
    divergence_ = {fmt::format("after step {}, {}: {}", done_.size(), last, expected), std::move(observed)};
}

std::string Duel::name(Token token) const
{
    const auto found = sent_.find(token);
    return found == sent_.end() ? fmt::format("token {}", token) : model::to_string(found->second);
}

void Duel::expect(const model::Expected& expected, Token own)
{
    if (!expected.answer.is_pending())
        expected_[own] = expected.answer;
    for (const auto& effect : expected.effects)
        expected_[effect.token] = effect.answer;
}

void Duel::go(const Command& command)
{
    if (divergence_ || model::obstacle(state_, command, rules_.kernel))
        return;
    listen();
    if (divergence_)
        return;
    const Token token = ++last_;
    const auto* device = model::find(state_, command.dev);
    const auto before = device != nullptr ? std::optional(*device) : std::nullopt;
    auto outcome = rules_.step(state_, command, {rules_.kernel, token});
    done_.push_back(command);
    sent_[token] = command;
    added_ = outcome.state.devices.size() > state_.devices.size();
    state_ = std::move(outcome.state);
    if (ends_disk(command.verb))
        ends_[command.dev] = steady_clock::now();
    const bool waits = outcome.expected.answer.is_pending();
    expect(outcome.expected, token);
    subject_.send(command, token, before ? &*before : nullptr);
    settle();
    if (waits && model::is_control(command.verb) && !divergence_) {
        ::usleep(std::chrono::microseconds(control_settles).count());
        listen();
    }
    if (!divergence_ && (outcome.expected.answer.allows(0) || command.verb == Verb::time_out))
        check_answer(command, token);
    check_stopped();
    if (!divergence_ && before && command.verb != Verb::del && model::find(state_, command.dev) == nullptr)
        check_gone(command.dev);
}

bool Duel::has_aftermath(std::uint32_t dev) const
{
    const auto ended = ends_.find(dev);
    return ended != ends_.end() && steady_clock::now() - ended->second < aftermath;
}

void Duel::go(const std::vector<Command>& group)
{
    listen();
    // What the aftermath answers cannot be told from the answer of another order.
    const bool doubtful = std::ranges::any_of(
        group, [this](const Command& c) { return retried(c.verb) && has_aftermath(c.dev); });
    const auto all = group.size() == 1 || doubtful || divergence_ || !expected_.empty()
                         ? std::nullopt
                         : orders(state_, group, last_ + 1, rules_);
    if (!all)
        return go(group.front());
    const Token first = last_ + 1;
    last_ += static_cast<Token>(group.size());
    for (std::size_t i = 0; i < group.size(); ++i) {
        done_.push_back(group[i]);
        done_.back().together = i != 0;
        sent_[first + static_cast<Token>(i)] = group[i];
        if (ends_disk(group[i].verb))
            ends_[group[i].dev] = steady_clock::now();
    }
    subject_.send(group, first, state_);
    await(*all);
    if (!divergence_)
        settle();
    check_stopped();
}

// Until the answers are those of one of the orders, which is then what has happened.
void Duel::await(const std::vector<Order>& orders)
{
    std::map<Token, std::int32_t> answered;
    const auto fitting = [&] {
        return std::ranges::find_if(orders, [&](const Order& order) { return fits(order, answered); });
    };
    const bool told = eventually(
        [&] {
            for (const auto& answer : subject_.collect()) {
                if (answer.more)
                    differ("no request", fmt::format("{} brought one", name(answer.token)));
                answered[answer.token] = static_cast<std::int32_t>(answer.result);
            }
            return divergence_ || fitting() != orders.end();
        },
        limit_);
    if (divergence_)
        return;
    if (told) {
        state_ = fitting()->state;
        return;
    }
    const auto list = [this](const auto& answers) {
        std::string text;
        for (const auto& [token, answer] : answers) {
            text += fmt::format("{}{}: ", text.empty() ? "" : ", ", name(token));
            if constexpr (std::is_same_v<std::decay_t<decltype(answer)>, std::int32_t>)
                text += model::result_text(answer);
            else
                text += to_string(answer);
        }
        return text.empty() ? std::string("nothing") : text;
    };
    std::string expected;
    for (const auto& order : orders)
        expected += fmt::format("{}{}", expected.empty() ? "" : "; or ", list(order.answers));
    differ(expected, list(answered));
}

void Duel::listen()
{
    for (const auto& answered : subject_.collect()) {
        if (!divergence_)
            observe(answered);
    }
}

// Time counts as far as this loop runs: a machine that stands still for seconds is no divergence.
void Duel::settle()
{
    constexpr auto longest_round = 20ms;
    std::chrono::nanoseconds waited{};
    for (auto last = steady_clock::now();;) {
        listen();
        const auto due = model::due(state_, rules_.kernel);
        if (divergence_ || (expected_.empty() && due.empty()))
            return;
        if (waited >= limit_) {
            if (!expected_.empty())
                return differ(fmt::format("{} comes back with {}", name(expected_.begin()->first),
                                          to_string(expected_.begin()->second)),
                              fmt::format("it is still out after {} s{}", limit_.count() / 1000,
                                          subject_.where_is(expected_.begin()->first)));
            return differ(fmt::format("the server gets {}", name(due.front())),
                          fmt::format("it has not after {} s", limit_.count() / 1000));
        }
        ::usleep(300);
        const auto now = steady_clock::now();
        waited += std::min<std::chrono::nanoseconds>(now - last, longest_round);
        last = now;
    }
}

// What a command is answered with while the worker that follows a death is not yet done: a server that
// recovers tries again, and so do we.
bool Duel::is_aftermath(const Answered& answered) const
{
    const auto found = sent_.find(answered.token);
    if (found == sent_.end())
        return false;
    const auto verb = found->second.verb;
    if (!retried(verb) || !has_aftermath(found->second.dev))
        return false;
    return (verb == Verb::start_recovery && answered.result == -EBUSY) ||
           (verb == Verb::set_params && answered.result == -EACCES) ||
           (verb == Verb::start && answered.result == -EEXIST) ||
           ((verb == Verb::start || verb == Verb::end_recovery) && answered.result == -EINVAL);
}

// A page that comes between the death of a second server and the worker's mark, of which nothing tells: the
// device's state is what it was.
bool Duel::is_early_error(const Answered& answered, const model::Answer& expected) const
{
    const auto& command = sent_.at(answered.token);
    return (command.verb == Verb::read || command.verb == Verb::write) && answered.result == -EIO &&
           expected.allows(-EREMOTEIO) && has_aftermath(command.dev);
}

void Duel::send_again(Token token)
{
    const auto& command = sent_.at(token);
    auto device = *model::find(state_, command.dev);
    // The pid is still that of the server which was there when it was sent first.
    const auto waiting = std::ranges::find(state_.waiting, token, &model::Waiting::token);
    if (waiting != state_.waiting.end())
        device.server = waiting->pid_server;
    ::usleep(1000);
    subject_.send(command, token, &device);
}

void Duel::observe(const Answered& answered)
{
    if (answered.more)
        return take_tags(answered);
    const auto found = expected_.find(answered.token);
    if (found == expected_.end()) {
        if (is_aftermath(answered))
            return send_again(answered.token);
        if (!take_delivery(answered))
            differ(fmt::format("{} stays pending", name(answered.token)),
                   fmt::format("it came back with {}", result_text(answered.result)));
        return;
    }
    const bool allowed = found->second.allows(static_cast<std::int32_t>(answered.result));
    if (!allowed && is_aftermath(answered)) {
        if (model::find(state_, sent_.at(answered.token).dev) != nullptr)
            return send_again(answered.token);
        expected_.erase(found); // the device has gone with it
        return;
    }
    if (!allowed && !is_early_error(answered, found->second))
        differ(fmt::format("{} comes back with {}", name(answered.token), to_string(found->second)),
               fmt::format("it came back with {}", result_text(answered.result)));
    expected_.erase(found);
}

// A command that was with the driver comes back with a request: which tag, the driver chose.
bool Duel::take_delivery(const Answered& answered)
{
    if (answered.result < 0)
        return false;
    for (const auto& device : state_.devices) {
        for (std::size_t queue = 0; queue < device.queues.size(); ++queue) {
            const auto q = static_cast<std::uint16_t>(queue);
            const auto& tags = device.queues[q].tags;
            const auto tag = std::ranges::find(tags, answered.token, &model::Tag::command);
            if (tag == tags.end())
                continue;
            if (deliver(device.id, q, static_cast<std::uint16_t>(tag - tags.begin())))
                observe(answered);
            return true;
        }
    }
    return false;
}

// A FETCH_IO_CMDS has brought tags, and goes on.
void Duel::take_tags(const Answered& answered)
{
    for (const auto& device : state_.devices) {
        for (std::size_t q = 0; q < device.queues.size(); ++q) {
            const auto& fetches = device.queues[q].fetches;
            if (std::ranges::find(fetches, answered.token, &model::TagFetch::token) == fetches.end())
                continue;
            const auto dev = device.id; // which deliver() moves
            for (const auto tag : answered.tags) {
                if (!deliver(dev, static_cast<std::uint16_t>(q), tag))
                    return;
            }
            return;
        }
    }
    differ(fmt::format("{} is over", name(answered.token)),
           fmt::format("it brought {} tags and goes on", answered.tags.size()));
}

// What the descriptor says of the request.
void Duel::check_request(const model::Device& device, Token app, const Subject::Held& held)
{
    const auto& request = *std::ranges::find(device.requests, app, &model::Request::app);
    if (request.report) {
        const auto first = request.zone * model::zone_sectors;
        const auto asked = static_cast<std::uint32_t>(model::zones(device) - request.zone);
        if (held.desc.start_sector != first || held.desc.nr_sectors != asked)
            differ(fmt::format("a report of {} zones from sector {}", asked, first),
                   fmt::format("one of {} from sector {}", held.desc.nr_sectors, held.desc.start_sector));
        return;
    }
    const auto left = static_cast<unsigned>(model::request_bytes - request.done);
    if (request.done != held.done_bytes || request.write != held.write || left != held.bytes)
        differ(fmt::format("a {} of {} bytes from byte {}", request.write ? "write" : "read", left,
                           request.done),
               fmt::format("a {} of {} bytes from byte {}", held.write ? "write" : "read", held.bytes,
                           held.done_bytes));
    const auto says = [&](ublk::uapi::IoFlag flag) { return held.desc.flags().has(flag); };
    if (says(ublk::uapi::IoFlag::integrity) != device.metadata)
        differ(fmt::format("a request with{} metadata", device.metadata ? "" : "out"), "the contrary");
    if (says(ublk::uapi::IoFlag::shmem_zc) != request.shared.has_value())
        differ(fmt::format("the payload is {}in registered memory", request.shared ? "" : "not "),
               "the contrary");
    const auto place = request.shared.value_or(model::Shared{});
    const ublk::uapi::ShmemAddr where{.index = place.index, .offset = place.offset};
    if (request.shared && held.desc.addr != to_desc_addr(where))
        differ(fmt::format("index {} and byte {} of registered memory", where.index, where.offset),
               fmt::format("{:#x}", held.desc.addr));
}

// The driver has given a request to a tag. False: it may not.
bool Duel::deliver(std::uint32_t dev, std::uint16_t queue, std::uint16_t tag)
{
    Command deliver{.verb = Verb::deliver, .dev = dev};
    deliver.queue = queue;
    deliver.tag = tag;
    const auto held = subject_.held(dev, queue, tag);
    if (!held) {
        differ("a request that an application made", "one for a sector that none has touched");
        return false;
    }
    const auto& waiting = model::find(state_, dev)->requests;
    const auto reports = std::ranges::find(waiting, true, &model::Request::report);
    if (held->app == 0 && reports == waiting.end()) {
        differ("a request that an application made", "a report of zones");
        return false;
    }
    deliver.value = held->app != 0 ? held->app : reports->app;
    if (const auto why = model::obstacle(state_, deliver, rules_.kernel)) {
        differ(fmt::format("{} is not delivered to tag {} of queue {}: {}",
                           name(static_cast<Token>(deliver.value)), tag, queue, *why),
               "it was");
        return false;
    }
    check_request(*model::find(state_, dev), static_cast<Token>(deliver.value), *held);
    auto outcome = rules_.step(state_, deliver, {rules_.kernel, ++last_});
    state_ = std::move(outcome.state);
    expect(outcome.expected, last_);
    return true;
}

void Duel::check_answer(const Command& command, Token token)
{
    const auto* device = model::find(state_, command.dev);
    if (command.verb == Verb::kill || command.verb == Verb::time_out)
        return check_death(command.dev);
    if (command.verb == Verb::add && added_) {
        const auto& info = subject_.info(token);
        const auto* added = model::find(state_, info.dev_id);
        if (added == nullptr)
            return differ(fmt::format("ADD_DEV chooses id {}", state_.devices.back().id),
                          std::to_string(info.dev_id));
        if (info.flags != added->flags.raw())
            differ(fmt::format("ADD_DEV grants {}", ublk::uapi::to_string(added->flags)),
                   ublk::uapi::to_string(Features::from_raw(info.flags)));
    }
    if (device == nullptr)
        return;
    if (command.verb == Verb::get_params && device->has_params &&
        subject_.params(token).basic.dev_sectors != device->sectors)
        differ(fmt::format("GET_PARAMS tells {} sectors", device->sectors),
               fmt::format("{}", subject_.params(token).basic.dev_sectors));
    if (command.verb == Verb::get_info) {
        const auto view = model::info(*device);
        const auto& seen = subject_.info(token);
        const auto tells = [&](const DevInfo& info) {
            return info.state == static_cast<std::uint16_t>(view.state) &&
                   info.ublksrv_pid == subject_.pid_of(view.server) && info.flags == view.flags.raw() &&
                   info.nr_hw_queues == view.queues && info.queue_depth == view.depth;
        };
        // DEL_DEV may be on its way still to where it waits for the last close.
        const bool deleting = std::ranges::any_of(state_.waiting, [&](const model::Waiting& w) {
            return w.stopped && w.command.dev == command.dev;
        });
        if (!tells(seen) &&
            !(deleting && eventually([&] { return tells(subject_.info_now(command.dev)); }, limit_)))
            differ(fmt::format("GET_DEV_INFO tells {}", to_string(view)), view_text(seen));
    }
}

// A DEL_DEV that waits for the last close has stopped its device a moment before, and nobody is told of it.
void Duel::check_stopped()
{
    for (const auto& waiting : state_.waiting) {
        if (waiting.stopped && !divergence_ && stopped_.insert(waiting.token).second)
            check_death(waiting.command.dev);
    }
}

// What follows a death is done by a worker of the kernel, some time later.
void Duel::check_death(std::uint32_t dev)
{
    const auto* device = model::find(state_, dev);
    if (device == nullptr)
        return; // check_gone() follows
    if (device->deleted && device->flags.has(Feature::unprivileged_dev))
        return; // no path leads to it any more
    const auto wanted = static_cast<std::uint16_t>(device->state);
    DevInfo info;
    if (!eventually([&] { return (info = subject_.info_now(dev)).state == wanted; }, limit_))
        differ(fmt::format("the device becomes {}", ublk::uapi::to_string(device->state)), view_text(info));
}

// The id of a device goes with the last that refers to it, such as the ring of a dead server.
void Duel::check_gone(std::uint32_t dev)
{
    const bool adding_waits = std::ranges::any_of(state_.waiting, [](const model::Waiting& w) {
        return w.command.verb == Verb::del || w.command.verb == Verb::del_async;
    });
    if (!adding_waits && !eventually([&] { return subject_.is_free(dev); }, limit_))
        differ("the device is gone", "it is not");
}

void Duel::end()
{
    for (int left = 100; const auto next = clear_away(state_, rules_.kernel); --left) {
        if (divergence_ || left == 0)
            break;
        go(*next);
    }
    if (divergence_)
        return;
    if (!state_.devices.empty()) // a fault of ours: what is left would be in the next sequence's way
        return differ("everything can be cleared away", "it cannot:\n" + to_string(state_));
    ::usleep(std::chrono::microseconds(all_settles).count());
    listen();
}

Played replay(const Scenario& scenario, const Rules& rules, Millis limit)
{
    Duel duel(rules, limit);
    for (auto next = scenario.begin(); next != scenario.end();) {
        const auto end = std::find_if(next + 1, scenario.end(), std::not_fn(&Command::together));
        duel.go({next, end});
        next = end;
    }
    duel.end();
    return {duel.done(), duel.divergence()};
}

Scenario shrink(Scenario scenario, const std::function<bool(const Scenario&)>& diverges, Millis time)
{
    const auto end = steady_clock::now() + time;
    for (std::size_t chunk = scenario.size() / 2; chunk > 0;) {
        bool shorter = false;
        for (std::size_t at = scenario.size(); at >= chunk && steady_clock::now() < end;) {
            at -= chunk;
            Scenario candidate = scenario;
            candidate.erase(candidate.begin() + static_cast<std::ptrdiff_t>(at),
                            candidate.begin() + static_cast<std::ptrdiff_t>(at + chunk));
            if (!diverges(candidate))
                continue;
            scenario = std::move(candidate);
            shorter = true;
            at = std::min(at, scenario.size());
        }
        if (!shorter)
            chunk /= 2;
        chunk = std::min(chunk, scenario.size());
    }
    return scenario;
}

} // namespace conformance::lockstep
