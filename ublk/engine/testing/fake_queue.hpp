// A QueueDriver in memory, for tests without a kernel: hands out planned requests, several at once and in an
// order that follows from a seed, goes by the model's tag table, and keeps book of what it is told. Run a
// QueueRunner on it: run() returns when every request is answered. Or, verb by verb, it does what a test
// makes it do: offer, dispatch, abort, take, release; and FakeFaults and inject() make it misbehave. One
// thread.
//
// To test a backend, FakeDisk (fake_disk.hpp) is simpler.
#pragma once

#include "ublk/engine/queue_runner.hpp"
#include "ublk/model/tags.hpp"
#include "ublk/uapi/io.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace ublk::engine::testing {

struct PlannedRequest {
    uapi::IoDesc desc;
    std::vector<std::int32_t> results;       // every commit that was accepted for it
    std::optional<std::uint64_t> appended{}; // the sector that came with the last of them, on zones
    // The application's pages, if the test has any: a write's are copied to the tag's buffer when it is
    // handed out, or asked for; a read's are filled at its COMMIT. They live as long as the queue.
    std::span<std::byte> pages{};
    // The same for its metadata, which bring_metadata() and deliver_metadata() move.
    std::span<std::byte> metadata{};
};

// What the driver does out of the ordinary.
struct FakeFaults {
    std::function<std::int32_t(std::uint16_t)> refuse_fetch; // 0, or why this tag's FETCH is refused
    std::function<std::int32_t(std::uint16_t)> refuse;       // 0, or why this tag's COMMIT is refused
    std::function<int()> wait_error;                         // 0, or what wait() returns instead of waiting
    std::function<std::int32_t(std::uint16_t)> no_payload;   // 0, or why bring() or deliver() fail
    std::function<bool(std::byte*)> no_copy; // whether a write cannot be copied there: it comes again
    std::function<std::int32_t(std::uint16_t)> no_metadata;  // the same of metadata
    std::function<void(std::size_t, std::int32_t)> accepted; // told of an accepted COMMIT: request, result
    // Carries out a tag's RingOp on its payload; its result. Without it, each does all it was asked to.
    std::function<std::int32_t(std::uint16_t, const RingOp&)> operate;
};

class FakeQueue {
  public:
    using TagState = model::TagState; // of the driver's side
    struct Completion {
        std::uint16_t tag;
        std::int32_t res;
        Done what = Done::command;
    };
    static constexpr std::size_t buffer_bytes = 8192, metadata_bytes = 256;

    FakeQueue(std::uint16_t depth, const std::vector<uapi::IoDesc>& requests, std::uint32_t seed,
              FakeFaults faults = {})
        : tags_(depth), buffers_(depth * (buffer_bytes + metadata_bytes)), random_(seed),
          faults_(std::move(faults))
    {
        for (const auto& desc : requests)
            plan_.push_back({desc, {}});
        for (auto& request : plan_)
            request.results.reserve(4);
        prepared_.reserve(depth * 2U);
        completions_.reserve(depth * 2U);
        violations_.reserve(16);
    }

    // QueueDriver
    std::uint16_t depth() const noexcept { return static_cast<std::uint16_t>(tags_.size()); }
    TagRange tags() const noexcept { return {0, depth()}; }
    void fetch(std::uint16_t tag) noexcept { prepared_.push_back({tag, TagEvent::fetch, 0, {}}); }
    void commit(std::uint16_t tag, std::int32_t result) noexcept
    {
        prepared_.push_back({tag, TagEvent::commit, result, {}});
    }
    void commit_append(std::uint16_t tag, std::int32_t result, std::uint64_t sector) noexcept
    {
        prepared_.push_back({tag, TagEvent::commit, result, sector});
    }
    void get_data(std::uint16_t tag) noexcept { prepared_.push_back({tag, TagEvent::get_data, 0, {}}); }
    bool mapped() const noexcept { return mapped_; }
    std::int32_t bring(std::uint16_t tag, std::span<std::byte>) noexcept
    {
        ++brought_;
        return faults_.no_payload ? faults_.no_payload(tag) : 0;
    }
    std::int32_t deliver(std::uint16_t tag, std::span<const std::byte> data) noexcept
    {
        delivered_ += data.size();
        return faults_.no_payload ? faults_.no_payload(tag) : 0;
    }
    std::int32_t bring_metadata(std::uint16_t tag, std::span<std::byte> metadata) noexcept
    {
        return move_metadata(tag, plan_[tags_[tag].request].metadata, metadata);
    }
    std::int32_t deliver_metadata(std::uint16_t tag, std::span<const std::byte> metadata) noexcept
    {
        return move_metadata(tag, metadata, plan_[tags_[tag].request].metadata);
    }
    bool places() const noexcept { return need_get_data_; }
    void place(std::uint16_t tag, std::byte* payload) noexcept { tags_[tag].told = payload; }
    std::byte* told(std::uint16_t tag) noexcept
    {
        return tags_[tag].told != nullptr ? tags_[tag].told : buffer(tag).data();
    }
    bool short_reads() const noexcept { return short_reads_; }
    void start(std::uint16_t tag, const RingOp& op, uapi::IoFlags) noexcept
    {
        if (tags_[tag].state != TagState::owned || tags_[tag].operating)
            violation(std::string("tag ") + std::to_string(tag) + ": an operation while it " +
                      (tags_[tag].operating ? "has one" : "is not owned"));
        tags_[tag].operating = true;
        const auto all = static_cast<std::int32_t>(op.length);
        const bool counts = op.kind == RingOp::Kind::read || op.kind == RingOp::Kind::write;
        completions_.push_back({tag,
                                faults_.operate ? faults_.operate(tag, op)
                                : counts        ? all
                                                : 0,
                                Done::op});
    }
    int look() noexcept { return submit(); }
    bool leaves_armed() const noexcept { return leaves_armed_; }
    int submit() noexcept
    {
        for (const auto& command : prepared_)
            accept(command);
        prepared_.clear();
        return 0;
    }
    int wait() noexcept
    {
        submit();
        if (const int error = faults_.wait_error ? faults_.wait_error() : 0; error != 0)
            return error;
        if (completions_.empty() && armed() == 0) {
            violation("waits with nothing armed");
            return -EDEADLK;
        }
        while (completions_.empty())
            deliver();
        return 0;
    }
    template <typename F>
    unsigned drain(F&& on_completion) noexcept
    {
        unsigned taken = 0;
        while (!completions_.empty()) {
            const auto completion = take(random_() % completions_.size());
            if (completion.what == Done::op)
                tags_[completion.tag].operating = false;
            on_completion(completion.tag, completion.res, completion.what);
            ++taken;
        }
        return taken;
    }
    uapi::IoDesc descriptor(std::uint16_t tag) noexcept { return plan_[tags_[tag].request].desc; }
    std::span<std::byte> buffer(std::uint16_t tag) noexcept
    {
        return std::span(buffers_).subspan(tag * (buffer_bytes + metadata_bytes),
                                           buffer_bytes + metadata_bytes);
    }

    // The book.
    const std::vector<PlannedRequest>& plan() const { return plan_; }
    const std::vector<std::string>& violations() const { return violations_; }
    std::size_t armed() const { return count(TagState::armed); }
    std::size_t owned() const { return count(TagState::owned) + count(TagState::need_data); }
    std::size_t completions() const { return completions_.size(); }
    TagState state(std::uint16_t tag) const { return tags_[tag].state; }
    std::size_t request_of(std::uint16_t tag) const { return tags_[tag].request; } // while it is owned

    // A completion out of nothing, as no kernel should send it.
    void inject(std::uint16_t tag, std::int32_t res, Done what = Done::command)
    {
        completions_.push_back({tag, res, what});
    }
    // From now on no request comes, only aborts, though some are left: the device is being stopped.
    void stop_after(std::size_t requests) { limit_ = requests; }

    // From now on writes come without their payload, as to a device with NEED_GET_DATA.
    void need_get_data() { need_get_data_ = true; }
    // The next write that is asked for is requeued, and the tag brings this request instead.
    void requeue_asked(std::size_t instead) { instead_ = instead; }
    void refuse_short_reads() { short_reads_ = false; }
    void unmap() { mapped_ = false; }                    // payload is out of the backend's sight
    void leave_armed() { leaves_armed_ = true; }         // the device goes to another server
    std::size_t brought() const { return brought_; }     // calls
    std::size_t delivered() const { return delivered_; } // bytes
    std::size_t asked() const { return asked_; }         // NEED_GET_DATA commands that were taken

    // Verbs for a test that decides itself; tags that they name must be armed.
    // One more request in the plan: its index.
    std::size_t offer(const uapi::IoDesc& desc, std::span<std::byte> pages = {},
                      std::span<std::byte> metadata = {})
    {
        plan_.push_back({.desc = desc, .results = {}, .pages = pages, .metadata = metadata});
        return plan_.size() - 1;
    }
    void dispatch(std::uint16_t tag, std::size_t request)
    {
        const bool asks = need_get_data_ && is(request, uapi::IoOp::write);
        tags_[tag].request = request;
        step(tag, TagEvent::request, asks ? TagWhen::write : TagWhen::plain);
    }
    void abort(std::uint16_t tag) { step(tag, TagEvent::cancel); }
    // Removes the completion at `index` (below completions()) and gives it.
    Completion take(std::size_t index)
    {
        const auto at = completions_.begin() + static_cast<std::ptrdiff_t>(index);
        const Completion completion = *at;
        completions_.erase(at);
        return completion;
    }
    // The server is gone: its commands, completions and tags with it.
    void release()
    {
        prepared_.clear();
        completions_.clear();
        std::ranges::fill(tags_, Tag{});
    }

  private:
    using TagEvent = model::TagEvent;
    using TagWhen = model::TagWhen;
    struct Tag {
        TagState state = TagState::unfetched;
        std::size_t request = 0;
        bool operating = false;
        std::byte* told = nullptr; // where its payload is; nullptr: in its buffer
    };
    struct Command {
        std::uint16_t tag;
        TagEvent event;
        std::int32_t result;
        std::optional<std::uint64_t> appended;
    };

    std::size_t count(TagState state) const
    {
        return static_cast<std::size_t>(
            std::count_if(tags_.begin(), tags_.end(), [=](const Tag& tag) { return tag.state == state; }));
    }
    void violation(std::string what) { violations_.push_back(std::move(what)); }

    // What the model's driver does; nullptr, and a violation, where it would refuse, or do nothing.
    const model::TagRow* row(std::uint16_t tag, TagEvent event, TagWhen when)
    {
        const model::TagRow* found = model::tag_row(tags_[tag].state, event, when);
        const bool refused = found->reply.kind == model::TagReply::Kind::answers && found->reply.value < 0;
        if (!refused && found->reply.kind != model::TagReply::Kind::never &&
            found->reply.kind != model::TagReply::Kind::silent)
            return found;
        violation(std::string("tag ") + std::to_string(tag) + ": " + std::string(to_string(event)) +
                  " while " + std::string(to_string(tags_[tag].state)));
        return nullptr;
    }
    void step(std::uint16_t tag, TagEvent event, TagWhen when = TagWhen::always)
    {
        if (const auto* found = row(tag, event, when))
            apply(tag, *found);
    }
    void apply(std::uint16_t tag, const model::TagRow& row)
    {
        tags_[tag].state = row.to;
        if (row.reply.kind != model::TagReply::Kind::pending)
            completions_.push_back({tag, row.reply.value});
    }

    void accept(const Command& command)
    {
        const bool gets_data = command.event == TagEvent::get_data;
        const bool again = gets_data && (instead_ || (faults_.no_copy && faults_.no_copy(told(command.tag))));
        const auto* next = row(command.tag, command.event,
                               again       ? TagWhen::not_copied
                               : gets_data ? TagWhen::copied
                                           : TagWhen::done);
        if (next == nullptr)
            return;
        if (tags_[command.tag].operating)
            violation(std::string("tag ") + std::to_string(command.tag) + ": a command during an operation");
        const bool is_fetch = command.event == TagEvent::fetch;
        const auto& refuse = is_fetch ? faults_.refuse_fetch : faults_.refuse;
        if (const std::int32_t why = refuse ? refuse(command.tag) : 0; why != 0) {
            completions_.push_back({command.tag, why});
            return;
        }
        const std::size_t request = tags_[command.tag].request;
        apply(command.tag, *next);
        if (gets_data) {
            ++asked_;
            if (again)
                dispatch(command.tag, std::exchange(instead_, std::nullopt).value_or(request));
            else
                copy_write(command.tag, request);
        }
        if (command.event != TagEvent::commit)
            return;
        plan_[request].results.push_back(command.result);
        plan_[request].appended = command.appended;
        copy_read(command.tag, request, command.result);
        if (faults_.accepted)
            faults_.accepted(request, command.result);
    }

    // Each armed tag gets a request, an abort once requests are used up, or nothing yet.
    void deliver()
    {
        for (std::uint16_t tag = 0; tag < depth(); ++tag) {
            if (state(tag) != TagState::armed || random_() % 2 == 0)
                continue;
            if (next_ < std::min(limit_, plan_.size()))
                hand_out(tag, next_++);
            else
                abort(tag);
        }
    }

    // The driver moves as much as the request has; here that must be what the server expects.
    std::int32_t move_metadata(std::uint16_t tag, std::span<const std::byte> from,
                               std::span<std::byte> to) noexcept
    {
        if (const std::int32_t why = faults_.no_metadata ? faults_.no_metadata(tag) : 0; why != 0)
            return why;
        if (from.size() != to.size())
            violation("tag " + std::to_string(tag) + ": " + std::to_string(from.size()) +
                      " bytes of metadata for " + std::to_string(to.size()));
        std::ranges::copy(from.first(std::min(from.size(), to.size())), to.begin());
        return 0;
    }

    bool is(std::size_t request, uapi::IoOp op) const
    {
        return plan_[request].desc.op() == static_cast<std::uint8_t>(op);
    }
    void copy_write(std::uint16_t tag, std::size_t request)
    {
        const auto from = plan_[request].pages;
        if (is(request, uapi::IoOp::write))
            std::ranges::copy(from.first(std::min(from.size(), buffer_bytes)), told(tag));
    }
    void copy_read(std::uint16_t tag, std::size_t request, std::int32_t result)
    {
        const auto to = plan_[request].pages;
        const auto done = static_cast<std::size_t>(std::max(result, 0));
        if (is(request, uapi::IoOp::read))
            std::copy_n(told(tag), std::min({done, to.size(), buffer_bytes}), to.begin());
    }

    void hand_out(std::uint16_t tag, std::size_t request)
    {
        if (!need_get_data_)
            copy_write(tag, request);
        dispatch(tag, request);
    }

    std::vector<Tag> tags_;
    std::vector<std::byte> buffers_;
    std::vector<PlannedRequest> plan_;
    std::vector<Command> prepared_;
    std::vector<Completion> completions_;
    std::vector<std::string> violations_;
    std::mt19937 random_;
    FakeFaults faults_;
    std::optional<std::size_t> instead_;
    std::size_t next_ = 0;
    std::size_t limit_ = SIZE_MAX;
    std::size_t brought_ = 0, delivered_ = 0, asked_ = 0;
    bool need_get_data_ = false, short_reads_ = true, mapped_ = true, leaves_armed_ = false;
};

} // namespace ublk::engine::testing
