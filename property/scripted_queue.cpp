#include "property/scripted_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace property {
namespace {

using ublk::engine::QueueEnd;
using ublk::engine::testing::FakeQueue;
using ublk::model::TagState;
namespace uapi = ublk::uapi;

constexpr std::uint32_t most_sectors = FakeQueue::buffer_bytes / uapi::sector_size;
constexpr std::int32_t lowest_errno = -4095;
constexpr std::array fetch_refusals{-EINVAL, -EBUSY, uapi::io_res_abort};
constexpr std::array commit_refusals{-EAGAIN, -EINTR, -ENOMEM, -EINVAL};
constexpr std::array wait_errors{-EINTR, -EAGAIN, -EBUSY};

bool is_data(std::size_t op)
{
    return request_ops[op] == uapi::IoOp::read || request_ops[op] == uapi::IoOp::write;
}
bool passes(std::int32_t refusal)
{
    return refusal != -EINVAL;
}
std::int32_t value(Answer answer, std::uint32_t sectors)
{
    const auto all = static_cast<std::int32_t>(sectors * uapi::sector_size);
    switch (answer) {
    case Answer::shorter:
        return static_cast<std::int32_t>((sectors + 1) / 2 * uapi::sector_size);
    case Answer::odd:
        return all - 1;
    case Answer::zero:
        return 0;
    case Answer::too_much:
        return all + 512;
    case Answer::eio:
        return -EIO;
    case Answer::enospc:
        return -ENOSPC;
    case Answer::no_errno:
        return lowest_errno - 1;
    case Answer::full:
        break;
    }
    return all;
}

} // namespace

ScriptedQueue::ScriptedQueue(const Script& script, Tally& tally, std::vector<std::string>* trace)
    : script_(script), tally_(tally), trace_(trace), refuse_fetch_(script.depth), sides_(script.depth),
      driver_(script.depth, {}, 0,
              {.refuse_fetch = [this](std::uint16_t tag) { return std::exchange(refuse_fetch_[tag], 0); },
               .refuse = [this](std::uint16_t) { return std::exchange(refuse_commit_, 0); },
               .accepted = [this](std::size_t planned, std::int32_t res) { accepted(planned, res); }})
{
}

void ScriptedQueue::say(std::string what)
{
    if (trace_ != nullptr)
        trace_->push_back(std::move(what));
}

void ScriptedQueue::complain(std::string what)
{
    if (complaint_)
        return;
    say("BROKEN: " + what);
    complaint_ = std::move(what);
}

void ScriptedQueue::live()
{
    if (!calls_left_ || gone())
        return;
    if (*calls_left_ == 0) {
        dead_ = true;
        say("the server dies");
    } else {
        --*calls_left_;
    }
}

void ScriptedQueue::one_side(std::uint16_t tag)
{
    const Side& side = sides_[tag];
    if (side.commands + side.requests > 1)
        complain(
            fmt::format("a tag is owned by exactly one side: of tag {} the driver has {} commands and the "
                        "server {} requests",
                        tag, side.commands, side.requests));
}

void ScriptedQueue::fetch(std::uint16_t tag) noexcept
{
    live();
    if (gone())
        return;
    say(fmt::format("server: FETCH tag {}", tag));
    ++sides_[tag].commands;
    sides_[tag].committing = false;
    one_side(tag);
    driver_.fetch(tag);
}

void ScriptedQueue::commit(std::uint16_t tag, std::int32_t result) noexcept
{
    live();
    if (gone())
        return;
    say(fmt::format("server: COMMIT tag {}, result {}", tag, result));
    Side& side = sides_[tag];
    if (side.requests == 0) {
        complain(fmt::format("nothing is committed that is not owned: COMMIT of tag {}", tag));
        return;
    }
    judge_result(tag, result);
    --side.requests;
    ++side.commands;
    side.committing = true;
    side.committed = result;
    one_side(tag);
    driver_.commit(tag, result);
}

int ScriptedQueue::submit() noexcept
{
    live();
    if (gone())
        return -EBADF;
    if (const int error = std::exchange(submit_error_, 0); error != 0) {
        code_ = -error;
        return error;
    }
    driver_.submit();
    reap_ = driver_.completions();
    return 0;
}

int ScriptedQueue::wait() noexcept
{
    live();
    if (gone())
        return -EBADF;
    driver_.submit();
    if (!driver_.violations().empty())
        complain("the tag table: " + driver_.violations().front());
    return gone() ? -EBADF : play();
}

std::vector<std::uint16_t> ScriptedQueue::armed() const
{
    std::vector<std::uint16_t> tags;
    for (std::uint16_t tag = 0; tag < depth(); ++tag) {
        if (driver_.state(tag) == TagState::armed)
            tags.push_back(tag);
    }
    return tags;
}

// Until the server's wait is over.
int ScriptedQueue::play()
{
    while (driver_.armed() > 0 || driver_.completions() > 0) {
        if (next_ == script_.steps.size())
            return finish_off();
        const Step& step = script_.steps[next_++];
        if (!take_effect(step))
            continue;
        ++tally_.steps;
        ++tally_.kinds[static_cast<std::size_t>(step.kind)];
        if (step.kind == Kind::interrupt)
            return wait_errors[step.pick % wait_errors.size()];
        if (step.kind == Kind::reap)
            return 0;
    }
    complain("abort from any state ends: the server waits though the driver has nothing of it");
    return -EDEADLK;
}

bool ScriptedQueue::take_effect(const Step& step)
{
    switch (step.kind) {
    case Kind::request:
        return offer(step);
    case Kind::dispatch:
        return stopping_ ? abort(step.pick) : dispatch(step.pick);
    case Kind::reap:
        if (driver_.completions() == 0)
            return false;
        reap_ = 1 + step.pick % driver_.completions();
        order_ = step.amount;
        return true;
    case Kind::abort: {
        stopping_ = true;
        bool any = false;
        for (std::uint32_t i = 0; i <= step.amount % depth(); ++i)
            any = abort(step.pick) || any;
        return any;
    }
    case Kind::refuse_commit:
        refuse_commit_ = commit_refusals[step.pick % commit_refusals.size()];
        return true;
    case Kind::refuse_fetch:
        refuse_fetch_[step.amount % depth()] = fetch_refusals[step.pick % fetch_refusals.size()];
        return true;
    case Kind::interrupt:
        reap_ = step.amount % (driver_.completions() + 1);
        return true;
    case Kind::die:
        calls_left_ = step.amount % (4U * depth());
        fails_requests_ = step.pick % 2 == 1;
        return true;
    }
    return false;
}

bool ScriptedQueue::offer(const Step& step)
{
    requests_.push_back(
        {step.pick % request_ops.size(), 1 + step.amount % (most_sectors + 1), step.answer, 0});
    waiting_.push_back(requests_.size() - 1);
    ++tally_.answers[static_cast<std::size_t>(step.answer)];
    return true;
}

bool ScriptedQueue::dispatch(std::uint32_t pick)
{
    const auto tags = armed();
    if (tags.empty() || waiting_.empty())
        return false;
    const std::uint16_t tag = tags[pick % tags.size()];
    const std::size_t number = waiting_.front();
    waiting_.pop_front();
    const Request& request = requests_[number];
    say(fmt::format("driver: request {} ({}, {} sectors) to tag {}", number, op_names[request.op],
                    request.sectors, tag));
    planned_.push_back(number);
    driver_.dispatch(tag, driver_.offer({.op_flags = static_cast<std::uint32_t>(request_ops[request.op]),
                                         .nr_sectors = request.sectors,
                                         .start_sector = number}));
    return true;
}

bool ScriptedQueue::abort(std::uint32_t pick)
{
    const auto tags = armed();
    if (tags.empty())
        return false;
    say(fmt::format("driver: aborts tag {}", tags[pick % tags.size()]));
    driver_.abort(tags[pick % tags.size()]);
    if (!driver_.violations().empty())
        complain("the tag table: " + driver_.violations().front());
    return !gone();
}

// The script is over: what waits is served, then the device is stopped.
int ScriptedQueue::finish_off()
{
    if (driver_.completions() == 0) {
        if (waiting_.empty())
            stopping_ = true;
        while (stopping_ ? abort(0) : dispatch(0)) {
        }
    }
    reap_ = driver_.completions();
    order_ = 0;
    return 0;
}

FakeQueue::Completion ScriptedQueue::hand_over()
{
    const auto left = static_cast<std::uint32_t>(driver_.completions());
    const auto completion = driver_.take(order_ % left);
    order_ /= left;
    const auto tag = completion.tag;
    const auto res = completion.res;
    say(fmt::format("completion: tag {}, {}", tag, res));
    Side& side = sides_[tag];
    --side.commands;
    const bool both = batch_.request && batch_.abort;
    if (res == uapi::io_res_ok) {
        batch_.request = true;
        side = {.commands = 0, .requests = 1, .answers = 0, .said = 0, .committing = false, .committed = {}};
        ++handed_;
    } else if (res == uapi::io_res_abort) {
        batch_.abort = true;
    } else {
        const bool again = side.committing && passes(res);
        side.requests = side.committing ? 1 : 0;
        fatal_ = fatal_ || (side.committing && !again);
        if (!again && code_ == 0)
            code_ = -res;
    }
    tally_.aborts_among_requests += !both && batch_.request && batch_.abort ? 1U : 0U;
    return completion;
}

uapi::IoDesc ScriptedQueue::descriptor(std::uint16_t tag) noexcept
{
    if (!gone() && sides_[tag].requests > 0)
        return driver_.descriptor(tag);
    if (!gone())
        complain(fmt::format("the server serves tag {}, which has no request", tag));
    return {};
}

bool ScriptedQueue::fits(const Request& request) const
{
    return !is_data(request.op) || request.sectors <= most_sectors;
}

std::int32_t ScriptedQueue::answer(const ublk::engine::Io& io) noexcept
{
    Side& side = sides_[io.tag];
    if (gone())
        return -EIO;
    if (side.requests == 0) {
        complain(fmt::format("the backend is asked for tag {}, which has no request", io.tag));
        return -EIO;
    }
    const Request& request = request_of(io.tag);
    if (++side.answers > 1)
        complain(fmt::format("a request is put to the backend once: tag {}", io.tag));
    const std::size_t length = is_data(request.op) ? request.sectors * std::size_t{uapi::sector_size} : 0;
    if (io.op != request_ops[request.op] || io.data.size() != length)
        complain(fmt::format("the backend gets the request as it is: tag {}", io.tag));
    side.said = value(request.answer, request.sectors);
    return side.said;
}

void ScriptedQueue::handled(std::uint16_t tag, std::int32_t res)
{
    live();
    if (gone() || res != uapi::io_res_ok)
        return;
    const unsigned wanted = fits(request_of(tag)) ? 1 : 0;
    if (sides_[tag].answers != wanted)
        complain(
            fmt::format("each request is put to the backend once if it fits the buffer: tag {}, {} times",
                        tag, sides_[tag].answers));
}

// What may be committed for what the backend said; the driver takes a short write for a complete one.
void ScriptedQueue::judge_result(std::uint16_t tag, std::int32_t result)
{
    Side& side = sides_[tag];
    const Request& request = request_of(tag);
    if (side.committed && *side.committed != result) {
        complain(fmt::format("a refused result is sent again: tag {}, {} and then {}", tag, *side.committed,
                             result));
        return;
    }
    if (!side.committed && result < 0)
        ++errors_;
    const auto all = static_cast<std::int32_t>(request.sectors * uapi::sector_size);
    const bool in_sectors = side.said > 0 && side.said % 512 == 0 && side.said <= all;
    bool right = false;
    if (!fits(request))
        right = result == -EIO;
    else if (side.said < 0)
        right = side.said >= lowest_errno ? result == side.said : result < 0 && result >= lowest_errno;
    else if (!is_data(request.op))
        right = result == 0;
    else if (side.said == all || (in_sectors && request_ops[request.op] == uapi::IoOp::read))
        right = result == side.said;
    else
        right = result < 0 && result >= lowest_errno;
    if (!right)
        complain(fmt::format("what is committed follows from the answer: {} of {} sectors, answer {}, "
                             "committed {}",
                             op_names[request.op], request.sectors, side.said, result));
}

// As the block layer has it: what a short read leaves is a request of its own.
void ScriptedQueue::accepted(std::size_t planned, std::int32_t result)
{
    const std::size_t number = planned_[planned];
    Request& request = requests_[number];
    const auto sectors = static_cast<std::uint32_t>(std::max(result, 0)) / uapi::sector_size;
    if (is_data(request.op) && result > 0 && sectors < request.sectors) {
        request.sectors -= sectors;
        request.answer = Answer::full;
        waiting_.push_front(number);
        ++tally_.rest_sent_again;
        return;
    }
    ++request.completed;
}

void ScriptedQueue::begin_server()
{
    constexpr std::array before{Kind::refuse_fetch, Kind::interrupt, Kind::die};
    while (next_ < script_.steps.size() &&
           std::ranges::find(before, script_.steps[next_].kind) != before.end()) {
        const Step& step = script_.steps[next_++];
        take_effect(step);
        if (step.kind == Kind::interrupt)
            submit_error_ = wait_errors[step.pick % wait_errors.size()];
        ++tally_.steps;
        ++tally_.kinds[static_cast<std::size_t>(step.kind)];
    }
    reap_ = 0;
    say("a server starts");
}

void ScriptedQueue::judge_end(const QueueEnd& end)
{
    unsigned commands = 0, requests = 0;
    for (const Side& side : sides_) {
        commands += side.commands;
        requests += side.requests;
    }
    if (end.stuck != fatal_)
        complain(fmt::format("a server gives up when a COMMIT is refused for good, and only then: stuck {}",
                             end.stuck));
    else if (end.code != code_)
        complain(fmt::format("a server ends with the first error: {}, not {}", code_, end.code));
    else if (!fatal_ && commands > 0)
        complain(
            fmt::format("abort from any state ends: the server ends while the driver has {} tags", commands));
    else if (!fatal_ && requests > 0)
        complain(
            fmt::format("each request completes exactly once: the server ends with {} in hand", requests));
    else if (end.requests != handed_ || end.errors != errors_)
        complain(fmt::format("a server counts its requests: {} and {} errors, not {} and {}", handed_,
                             errors_, end.requests, end.errors));
    tally_.stuck_ends += end.stuck ? 1U : 0U;
}

void ScriptedQueue::end_server(const QueueEnd& end)
{
    if (!gone())
        judge_end(end);
    say(fmt::format("the server is gone, code {}{}", end.code, end.stuck ? ", stuck" : ""));
    for (std::uint16_t tag = 0; tag < depth(); ++tag) {
        if (driver_.state(tag) != TagState::owned)
            continue;
        const std::size_t number = planned_[driver_.request_of(tag)];
        if (fails_requests_)
            ++requests_[number].completed;
        else
            waiting_.push_front(number);
    }
    driver_.release();
    std::ranges::fill(sides_, Side{});
    refuse_commit_ = submit_error_ = code_ = 0;
    stopping_ = dead_ = fails_requests_ = fatal_ = false;
    calls_left_.reset();
    handed_ = errors_ = 0;
}

void ScriptedQueue::finish()
{
    for (std::size_t i = 0; i < requests_.size(); ++i) {
        if (requests_[i].completed != 1)
            complain(fmt::format("each request completes exactly once: request {} did {} times", i,
                                 requests_[i].completed));
    }
}

std::optional<std::string> play(const Script& script, Tally& tally, std::vector<std::string>* trace)
{
    struct Backend {
        ScriptedQueue& queue;
        std::int32_t handle(ublk::engine::Io& io) noexcept { return queue.answer(io); }
    };
    static_assert(ublk::engine::QueueDriver<ScriptedQueue> && ublk::engine::Backend<Backend>);

    ScriptedQueue queue(script, tally, trace);
    Backend backend{queue};
    // A server takes a step, or serves all that waits: more servers than this serve nothing.
    std::size_t servers = script.steps.size() + 2;
    do {
        queue.begin_server();
        ublk::engine::QueueRunner runner(queue, backend, 0);
        if (runner.arm() != 0)
            queue.stop();
        queue.end_server(runner.run());
    } while (queue.more() && --servers > 0);
    queue.finish();
    return queue.complaint();
}

} // namespace property
