#include "conformance/lockstep/rules.hpp"

#include "ublk/model/control_table.hpp"

#include <algorithm>
#include <array>

namespace conformance::lockstep {

using namespace ublk::model;

namespace {

// START_DEV does not wait for FETCHes.
Outcome start_early(State state, const Command& command, const Context& context)
{
    auto outcome = step(std::move(state), command, context);
    const bool looked = command.verb == Verb::start && command.given == Given::good;
    if (looked && outcome.expected.answer.is_pending())
        outcome.expected.answer = 0;
    return outcome;
}

// A task commits what another has fetched.
Outcome commit_for_others(State state, const Command& command, const Context& context)
{
    Command mine = command;
    const Device* device = find(state, command.dev);
    if (command.verb == Verb::commit && device != nullptr && command.queue < device->queues.size() &&
        command.tag < device->depth)
        mine.task = device->queues[command.queue].tags[command.tag].task;
    return step(std::move(state), mine, context);
}

// DEL_DEV does not stop a device.
Outcome delete_idle_only(State state, const Command& command, const Context& context)
{
    const Device* device = find(state, command.dev);
    const bool live = device != nullptr && device->state == DevState::live;
    if (command.verb == Verb::del && live && not_permitted(command, device->flags, context.kernel) == 0)
        return {.state = std::move(state), .expected = {.answer = -EBUSY, .effects = {}}};
    return step(std::move(state), command, context);
}

// A command on an unprivileged device is taken from anybody.
Outcome obey_strangers(State state, const Command& command, const Context& context)
{
    Command mine = command;
    const Device* device = find(state, command.dev);
    if (is_control(command.verb) && command.sender == Sender::stranger && device != nullptr &&
        device->flags.has(Feature::unprivileged_dev))
        mine.sender = Sender::owner;
    return step(std::move(state), mine, context);
}

// No command is known by its number alone.
Outcome no_numbers(State state, const Command& command, const Context& context)
{
    KernelTraits kernel = context.kernel;
    kernel.bare_numbers = false;
    return step(std::move(state), command, {kernel, context.token});
}

// A device takes blocks of parameters that it has no flag for.
Outcome any_blocks(State state, const Command& command, const Context& context)
{
    Command mine = command;
    if (command.verb == Verb::set_params && command.blocks == Blocks::integrity)
        mine.blocks = Blocks::basic;
    return step(std::move(state), mine, context);
}

// REG_BUF does not look for pages that are registered already.
Outcome share_twice(State state, const Command& command, const Context& context)
{
    auto outcome = step(std::move(state), command, context);
    if (command.verb == Verb::reg_buf && outcome.expected.answer == Answer(-EEXIST))
        outcome.expected.answer = 1;
    return outcome;
}

// PREP_IO_CMDS keeps the tags before a bad one.
Outcome keep_prepared(State state, const Command& command, const Context& context)
{
    auto outcome = step(state, command, context);
    const auto answer = outcome.expected.answer;
    const bool refused = !answer.is_pending() && answer.allowed().front() < 0;
    if (command.verb != Verb::prep_tags || command.tags.size() < 2 || !refused)
        return outcome;
    Command first = command;
    first.tags.resize(1);
    outcome = step(std::move(state), first, context);
    outcome.expected.answer = answer;
    return outcome;
}

// Half of the zones are taken for all.
Outcome half_the_zones(State state, const Command& command, const Context& context)
{
    Command mine = command;
    if (command.verb == Verb::copy_in)
        mine.given = Given::good;
    return step(std::move(state), mine, context);
}

// The payload of a request is never taken from registered memory.
Outcome never_share(State state, const Command& command, const Context& context)
{
    Command mine = command;
    mine.page = 0;
    return step(std::move(state), mine, context);
}

// The position of metadata is that of the data.
Outcome no_metadata(State state, const Command& command, const Context& context)
{
    Command mine = command;
    mine.metadata = false;
    return step(std::move(state), mine, context);
}

constexpr std::array planted{
    PlantedRule{"start-early", "START_DEV does not wait for FETCHes", &start_early},
    PlantedRule{"commit-for-others", "a task commits what another has fetched", &commit_for_others},
    PlantedRule{"delete-idle-only", "DEL_DEV of a live device is -EBUSY", &delete_idle_only},
    PlantedRule{"obey-strangers", "an unprivileged device takes commands from anybody", &obey_strangers},
    PlantedRule{"any-blocks", "SET_PARAMS takes an integrity block of any device", &any_blocks},
    PlantedRule{"share-twice", "REG_BUF registers a page twice", &share_twice},
    PlantedRule{"keep-prepared", "PREP_IO_CMDS keeps the tags before a bad one", &keep_prepared},
    PlantedRule{"half-the-zones", "START_DEV takes half of the zones for all", &half_the_zones},
    PlantedRule{"never-share", "the payload is never taken from registered memory", &never_share},
    PlantedRule{"no-metadata", "the position of metadata is that of the data", &no_metadata},
    PlantedRule{"no-numbers", "no command is known by its number alone", &no_numbers},
};

} // namespace

std::span<const PlantedRule> planted_rules()
{
    return planted;
}

std::optional<Rules> rules_for(ublk::uapi::KernelVersion version, std::string_view name)
{
    Rules rules{.kernel = traits_of(version)};
    if (name.empty())
        return rules;
    const auto rule = std::ranges::find(planted, name, &PlantedRule::name);
    if (rule != planted.end()) {
        rules.step = rule->step;
        return rules;
    }
    const auto trait = std::ranges::find(trait_table(), name, &TraitRow::name);
    if (trait == trait_table().end())
        return std::nullopt;
    rules.kernel.*trait->trait = !(rules.kernel.*trait->trait);
    return rules;
}

} // namespace conformance::lockstep
