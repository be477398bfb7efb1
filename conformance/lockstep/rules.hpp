// What a driver is held against: the model of its kernel, or that model with one rule wrong on purpose, which
// lockstep has to find.
#pragma once

#include "ublk/model/step.hpp"

#include <optional>
#include <span>
#include <string_view>

namespace conformance::lockstep {

using Step = ublk::model::Outcome (*)(ublk::model::State, const ublk::model::Command&,
                                      const ublk::model::Context&);

struct Rules {
    ublk::model::KernelTraits kernel;
    Step step = &ublk::model::step;
};

struct PlantedRule {
    std::string_view name, what;
    Step step;
};
std::span<const PlantedRule> planted_rules();

// `planted`: "" none, the name of a planted rule, or that of a trait, which is then taken for the opposite.
// nullopt: there is no such name.
std::optional<Rules> rules_for(ublk::uapi::KernelVersion version, std::string_view planted);

} // namespace conformance::lockstep
