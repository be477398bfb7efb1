// Commands that are on their way at once: in whatever order the driver takes them, what they are answered
// with has to fit one of the orders that the model can take them in.
#pragma once

#include "conformance/lockstep/generate.hpp"
#include "conformance/lockstep/rules.hpp"

#include <map>
#include <optional>
#include <span>
#include <vector>

namespace conformance::lockstep {

using Answers = std::map<ublk::model::Token, ublk::model::Answer>; // of what comes back, whenever it was sent

struct Order {
    ublk::model::State state; // afterwards
    Answers answers;
    bool operator==(const Order&) const = default;
};

// By the answers `order` can be what happened.
bool fits(const Order& order, const std::map<ublk::model::Token, std::int32_t>& answered);

// What can come of the commands, which have the tokens from `first` on. nullopt: they are not to be sent at
// once. One of them must not be sent in some order, or the driver does them in parts, or a command that
// has waited goes on by itself, or the answers would not tell which order it was.
std::optional<std::vector<Order>> orders(const ublk::model::State& state,
                                         std::span<const ublk::model::Command> commands,
                                         ublk::model::Token first, const Rules& rules);

// choose(), and now and then more, which are to go together with the first.
std::vector<ublk::model::Command> choose_group(const ublk::model::State& state,
                                               const ublk::model::KernelTraits& kernel, const Chance& chance);

} // namespace conformance::lockstep
