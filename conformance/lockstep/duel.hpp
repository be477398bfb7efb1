// The driver and its model, step by step beside each other, until they differ.
#pragma once

#include "conformance/lockstep/orders.hpp"
#include "conformance/lockstep/rules.hpp"
#include "conformance/lockstep/scenario.hpp"
#include "conformance/lockstep/subject.hpp"

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace conformance::lockstep {

struct Divergence {
    std::string expected, observed; // sentences
};

class Duel {
  public:
    // `limit`: for what must happen.
    explicit Duel(const Rules& rules, Millis limit = patience) : rules_(rules), limit_(limit) {}

    // Sends a command to both, and waits for what has to follow. Nothing is sent after a divergence, and
    // nothing that is not applicable.
    void go(const Command& command);
    // All at once, if the answers can tell what became of them; else the first alone.
    void go(const std::vector<Command>& group);
    // Deletes everything, in step as well, and waits a little for what must not come.
    void end();

    const ublk::model::State& state() const { return state_; }
    const Scenario& done() const { return done_; } // what was sent
    const std::optional<Divergence>& divergence() const { return divergence_; }

  private:
    void settle();
    bool has_aftermath(std::uint32_t dev) const;
    void await(const std::vector<Order>& orders);
    void listen();
    void observe(const Answered& answered);
    bool is_aftermath(const Answered& answered) const;
    bool is_early_error(const Answered& answered, const ublk::model::Answer& expected) const;
    void send_again(Token token);
    bool take_delivery(const Answered& answered);
    void check_request(const ublk::model::Device& device, Token app, const Subject::Held& held);
    bool deliver(std::uint32_t dev, std::uint16_t queue, std::uint16_t tag);
    void take_tags(const Answered& answered);
    void check_answer(const Command& command, Token token);
    void check_death(std::uint32_t dev);
    void check_stopped();
    void check_gone(std::uint32_t dev);
    void differ(std::string expected, std::string observed);
    std::string name(Token token) const;
    void expect(const ublk::model::Expected& expected, Token own);

    const Rules& rules_;
    Millis limit_;
    ublk::model::State state_;
    Subject subject_;
    Token last_ = 0;
    std::map<Token, Command> sent_;
    std::map<Token, ublk::model::Answer> expected_; // what has to come back now
    Scenario done_;
    bool added_ = false;                                                  // the last step made a device
    std::map<std::uint32_t, std::chrono::steady_clock::time_point> ends_; // of disks, perhaps; by device
    std::set<Token> stopped_; // DEL_DEVs that have been seen to have stopped their device
    std::optional<Divergence> divergence_;
};

// A whole sequence, everything deleted at its end: what was sent, and the first divergence.
struct Played {
    Scenario done;
    std::optional<Divergence> divergence;
};
Played replay(const Scenario& scenario, const Rules& rules, Millis limit = patience);

// A shorter sequence that still diverges: each is tried by `diverges`, for as long as there is `time`.
Scenario shrink(Scenario scenario, const std::function<bool(const Scenario&)>& diverges, Millis time);

} // namespace conformance::lockstep
