// The reference model: what the driver has to do, step by step. Pure: no clock, no I/O, no randomness. What
// the driver may choose (which tag gets a request) comes in as an event, `deliver`, and is judged.
#pragma once

#include "ublk/model/command.hpp"
#include "ublk/model/state.hpp"
#include "ublk/model/traits.hpp"

#include <optional>
#include <string>
#include <vector>

namespace ublk::model {

// A result, one of several, or none yet.
class Answer {
  public:
    Answer() = default;                             // stays pending
    Answer(std::int32_t exact) : allowed_{exact} {} // NOLINT(google-explicit-constructor)
    Answer(std::initializer_list<std::int32_t> one_of) : allowed_(one_of) {}

    bool is_pending() const { return allowed_.empty(); }
    bool allows(std::int32_t result) const;
    void allow(std::int32_t result); // as well
    const std::vector<std::int32_t>& allowed() const { return allowed_; }
    bool operator==(const Answer&) const = default;

  private:
    std::vector<std::int32_t> allowed_;
};
std::string result_text(std::int32_t result); // "-EINVAL", "4096"
std::string to_string(const Answer& answer);  // "-EINVAL", "0 or -EBUSY", "stays pending"

// Something sent earlier comes back because of this step.
struct Effect {
    Token token = 0;
    Answer answer;
    bool operator==(const Effect&) const = default;
};

struct Expected {
    Answer answer;               // of the step's own command
    std::vector<Effect> effects; // in no order
    bool operator==(const Expected&) const = default;
};

struct Context {
    const KernelTraits& kernel;
    Token token = 0; // of the command
};

struct Outcome {
    State state;
    Expected expected;
};

// `command` must be applicable: see below.
Outcome step(State state, const Command& command, const Context& context);

// Why a command cannot be sent, or must not: nobody is there to send it, or the kernel is known to crash.
// nullopt: it can.
std::optional<std::string> obstacle(const State& state, const Command& command, const KernelTraits& kernel);

// Why the driver may not give that request to that tag; nullopt: it may.
std::optional<std::string> no_delivery(const State& state, const Command& deliver);

// Requests that must be delivered now: there is a queue with a free tag and they wait for nothing else.
// The tokens of all requests that may be delivered, if one of them must; else none.
std::vector<Token> due(const State& state, const KernelTraits& kernel);

// The answer of GET_DEV_INFO beyond its result.
struct InfoView {
    DevState state = DevState::dead;
    std::uint32_t server = 0; // whose pid it tells; 0: -1
    Features flags{};
    std::uint16_t queues = 0, depth = 0;
    bool operator==(const InfoView&) const = default;
};
InfoView info(const Device& device);
std::string to_string(const InfoView& view);

// What the server commits for `result`: bytes, or -errno.
std::int32_t committed_bytes(const Request& request, Given result);

// What ADD_DEV makes of the flags that were asked for.
Features granted(Features asked, const KernelTraits& kernel, Sender sender = Sender::root);

// What SET_PARAMS of a device with these flags says of the parameters: 0 or -errno.
std::int32_t params_error(Features device, const Command& command, const KernelTraits& kernel);

// What open() of ublkbN says where its node lets the sender: 0 or -errno. `tried`: Device::try_stopped.
std::int32_t disk_open_error(Features device, bool tried, Sender sender);

} // namespace ublk::model
