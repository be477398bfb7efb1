// The reference model by itself: random walks through it, as lockstep makes them.
#include "conformance/lockstep/generate.hpp"
#include "conformance/lockstep/scenario.hpp"
#include "ublk/model/step.hpp"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <map>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace property {
namespace {

using namespace ublk::model;
using conformance::lockstep::Chance;
using conformance::lockstep::choose;
using conformance::lockstep::clear_away;

// Where each thing that was sent is, counted by somebody who does not know the model's rules.
class Ledger {
  public:
    explicit Ledger(const KernelTraits& kernel) : kernel_(kernel) {}

    void go(const Command& command)
    {
        RC_LOG() << to_string(command) << '\n';
        const Token token = ++last_;
        RC_ASSERT(!obstacle(state_, command, kernel_));
        const auto outcome = step(state_, command, {kernel_, token});
        RC_ASSERT(step(state_, command, {kernel_, token}).state ==
                  outcome.state); // nothing but its arguments
        state_ = outcome.state;
        const auto& told = outcome.expected;
        if (command.verb == Verb::kill || command.verb == Verb::time_out)
            std::erase_if(out_, [&](const auto& entry) { return entry.second == server_of(command.dev); });
        if (told.answer.is_pending() && command.verb != Verb::deliver)
            out_[token] = is_io(command.verb) ? server_of(command.dev) : 0;
        for (const auto& effect : told.effects) {
            RC_ASSERT(out_.erase(effect.token) == 1U); // it was out, and comes back once
            RC_ASSERT(!effect.answer.is_pending());
        }
        check_tags();
        serve();
    }

    void clear()
    {
        for (int left = 100; const auto next = clear_away(state_, kernel_); --left) {
            RC_ASSERT(left > 0);
            go(*next);
        }
        RC_ASSERT(state_.devices.empty());
        RC_ASSERT(state_.waiting.empty());
        // Commands of tasks that ended are with nobody; all else has come back.
        RC_ASSERT(std::ranges::none_of(out_, [](const auto& entry) { return entry.second == 0; }));
    }

    const State& state() const { return state_; }

  private:
    static std::uint32_t server_of(std::uint32_t dev) { return dev + 1; }

    // What must be delivered is, to the first tag that can take it.
    void serve()
    {
        const auto tokens = due(state_, kernel_);
        if (tokens.empty())
            return;
        for (const auto& device : state_.devices) {
            for (const auto& request : device.requests) {
                if (std::ranges::find(tokens, request.app) == tokens.end())
                    continue;
                const auto& tags = device.queues[request.queue].tags;
                const auto armed = std::ranges::find(tags, TagState::armed, &Tag::state);
                RC_ASSERT(armed != tags.end());
                Command command{.verb = Verb::deliver, .dev = device.id};
                command.queue = request.queue;
                command.tag = static_cast<std::uint16_t>(armed - tags.begin());
                command.value = request.app;
                return go(command);
            }
        }
    }

    // A tag is with exactly one side: armed ones hold a command and no request, owned ones the reverse. With
    // BATCH_IO no tag holds a command, its queue does.
    void check_tags() const
    {
        for (const auto& device : state_.devices) {
            std::map<Token, int> owners;
            const bool batch = device.flags.has(Feature::batch_io);
            for (const auto& queue : device.queues) {
                RC_ASSERT(batch || queue.fetches.empty());
                for (const auto& fetch : queue.fetches)
                    RC_ASSERT(out_.contains(fetch.token));
                for (const auto& tag : queue.tags) {
                    const bool in_use = tag.state == TagState::referenced;
                    const bool armed = tag.state == TagState::armed || in_use, owned = tag.request != 0;
                    RC_ASSERT((tag.command != 0) == (armed && !batch));
                    if (tag.state != TagState::canceled)
                        RC_ASSERT(owned == (owner(tag.state) == TagOwner::server
                                                ? tag.state != TagState::unfetched
                                                : in_use));
                    if (armed && !batch)
                        RC_ASSERT(out_.contains(tag.command));
                    if (owned)
                        ++owners[tag.request];
                }
            }
            for (const auto& request : device.requests) {
                RC_ASSERT(out_.contains(request.app));
                RC_ASSERT(owners[request.app] == (request.delivered ? 1 : 0));
            }
        }
    }

    const KernelTraits& kernel_;
    State state_;
    std::map<Token, std::uint32_t> out_; // what is out, and whose server sent it; 0: nobody's
    Token last_ = 0;
};

Chance drawn()
{
    return [](std::uint32_t bound) { return *rc::gen::inRange<std::uint32_t>(0, bound); };
}

// Of a walk: a hundredth of what is wanted, which RapidCheck's hundred walks make up.
std::size_t steps()
{
    constexpr unsigned long walks = 100, fewest = 40;
    const char* text = std::getenv("PROPERTY_STEPS");
    return std::max(fewest, text != nullptr ? std::strtoul(text, nullptr, 10) / walks : 0);
}

void walk(KernelVersion version)
{
    const auto kernel = traits_of(version);
    Ledger ledger(kernel);
    for (std::size_t i = 0; i < steps(); ++i)
        ledger.go(choose(ledger.state(), kernel, drawn()));
    ledger.clear();
}

RC_GTEST_PROP(Model, EachCommandComesBackOnceAndEverythingCanBeClearedAway, ())
{
    walk(reference_version);
}

RC_GTEST_PROP(Model, HoldsForOlderKernelsToo, ())
{
    walk(*rc::gen::element<KernelVersion>(
        KernelVersion{6, 12, 117}, KernelVersion{6, 16, 12}, KernelVersion{6, 17, 13},
        KernelVersion{6, 18, 15}, KernelVersion{7, 0, 13}, KernelVersion{7, 1, 13}, KernelVersion{7, 2, 6}));
}

RC_GTEST_PROP(Model, CommandsAreReadBackFromTheirText, ())
{
    const auto kernel = traits_of(reference_version);
    Ledger ledger(kernel);
    for (int i = 0; i < 10; ++i) {
        const auto command = choose(ledger.state(), kernel, drawn());
        const auto again = parse_command(to_string(command));
        RC_ASSERT(again.has_value());
        RC_ASSERT(*again == command);
        ledger.go(command);
    }
}

} // namespace
} // namespace property
