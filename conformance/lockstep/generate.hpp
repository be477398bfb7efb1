// Chooses what to do next to a driver in a given state: mostly what makes a device go on, else anything.
#pragma once

#include "ublk/model/step.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace conformance::lockstep {

// A number below `bound`, which is not 0.
using Chance = std::function<std::uint32_t(std::uint32_t bound)>;

// From a seed: the same numbers on every machine.
class SeededChance {
  public:
    explicit SeededChance(std::uint64_t seed) : state_(seed) {}
    std::uint32_t operator()(std::uint32_t bound);

  private:
    std::uint64_t state_;
};

// One that is applicable (ublk::model::obstacle() has nothing against it).
ublk::model::Command choose(const ublk::model::State& state, const ublk::model::KernelTraits& kernel,
                            const Chance& chance);

// The next of the steps that leave no device behind, whatever the state; nullopt: nothing is left.
std::optional<ublk::model::Command> clear_away(const ublk::model::State& state,
                                               const ublk::model::KernelTraits& kernel);

} // namespace conformance::lockstep
