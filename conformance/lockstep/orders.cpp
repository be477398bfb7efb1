#include "conformance/lockstep/orders.hpp"

#include <algorithm>
#include <numeric>

namespace conformance::lockstep {

using namespace ublk::model;

namespace {

constexpr std::size_t most_together = 3;

// Those that are answered by themselves. A death or an application's I/O goes on after it was sent.
bool may_go_together(const Command& command)
{
    return is_control(command.verb) || is_io(command.verb) || command.verb == Verb::copy_in ||
           command.verb == Verb::copy_out;
}

// What the driver does not do at one go: COMMIT_IO_CMDS takes its tags one by one, whoever has found a device
// before DEL_DEV deletes it goes on with it, and a FETCH_IO_CMDS that another one has made to look at its
// queue is not canceled: UBLK-BATCH-FETCH-011.
bool is_in_parts(const Command& command, const Command& other)
{
    if (command.dev != other.dev)
        return false;
    const bool cancels =
        command.verb == Verb::stop || command.verb == Verb::try_stop || command.verb == Verb::quiesce;
    const bool commits = command.verb == Verb::commit_tags && other.verb == Verb::commit_tags;
    return command.verb == Verb::del || command.verb == Verb::del_async ||
           (cancels && other.verb == Verb::fetch_tags) ||
           (commits && command.queue == other.queue && command.tags.size() > 1);
}

bool meet_in_parts(std::span<const Command> commands)
{
    for (const auto& command : commands) {
        for (const auto& other : commands) {
            if (&command != &other && is_in_parts(command, other))
                return true;
        }
    }
    return false;
}

// START_DEV makes the device live, asks, and if nobody answers makes it dead again.
bool asks_for_zones(const State& state, const Command& command)
{
    const Device* device = find(state, command.dev);
    return command.verb == Verb::start && device != nullptr && device->zoned;
}

// Requests that the driver may deliver at any time, or must.
bool may_deliver(const State& state, const KernelTraits& kernel)
{
    return !due(state, kernel).empty() || std::ranges::any_of(state.devices, [](const Device& device) {
        return std::ranges::any_of(device.requests, &Request::parked);
    });
}

std::optional<Order> in_order(State state, std::span<const Command> commands,
                              const std::vector<std::size_t>& order, Token first, const Rules& rules)
{
    Answers answers;
    for (const auto i : order) {
        if (obstacle(state, commands[i], rules.kernel) || asks_for_zones(state, commands[i]))
            return std::nullopt;
        const auto token = first + static_cast<Token>(i);
        auto outcome = rules.step(state, commands[i], {rules.kernel, token});
        const bool gives_back = commands[i].verb == Verb::prep_tags && !outcome.expected.answer.allows(0);
        if (gives_back && std::ranges::find(commands, Verb::fetch_tags, &Command::verb) != commands.end())
            return std::nullopt; // which may meet a queue that is complete in between
        // One that has waited goes on in its worker, beside what comes next; it may wait for something else.
        const auto& after = outcome.state.waiting;
        if (!std::ranges::all_of(state.waiting, [&](const Waiting& waiting) {
                return std::ranges::find(after, waiting) != after.end();
            }))
            return std::nullopt;
        state = std::move(outcome.state);
        if (!outcome.expected.answer.is_pending())
            answers[token] = outcome.expected.answer;
        for (const auto& effect : outcome.expected.effects)
            answers[effect.token] = effect.answer;
        if (may_deliver(state, rules.kernel))
            return std::nullopt;
    }
    return Order{.state = std::move(state), .answers = std::move(answers)};
}

// Whoever has seen the answers of `some` may still have to wait for those of `more`.
bool may_become(const Answers& some, const Answers& more)
{
    return std::ranges::all_of(some, [&](const auto& entry) {
        const auto found = more.find(entry.first);
        return found != more.end() && std::ranges::any_of(entry.second.allowed(), [&](std::int32_t result) {
                   return found->second.allows(result);
               });
    });
}

} // namespace

bool fits(const Order& order, const std::map<Token, std::int32_t>& answered)
{
    return answered.size() == order.answers.size() && std::ranges::all_of(answered, [&](const auto& entry) {
               const auto found = order.answers.find(entry.first);
               return found != order.answers.end() && found->second.allows(entry.second);
           });
}

std::optional<std::vector<Order>> orders(const State& state, std::span<const Command> commands, Token first,
                                         const Rules& rules)
{
    if (!std::ranges::all_of(commands, may_go_together) || meet_in_parts(commands) ||
        may_deliver(state, rules.kernel))
        return std::nullopt;
    std::vector<Order> all;
    std::vector<std::size_t> order(commands.size());
    std::iota(order.begin(), order.end(), 0U);
    do {
        auto one = in_order(state, commands, order, first, rules);
        if (!one)
            return std::nullopt;
        if (std::ranges::find(all, *one) == all.end())
            all.push_back(std::move(*one));
    } while (std::ranges::next_permutation(order).found);
    for (const auto& one : all) {
        for (const auto& other : all) {
            if (one.state != other.state && may_become(one.answers, other.answers))
                return std::nullopt;
        }
    }
    return all;
}

std::vector<Command> choose_group(const State& state, const KernelTraits& kernel, const Chance& chance)
{
    std::vector<Command> group{choose(state, kernel, chance)};
    if (chance(4) != 0)
        return group;
    while (group.size() < most_together && (group.size() == 1 || chance(2) == 0)) {
        Command next = choose(state, kernel, chance);
        if (is_io(group[0].verb) && chance(3) == 0) { // the same, of the other task
            next = group[0];
            next.task = static_cast<std::uint8_t>(1 - next.task);
        }
        next.together = true;
        group.push_back(std::move(next));
    }
    return group;
}

} // namespace conformance::lockstep
