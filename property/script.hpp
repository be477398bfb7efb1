// What happens to a queue, as a list of steps that RapidCheck makes, shrinks and prints.
#pragma once

#include "ublk/uapi/io.hpp"

#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <ostream>
#include <rapidcheck.h>
#include <string>
#include <string_view>
#include <vector>

namespace property {

enum class Kind : std::uint8_t {
    request,  // the block layer has one more request
    dispatch, // the driver gives the oldest request to an armed tag; once it is stopping, aborts that tag
    reap,     // the server's wait returns, and some completions are handed over, in any order
    abort,    // the device is being stopped: some armed tags come back with -ENODEV
    refuse_commit, // the next COMMIT is refused
    refuse_fetch,  // before the tags are fetched: one FETCH is refused
    interrupt,     // the wait returns early; before the tags are fetched: the submit does nothing
    die,           // the server dies, so many calls from now
};
inline constexpr std::array<std::string_view, 8> kind_names{
    "request", "dispatch", "reap", "abort", "refuse-commit", "refuse-fetch", "interrupt", "die"};

// What a backend says to a request.
enum class Answer : std::uint8_t { full, shorter, odd, zero, too_much, eio, enospc, no_errno };
inline constexpr std::array<std::string_view, 8> answer_names{
    "all of it", "a part, in sectors",       "a part, in bytes", "nothing", "more than all", "-EIO",
    "-ENOSPC",   "a number that is no errno"};

// The numbers choose, modulo what there is to choose from.
struct Step {
    Kind kind = Kind::reap;
    std::uint32_t pick = 0;   // which: operation, tag, errno, how a death is recovered from
    std::uint32_t amount = 0; // how much: sectors, tags, calls; the order of completions
    Answer answer = Answer::full;
};
struct Script {
    std::uint16_t depth = 1;
    std::vector<Step> steps;
};

inline constexpr std::array request_ops{ublk::uapi::IoOp::read, ublk::uapi::IoOp::write,
                                        ublk::uapi::IoOp::flush, ublk::uapi::IoOp::discard,
                                        ublk::uapi::IoOp::write_zeroes};
inline constexpr std::array<std::string_view, 5> op_names{"read", "write", "flush", "discard",
                                                          "write-zeroes"};

inline std::string to_string(const Step& step)
{
    const auto name = kind_names[static_cast<std::size_t>(step.kind)];
    if (step.kind == Kind::request)
        return fmt::format("{}: {}, size {}, answered with {}", name,
                           op_names[step.pick % request_ops.size()], step.amount,
                           answer_names[static_cast<std::size_t>(step.answer)]);
    return fmt::format("{}: pick {}, amount {}", name, step.pick, step.amount);
}

inline void showValue(const Script& script, std::ostream& out)
{
    out << "depth " << script.depth << ", " << script.steps.size() << " steps";
    for (const auto& step : script.steps)
        out << "\n  " << to_string(step);
}

// Shrinks to fewer steps, then to smaller numbers in them.
inline rc::Gen<Script> any_script()
{
    const auto kind = rc::gen::weightedElement<Kind>({{12, Kind::request},
                                                      {16, Kind::dispatch},
                                                      {16, Kind::reap},
                                                      {2, Kind::abort},
                                                      {3, Kind::refuse_commit},
                                                      {2, Kind::refuse_fetch},
                                                      {2, Kind::interrupt},
                                                      {2, Kind::die}});
    const auto answer = rc::gen::weightedElement<Answer>({{8, Answer::full},
                                                          {3, Answer::shorter},
                                                          {1, Answer::odd},
                                                          {1, Answer::zero},
                                                          {1, Answer::too_much},
                                                          {1, Answer::eio},
                                                          {1, Answer::enospc},
                                                          {1, Answer::no_errno}});
    const auto step = rc::gen::build<Step>(
        rc::gen::set(&Step::kind, kind), rc::gen::set(&Step::pick, rc::gen::inRange(0U, 64U)),
        rc::gen::set(&Step::amount, rc::gen::inRange(0U, 1024U)), rc::gen::set(&Step::answer, answer));
    return rc::gen::build<Script>(
        rc::gen::set(&Script::depth,
                     rc::gen::map(rc::gen::inRange(1, 9),
                                  [](int depth) { return static_cast<std::uint16_t>(depth); })),
        rc::gen::set(&Script::steps, rc::gen::container<std::vector<Step>>(step)));
}

} // namespace property
