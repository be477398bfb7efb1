#include "conformance/lockstep/generate.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace conformance::lockstep {

using namespace ublk::model;
namespace uapi = ublk::uapi;

namespace {

constexpr std::size_t most_waiting = 6;
constexpr std::uint64_t usual_sectors = 8192; // every page that an application touches is below

bool one_in(const Chance& chance, std::uint32_t n)
{
    return chance(n) == 0;
}

template <typename T>
const T& any_of(const std::vector<T>& choices, const Chance& chance)
{
    return choices[chance(static_cast<std::uint32_t>(choices.size()))];
}

// What the device takes, or one time in six anything.
Blocks some_blocks(Features device, const KernelTraits& kernel, const Chance& chance)
{
    if (!one_in(chance, 6))
        return device.has(Feature::zoned)                            ? Blocks::zoned
               : device.has(Feature::integrity) && one_in(chance, 2) ? Blocks::integrity
                                                                     : Blocks::basic;
    const bool zones = kernel.features.has(Feature::zoned);
    return static_cast<Blocks>(chance(blocks_count - (zones ? 0 : 2)));
}

std::uint64_t some_sectors(Features device, const Chance& chance)
{
    if (device.has(Feature::zoned) && one_in(chance, 10)) // and so no zones
        return 0;
    return usual_sectors * (1 + chance(2));
}

Features some_flags(const KernelTraits& kernel, const Chance& chance)
{
    using enum Feature;
    static const std::vector<Features> flavours{
        {},
        need_get_data,
        user_copy,
        user_recovery,
        user_recovery | user_recovery_reissue,
        user_recovery | user_recovery_fail_io,
        user_recovery | need_get_data,
        user_recovery | quiesce,
        user_recovery | user_recovery_reissue | quiesce,
        user_recovery | user_recovery_fail_io | quiesce,
        quiesce,
        user_recovery_reissue,
        user_recovery | user_recovery_fail_io | user_recovery_reissue,
        support_zero_copy,
        support_zero_copy | user_recovery | user_recovery_reissue,
        support_zero_copy | user_copy | user_recovery,
        auto_buf_reg,
        auto_buf_reg | support_zero_copy | need_get_data,
        zoned,
        zoned | auto_buf_reg,
        zoned | user_copy,
        zoned | user_copy,
        zoned | user_copy | user_recovery,
        zoned | support_zero_copy,
        integrity,
        integrity | user_copy,
        integrity | user_copy | user_recovery | user_recovery_reissue,
        shmem_zc,
        shmem_zc | user_copy,
        shmem_zc | need_get_data,
        shmem_zc | user_recovery,
    };
    static const std::vector<Features> batches{
        batch_io,
        batch_io,
        batch_io | user_copy,
        batch_io | support_zero_copy,
        batch_io | auto_buf_reg,
        batch_io | auto_buf_reg | user_recovery | user_recovery_reissue,
        batch_io | need_get_data,
        batch_io | user_recovery,
        batch_io | user_recovery | user_recovery_reissue,
        batch_io | user_recovery | user_recovery_fail_io,
        batch_io | user_recovery | quiesce,
        batch_io | user_recovery | user_recovery_reissue | quiesce,
        batch_io | user_recovery | user_recovery_fail_io | quiesce,
        batch_io | support_zero_copy | user_recovery | user_recovery_reissue,
    };
    if (kernel.features.has(batch_io) && one_in(chance, 4))
        return any_of(batches, chance) | no_auto_part_scan;
    auto flags = any_of(flavours, chance);
    if (flags.has(zoned) && !kernel.features.has(zoned))
        flags = {};
    return flags | no_auto_part_scan;
}

Command add_device(const KernelTraits& kernel, const Chance& chance)
{
    Command command{.verb = Verb::add, .dev = uapi::no_dev_id};
    if (one_in(chance, 8))
        command.dev = chance(3);
    command.queues = static_cast<std::uint16_t>(1 + chance(2));
    command.depth = static_cast<std::uint16_t>(1 + chance(3));
    if (one_in(chance, 20))
        command.depth = 0;
    command.flags = some_flags(kernel, chance);
    if (command.flags.has(Feature::zoned)) // whose report is in any
        command.queues = 1;
    if (one_in(chance, 6)) {
        command.sender = Sender::owner;
        if (!one_in(chance, 8))
            command.flags |= Feature::unprivileged_dev;
    } else if (one_in(chance, 20)) {
        command.flags |= Feature::unprivileged_dev;
    }
    return command;
}

struct Place {
    std::uint16_t queue, tag;
    Tag content;
};

std::vector<Place> places(const Device& device, TagState state)
{
    std::vector<Place> found;
    for (std::uint16_t q = 0; q < device.queues.size(); ++q) {
        for (std::uint16_t t = 0; t < device.depth; ++t) {
            const Tag& tag = device.queues[q].tags[t];
            if (tag.state == state)
                found.push_back({q, t, tag});
        }
    }
    return found;
}

Command at(Verb verb, const Device& device, const Place& place, std::uint8_t task)
{
    Command command{.verb = verb, .dev = device.id};
    command.queue = place.queue;
    command.tag = place.tag;
    command.task = task;
    return command;
}

bool waits(const State& state, Verb verb, std::uint32_t dev)
{
    return std::ranges::any_of(
        state.waiting, [&](const Waiting& w) { return w.command.verb == verb && w.command.dev == dev; });
}

Given some_result(const Chance& chance)
{
    static const std::vector<Given> results{Given::good, Given::good,  Given::good, Given::good,
                                            Given::half, Given::wrong, Given::zero};
    return any_of(results, chance);
}

Command of_tags(Verb verb, const Device& device, std::uint16_t queue, const Chance& chance)
{
    Command command{.verb = verb, .dev = device.id};
    command.queue = queue;
    command.task = static_cast<std::uint8_t>(one_in(chance, 4) ? 1 : 0);
    return command;
}

// The commands of a device with BATCH_IO that bring it further.
void add_batch(std::vector<Command>& ways, const Device& device, const Chance& chance)
{
    for (std::uint16_t q = 0; q < device.queues.size(); ++q) {
        Command prep = of_tags(Verb::prep_tags, device, q, chance);
        Command commit = of_tags(Verb::commit_tags, device, q, chance);
        commit.result = some_result(chance);
        for (std::uint16_t tag = 0; tag < device.depth; ++tag) {
            const auto state = device.queues[q].tags[tag].state;
            if (state == TagState::unfetched && !one_in(chance, 4))
                prep.tags.push_back(tag);
            if (state == TagState::owned && !one_in(chance, 3))
                commit.tags.push_back(tag);
        }
        for (auto* command : {&prep, &commit}) {
            if (command->tags.size() > 1 && one_in(chance, 2))
                std::ranges::reverse(command->tags);
            if (command->tags.empty())
                continue;
            ways.insert(ways.end(), 2, *command);
            if (command->tags.size() < device.depth && one_in(chance, 2)) // and one that may be bad
                ways.back().tags.push_back(static_cast<std::uint16_t>(chance(device.depth + 1U)));
        }
        const auto& fetches = device.queues[q].fetches;
        const bool serves = is_ready(device.queues[q]) && device.disk;
        if (fetches.empty() || (fetches.size() < 3 && one_in(chance, 4)))
            ways.insert(ways.end(), serves ? 2 : 1, of_tags(Verb::fetch_tags, device, q, chance));
    }
}

// What a server does with the payload of a request that it has.
void add_payload(std::vector<Command>& ways, const Device& device, const Chance& chance)
{
    const auto owned = places(device, TagState::owned);
    if (owned.empty())
        return;
    const auto& place = any_of(owned, chance);
    const auto* request = request_of(device, place.queue, place.tag);
    const bool report = request != nullptr && request->report;
    if (device.flags.has(Feature::user_copy)) {
        ways.push_back(at(report || one_in(chance, 2) ? Verb::copy_in : Verb::copy_out, device, place,
                          static_cast<std::uint8_t>(chance(2))));
        ways.back().metadata = !report && device.metadata && one_in(chance, 2);
        ways.back().given = report && one_in(chance, 4) ? Given::half : Given::good;
    }
    if (report && request->filled != 0) { // and then it is answered
        ways.assign(1, at(Verb::commit, device, place, place.content.task));
        ways.back().result = one_in(chance, 8) ? Given::wrong : Given::good;
    }
    if (!device.flags.has(Feature::support_zero_copy))
        return;
    for (const auto verb : {Verb::register_buffer, Verb::register_buffer, Verb::unregister_buffer}) {
        ways.push_back(at(verb, device, place, static_cast<std::uint8_t>(chance(2))));
        ways.back().value = chance(fixed_buffers);
    }
}

std::uint8_t some_page(const Device& device, const Chance& chance)
{
    const bool shared = one_in(chance, device.flags.has(Feature::shmem_zc) ? 2 : 20);
    return static_cast<std::uint8_t>(shared ? 1 + chance(memory_pages) : 0);
}

Command some_memory(Verb verb, std::uint32_t dev, const Chance& chance)
{
    Command command{.verb = verb, .dev = dev, .value = chance(static_cast<std::uint32_t>(areas.size()))};
    if (verb == Verb::unreg_buf && one_in(chance, 8))
        command.value = most_area_index + 1;
    return command;
}

// What brings the device further: it is started, served, recovered.
std::vector<Command> ways_on(const State& state, const Device& device, const KernelTraits& kernel,
                             const Chance& chance)
{
    std::vector<Command> ways;
    const Command here{.dev = device.id};
    const auto add = [&](Verb verb) {
        ways.push_back(here);
        ways.back().verb = verb;
    };
    if (device.deleted || device.stopping) { // what is left is to let go
        if (device.server != 0)
            add(Verb::kill);
        if (device.block_opens != 0)
            add(Verb::close_block);
        return ways;
    }
    if (!device.has_params && device.state == DevState::dead) {
        add(Verb::set_params);
        ways.back().value = some_sectors(device.flags, chance);
        ways.back().blocks = some_blocks(device.flags, kernel, chance);
    }
    const bool batch = device.flags.has(Feature::batch_io);
    if (device.server == 0)
        add(Verb::open);
    else if (batch)
        add_batch(ways, device, chance);
    if (const auto unfetched = places(device, TagState::unfetched);
        device.server != 0 && !unfetched.empty() && !batch)
        for (int twice = 0; twice < 3; ++twice)
            ways.push_back(at(Verb::fetch, device, any_of(unfetched, chance),
                              static_cast<std::uint8_t>(one_in(chance, 4) ? 1 : 0)));
    if (device.has_params && device.server != 0 && device.state == DevState::dead &&
        !waits(state, Verb::start, device.id))
        add(Verb::start);
    if (device.server != 0 && (device.state == DevState::quiesced || device.state == DevState::fail_io) &&
        !waits(state, Verb::end_recovery, device.id))
        add(Verb::end_recovery);
    if (const auto owned = places(device, TagState::owned); !owned.empty() && !batch) {
        const auto& place = any_of(owned, chance);
        ways.push_back(at(Verb::commit, device, place, place.content.task));
        ways.back().result = some_result(chance);
        ways.push_back(ways.back());
        if (one_in(chance, 4)) // by another task
            ways.back().task = static_cast<std::uint8_t>(1 - place.content.task);
    }
    if (const auto asked = places(device, TagState::need_data); !asked.empty()) {
        const auto& place = any_of(asked, chance);
        ways.push_back(at(Verb::get_data, device, place, place.content.task));
        ways.back().given = one_in(chance, 4) ? Given::wrong : Given::good;
    }
    add_payload(ways, device, chance);
    if (device.flags.has(Feature::shmem_zc))
        ways.push_back(some_memory(one_in(chance, 2) ? Verb::reg_buf : Verb::unreg_buf, device.id, chance));
    if (device.disk) {
        add(one_in(chance, 2) ? Verb::read : Verb::write);
        ways.back().queue =
            static_cast<std::uint16_t>(chance(static_cast<std::uint32_t>(device.queues.size())));
        ways.back().page = some_page(device, chance);
        ways.push_back(ways.back());
    }
    return ways;
}

// Who sends it, with which path and number. `device`: nullptr, there is none.
void dress(Command& command, const Device* device, bool in_order, const Chance& chance)
{
    command.bare = (is_control(command.verb) || is_io(command.verb)) && one_in(chance, 4);
    const bool opens = command.verb == Verb::open_block;
    if (command.verb == Verb::add || (!is_control(command.verb) && !opens))
        return;
    if (device != nullptr && device->flags.has(Feature::unprivileged_dev)) {
        command.sender = one_in(chance, 3) ? Sender::root : Sender::owner;
        if (in_order)
            return;
        if (one_in(chance, 2))
            command.sender = Sender::stranger;
        if (!opens && one_in(chance, 6))
            command.path = one_in(chance, 2) ? Given::wrong : Given::zero;
    } else if (!in_order && one_in(chance, 8)) {
        command.sender = one_in(chance, 2) ? Sender::owner : Sender::stranger;
    }
}

Given some_given(const Chance& chance)
{
    return one_in(chance, 4) ? Given::wrong : one_in(chance, 8) ? Given::zero : Given::good;
}

Command anything(const State& state, const KernelTraits& kernel, const Chance& chance)
{
    constexpr std::uint32_t verbs = static_cast<std::uint32_t>(Verb::deliver); // which is nobody's to send
    const auto verb = static_cast<Verb>(chance(verbs));
    if (verb == Verb::add)
        return add_device(kernel, chance);
    Command command{.verb = verb};
    command.dev = state.devices.empty() || one_in(chance, 30) ? chance(3) : any_of(state.devices, chance).id;
    command.given = some_given(chance);
    if (verb != Verb::start && command.given == Given::zero)
        command.given = Given::good;
    command.result = some_result(chance);
    command.task = static_cast<std::uint8_t>(chance(2));
    command.queue = static_cast<std::uint16_t>(chance(one_in(chance, 10) ? 3 : 2));
    command.tag = static_cast<std::uint16_t>(chance(one_in(chance, 10) ? 6 : 3));
    for (auto left = chance(4); is_batch(verb) && left != 0; --left)
        command.tags.push_back(static_cast<std::uint16_t>(chance(one_in(chance, 10) ? 6 : 3)));
    if (verb == Verb::update_size || verb == Verb::set_params)
        command.value = usual_sectors * (1 + chance(2));
    command.metadata = one_in(chance, 4);
    if (verb == Verb::copy_in && one_in(chance, 4))
        command.given = Given::half;
    if (const auto* device = find(state, command.dev); verb == Verb::set_params && device != nullptr)
        command.blocks = some_blocks(device->flags, kernel, chance);
    if (verb == Verb::register_buffer || verb == Verb::unregister_buffer)
        command.value = chance(fixed_buffers + 1);
    if (verb == Verb::reg_buf || verb == Verb::unreg_buf)
        command.value = some_memory(verb, command.dev, chance).value;
    return command;
}

// What ends START_DEV's report.
void add_report(std::vector<Command>& steps, const State& state, const Device& device, const Place& place)
{
    if (!is_reporting(state, device))
        return;
    const bool gives = device.flags.has(Feature::user_copy);
    steps.push_back(
        at(gives && request_of(device, place.queue, place.tag)->filled == 0 ? Verb::copy_in : Verb::commit,
           device, place, place.content.task));
    if (!gives)
        steps.back().result = Given::wrong;
}

// The members that the verb takes, so that a command equals what is read back from its text.
Command plain(const Command& command)
{
    return *parse_command(to_string(command));
}

} // namespace

std::uint32_t SeededChance::operator()(std::uint32_t bound)
{
    // SplitMix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return static_cast<std::uint32_t>((z ^ (z >> 31)) % bound);
}

Command choose(const State& state, const KernelTraits& kernel, const Chance& chance)
{
    if (state.devices.empty() && state.waiting.empty())
        return plain(add_device(kernel, chance));
    for (int attempt = 0; attempt < 40; ++attempt) {
        Command command = anything(state, kernel, chance);
        bool in_order = false;
        if (!state.devices.empty() && chance(10) < 7) {
            const auto ways = ways_on(state, any_of(state.devices, chance), kernel, chance);
            in_order = !ways.empty();
            if (in_order)
                command = any_of(ways, chance);
        }
        dress(command, find(state, command.dev), in_order, chance);
        const bool may_wait = state.waiting.size() < most_waiting || !is_control(command.verb);
        if (!may_wait || obstacle(state, command, kernel))
            continue;
        command = plain(command); // and may be one that must not be sent only now
        if (!obstacle(state, command, kernel))
            return command;
    }
    return {.verb = Verb::get_info, .dev = 0};
}

std::optional<Command> clear_away(const State& state, const KernelTraits& kernel)
{
    for (const auto& device : state.devices) {
        std::vector<Command> steps;
        const auto add = [&](Verb verb) { steps.push_back({.verb = verb, .dev = device.id}); };
        const bool starts =
            waits(state, Verb::start, device.id) || waits(state, Verb::end_recovery, device.id);
        if (starts && !is_ready(device))
            add(Verb::interrupt);
        else if (!device.deleted && !waits(state, Verb::del, device.id) &&
                 !waits(state, Verb::del_async, device.id))
            add(Verb::del);
        else if (device.server != 0)
            add(Verb::kill);
        else if (device.block_opens != 0)
            add(Verb::close_block);
        // Where the server may not die with what it has, it answers; where not in a round, it ends that
        // first.
        for (const auto& place : places(device, TagState::need_data))
            steps.push_back(at(Verb::get_data, device, place, place.content.task));
        const bool batch = device.flags.has(Feature::batch_io);
        const auto one = [&](Verb single, Verb many, const Place& place, std::uint8_t task) {
            steps.push_back(at(batch ? many : single, device, place, task));
            steps.back().tags.assign(1, place.tag);
        };
        for (const auto& place : places(device, TagState::owned))
            add_report(steps, state, device, place);
        for (const auto& place : places(device, TagState::owned)) {
            one(Verb::commit, Verb::commit_tags, place, place.content.task);
            if (batch) // where any task may
                one(Verb::commit, Verb::commit_tags, place, 1);
        }
        for (std::uint8_t task = 0; task < device.fixed.size(); ++task) {
            for (std::size_t slot = 0; slot < fixed_buffers; ++slot) {
                if (device.fixed[task][slot] != 0)
                    steps.push_back(
                        {.verb = Verb::unregister_buffer, .dev = device.id, .task = task, .value = slot});
            }
        }
        for (const auto& place : places(device, TagState::unfetched)) {
            for (const auto task : {std::uint8_t{0}, std::uint8_t{1}})
                one(Verb::fetch, Verb::prep_tags, place, task);
        }
        for (const auto& step : steps) {
            if (!obstacle(state, step, kernel))
                return plain(step);
        }
    }
    return std::nullopt;
}

} // namespace conformance::lockstep
