// The loop of one queue: fetches its tags, hands requests to the backend, commits the answers, and ends when
// the driver has given every tag back. Runs over any QueueDriver: the kernel's queue, or one in memory.
#pragma once

#include "ublk/engine/assert.hpp"
#include "ublk/engine/io.hpp"
#include "ublk/engine/observer.hpp"
#include "ublk/engine/tags.hpp"

#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ublk::engine {

// What a completion of a queue's ring is for: a ublk command of the tag, the tag's RingOp, or nothing that
// the runner knows of.
enum class Done : std::uint8_t { command, op, nothing };

struct TagRange {
    std::uint16_t first = 0, count = 0;
};

// One queue of a ublk device, or some of its tags. fetch() and commit() prepare a command, submit() sends
// what is prepared, wait() sends it and returns when at least one completion is there, look() sends it and
// does not wait. drain(f) calls f(tag, result, Done) for each completion that is there, and returns how often
// it did. submit(), wait() and look() return 0 or more, or -errno. leaves_armed(): the tags that are
// armed may be left to the driver, because the device is being given to another server, or was not taken over
// after all.
//
// How payload travels is the driver's affair: get_data() prepares the command that a completion with
// io_res_need_get_data asks for. Where mapped() says that payload passes through buffer(tag), bring() makes
// that of a write be there, deliver() gives the driver that of a read; both return 0 or -errno.
// short_reads(): see commit_result. start() prepares a RingOp of a tag whose request had `flags`. Backends of
// zones need commit_append(tag, result, sector) as well, and commit all of their requests with it: `sector`
// is where a ZONE_APPEND was written. Those that serve integrity need bring_metadata() and
// deliver_metadata(), which are for metadata what the like are for payload, and room for it in buffer(tag).
//
// all_aborted(), of a driver that does not tell it tag by tag: every tag that is armed is over.
//
// A driver that shares memory with applications has payload(tag, desc): where the payload of that request is,
// in buffer(tag) or in shared memory, which may be too short for a request that is wrong; then its start()
// works on what payload() gave last. A driver of that kind copies().
template <typename D>
concept QueueDriver =
    requires(D& driver, std::uint16_t tag, std::int32_t result, const RingOp& op, uapi::IoFlags flags,
             void (*on_completion)(std::uint16_t, std::int32_t, Done)) {
        { driver.depth() } noexcept -> std::same_as<std::uint16_t>; // of the queue: every tag is below
        { driver.tags() } noexcept -> std::same_as<TagRange>;       // that this driver serves
        { driver.fetch(tag) } noexcept;
        { driver.commit(tag, result) } noexcept;
        { driver.get_data(tag) } noexcept;
        { driver.mapped() } noexcept -> std::same_as<bool>;
        { driver.bring(tag, std::span<std::byte>()) } noexcept -> std::same_as<std::int32_t>;
        { driver.deliver(tag, std::span<const std::byte>()) } noexcept -> std::same_as<std::int32_t>;
        { driver.short_reads() } noexcept -> std::same_as<bool>;
        { driver.start(tag, op, flags) } noexcept;
        { driver.submit() } noexcept -> std::same_as<int>;
        { driver.wait() } noexcept -> std::same_as<int>;
        { driver.look() } noexcept -> std::same_as<int>;
        { driver.leaves_armed() } noexcept -> std::same_as<bool>;
        { driver.drain(on_completion) } -> std::same_as<unsigned>;
        { driver.descriptor(tag) } noexcept -> std::same_as<uapi::IoDesc>;
        { driver.buffer(tag) } noexcept -> std::same_as<std::span<std::byte>>;
    };

template <typename D>
concept SharesMemory = requires(D& driver, std::uint16_t tag, const uapi::IoDesc& desc) {
    { driver.payload(tag, desc) } noexcept -> std::same_as<std::span<std::byte>>;
};

// A driver that can be told where the payload of a request is to be. places(): whether it goes by that.
// place() tells it for the tag's next commands; told(): what the driver knows.
template <typename D>
concept TakesPlaces = requires(D& driver, std::uint16_t tag, std::byte* payload) {
    { driver.places() } noexcept -> std::same_as<bool>;
    { driver.place(tag, payload) } noexcept;
    { driver.told(tag) } noexcept -> std::same_as<std::byte*>;
};

// How a queue ended. It ended well if `code` is 0.
struct QueueEnd {
    int code = 0;                     // positive errno of the first command or wait that failed
    std::optional<std::uint16_t> tag; // whose command failed
    bool stuck = false;               // a request could not be finished: only closing the device frees it
    std::uint64_t requests = 0;       // handed to the backend
    std::uint64_t errors = 0;         // of them, committed with a negative result
    std::string report{};             // of an observer that found the queue unsound
};

// For one thread. Allocates when it is made and never again; takes no lock.
template <QueueDriver Driver, Backend B, QueueObserver Observer = Unobserved>
class QueueRunner {
  public:
    QueueRunner(Driver& driver, B& backend, std::uint16_t queue, Observer observer = {})
        : driver_(driver), backend_(backend), observer_(std::move(observer)), tags_(driver.depth()),
          appended_(zoned ? driver.depth() : 0U), queue_(queue)
    {
        if constexpr (AsyncBackend<B>)
            ios_.resize(driver.depth());
        if constexpr (protects)
            integrity_ = backend.geometry().integrity;
        if constexpr (may_place) {
            placing_ = driver.places() && backend.has_places();
            places_.resize(placing_ ? driver.depth() : 0U);
        }
    }

    // Fetches every tag. Returns 0, or the positive errno of the first FETCH that was refused at once; then
    // the device cannot be started, but run() must still be called once it is being stopped.
    int arm() noexcept
    {
        const TagRange mine = driver_.tags();
        for (unsigned tag = mine.first; tag < unsigned{mine.first} + mine.count; ++tag) {
            const auto number = static_cast<std::uint16_t>(tag);
            move<TagState::idle, TagEvent::fetch>(tags_[tag]);
            observer_.sent(number, TagEvent::fetch, 0);
            driver_.fetch(number);
        }
        if (const int res = driver_.submit(); res < 0)
            fail(-res, std::nullopt);
        observer_.entered();
        take_completions();
        return end_.code;
    }

    // Serves until no tag is left with the driver, or those that are may be left there. Goes on entering the
    // ring for as long as one is: with DEFER_TASKRUN an abort is delivered only to a task that enters.
    QueueEnd run() noexcept
    {
        if constexpr (!AsyncBackend<B> && ServesUnmapped<B>) {
            if (!copies())
                return run<Payload::ignored>();
        }
        return run<Payload::served>();
    }

  private:
    // `ignored`: neither the backend nor the driver between them does anything with payload. A loop of its
    // own, which is some instructions shorter for each request.
    enum class Payload : std::uint8_t { served, ignored };

    struct alignas(16) Tag { // a power of two: found by a shift
        TagState state = TagState::idle;
        TagEvent sent = TagEvent::fetch; // the command in flight
        std::uint16_t refusals = 0;      // of the same command, in a row
        std::int32_t result = 0;         // what was last committed
        bool op_in_flight = false;       // a RingOp of its request is
    };
    static constexpr std::uint16_t most_refusals = 1000;
    static constexpr bool zoned = ServesZones<B>;
    static constexpr bool protects = ServesIntegrity<B>;
    static constexpr bool shares = SharesMemory<Driver>;
    static constexpr bool may_place = TakesPlaces<Driver> && PlacesPayload<B>;

    // Flat, because calls and what they keep in memory are a good part of a request's instructions.
    template <Payload payload>
    [[gnu::flatten]] QueueEnd run() noexcept
    {
        while (busy_ > 0 && !end_.stuck) {
            if (entered(driver_.wait()))
                take_completions<payload>();
            if (driver_.leaves_armed() && in_flight_ == 0 && nothing_comes()) [[unlikely]]
                break;
        }
        return ended();
    }

    [[gnu::noinline]] QueueEnd ended() noexcept
    {
        end_.report = observer_.report();
        return end_;
    }

    bool entered(int res) noexcept
    {
        observer_.entered();
        if (res >= 0 || res == -EINTR || res == -EAGAIN || res == -EBUSY) [[likely]]
            return true;
        fail(-res, std::nullopt);
        end_.stuck = true;
        return false;
    }

    // Before armed tags are left: sends the last commits, and looks for requests that were on their way when
    // the driver closed the queue.
    [[gnu::noinline]] bool nothing_comes() noexcept
    {
        const std::uint64_t before = end_.requests;
        if (entered(driver_.look()))
            take_completions();
        return end_.requests == before;
    }

    template <Payload payload = Payload::served>
    void take_completions() noexcept
    {
        const unsigned taken = driver_.drain([this](std::uint16_t tag, std::int32_t res, Done what) noexcept {
            if (what != Done::command) [[unlikely]]
                --end_.requests; // see below
            if (what == Done::nothing) [[unlikely]]
                return;
            if constexpr (AsyncBackend<B>) {
                if (what == Done::op)
                    return op_done(tag, res);
            }
            observer_.completed(tag, res);
            if (observer_.sound())
                command_done<payload>(tag, res);
        });
        if constexpr (requires { driver_.all_aborted(); }) {
            if (driver_.all_aborted()) [[unlikely]]
                abort_armed();
        }
        observer_.drained(taken);
        end_.requests += taken; // each of which is a request, but for those that have taken themselves off
        if (!observer_.sound()) [[unlikely]] {
            fail(EPROTO, std::nullopt);
            end_.stuck = true;
        }
    }

    [[gnu::noinline]] void abort_armed() noexcept
    {
        for (std::size_t tag = 0; tag < tags_.size(); ++tag) {
            if (tags_[tag].state != TagState::armed || !observer_.sound())
                continue;
            observer_.completed(static_cast<std::uint16_t>(tag), uapi::io_res_abort);
            if (observer_.sound())
                aborted(tags_[tag]);
        }
    }

    template <Payload payload>
    void command_done(std::uint16_t number, std::int32_t res) noexcept
    {
        // What the driver knows already, it is not asked again.
        if (number >= driver_.depth() || tags_[number].state != TagState::armed) [[unlikely]]
            return stray(number, res);
        Tag& tag = tags_[number];
        if (res == uapi::io_res_ok) [[likely]]
            return serve<payload>(number, tag);
        --end_.requests;
        if (res == uapi::io_res_need_get_data)
            ask_for_data(number, tag);
        else if (res == uapi::io_res_abort)
            aborted(tag);
        else
            refused(number, tag, res);
    }

    void aborted(Tag& tag) noexcept
    {
        move<TagState::armed, TagEvent::abort>(tag);
        if constexpr (requires { driver_.aborted(); })
            driver_.aborted();
    }

    // A completion that no command of ours is waiting for.
    void stray(std::uint16_t number, [[maybe_unused]] std::int32_t res) noexcept
    {
        UBLK_ASSERT(number < tags_.size(), "tag {} of {}", number, tags_.size());
        UBLK_ASSERT(number >= tags_.size(), "completion {} for tag {}, which is {}", res, number,
                    to_string(tags_[number].state));
        --end_.requests;
        fail(EPROTO, number);
    }

    Io request(std::uint16_t number, const uapi::IoDesc& desc) const noexcept
    {
        return {static_cast<uapi::IoOp>(desc.op()),
                desc.flags(),
                desc.start_sector,
                desc.nr_sectors,
                {},
                number,
                queue_};
    }

    // What the driver takes for the tag's buffer.
    std::span<std::byte> known(std::uint16_t number) noexcept
    {
        const std::span<std::byte> buffer = driver_.buffer(number);
        if constexpr (may_place)
            if (placing_)
                return {driver_.told(number), buffer.size()};
        return buffer;
    }

    template <Payload payload>
    void serve(std::uint16_t number, Tag& tag) noexcept
    {
        // Answered before anybody looks at the tag again, it need not be seen to be ours in between.
        if constexpr (AsyncBackend<B> || UBLK_ASSERTIONS != 0)
            move<TagState::armed, TagEvent::request>(tag);
        const uapi::IoDesc desc = driver_.descriptor(number);
        Io io = request(number, desc);
        if constexpr (shares) {
            if (carries_data(io.op))
                io.data = driver_.payload(number, desc);
            observer_.request(io, desc, io.data);
        } else {
            observer_.request(io, desc, driver_.mapped() ? known(number) : std::span<std::byte>());
        }
        if (!observer_.sound())
            return;
        if constexpr (zoned)
            appended_[number] = 0;
        const bool copying = payload == Payload::served && copies();
        if ((carries_data(io.op) || (zoned && carries_zone_data(io.op))) && !bring_payload(io, tag, copying))
            return;
        if constexpr (AsyncBackend<B>) {
            RingOp op;
            const std::int32_t answer = backend_.begin(io, op);
            if (answer == op_pending)
                ios_[number] = io;
            go_on(number, tag, io, answer, op, copying);
        } else {
            const std::int32_t done = backend_.handle(io);
            if constexpr (payload == Payload::ignored)
                if (!is_whole(io, done)) [[unlikely]]
                    return finish_rare(number, done);
            finish(io, tag, done, copying);
        }
    }

    // Reads the descriptor again, so that the loop need not keep what it has no use for itself.
    [[gnu::cold, gnu::noinline]] void finish_rare(std::uint16_t number, std::int32_t done) noexcept
    {
        finish(request(number, driver_.descriptor(number)), tags_[number], done, false);
    }

    // Where the payload is to be, or, of a write that was asked for, is.
    std::span<std::byte> room(const Io& io, const Tag& tag) noexcept
    {
        if constexpr (may_place)
            if (placing_)
                return io.op == uapi::IoOp::write && tag.sent == TagEvent::get_data ? places_[io.tag]
                                                                                    : place(io);
        return driver_.buffer(io.tag);
    }
    std::span<std::byte> place(const Io& io) noexcept
        requires may_place
    {
        const auto own = backend_.place(io);
        const auto where = own.empty() ? driver_.buffer(io.tag) : own;
        driver_.place(io.tag, where.data());
        return where;
    }
    // Gives the request its buffer, and a write its payload; false if that failed, which answers the request.
    bool bring_payload(Io& io, Tag& tag, bool copying) noexcept
    {
        constexpr bool looked_at = AsyncBackend<B> || !ServesUnmapped<B>;
        if (looked_at ? !driver_.mapped() : !copying)
            return true;
        const std::span<std::byte> buffer = shares ? io.data : room(io, tag);
        const std::uint64_t length = payload_bytes(io.op, io.nr_sectors);
        if (length > buffer.size()) [[unlikely]] {
            answer(io, tag, -EIO);
            return false;
        }
        io.data = buffer.first(static_cast<std::size_t>(length));
        if constexpr (shares)
            if (io.flags.has(uapi::IoFlag::shmem_zc))
                observer_.shared(io);
        if (io.op == uapi::IoOp::write || (zoned && io.op == uapi::IoOp::zone_append)) {
            if (const std::int32_t res = driver_.bring(io.tag, io.data); res < 0) [[unlikely]] {
                answer(io, tag, commit_result(io, res));
                return false;
            }
        }
        if constexpr (protects)
            if (io.flags.has(uapi::IoFlag::integrity))
                return bring_metadata(io, tag);
        return true;
    }

    bool bring_metadata(const Io& io, Tag& tag) noexcept
    {
        const std::span<std::byte> metadata = io.metadata(integrity_);
        std::int32_t res = io.data.size() + metadata.size() > driver_.buffer(io.tag).size() ? -EIO : 0;
        if (res == 0 && io.op == uapi::IoOp::write)
            res = driver_.bring_metadata(io.tag, metadata);
        if (res < 0) [[unlikely]]
            answer(io, tag, commit_result(io, res));
        return res >= 0;
    }

    // Whether bring() and deliver() do something; a driver need not say that.
    bool copies() const noexcept
    {
        if constexpr (requires { driver_.copies(); })
            return driver_.copies();
        else
            return driver_.mapped();
    }

    // In shared memory the driver takes any read that is answered for a whole one.
    bool short_reads(const Io& io) const noexcept
    {
        return driver_.short_reads() && !(shares && io.flags.has(uapi::IoFlag::shmem_zc));
    }

    // After a step of an asynchronous backend: its next operation, or the end of the request.
    void go_on(std::uint16_t number, Tag& tag, const Io& io, std::int32_t answer, const RingOp& op,
               bool copying) noexcept
    {
        if (answer != op_pending)
            return finish(io, tag, answer, copying);
        tag.op_in_flight = true;
        ++in_flight_;
        driver_.start(number, op, io.flags);
    }

    void op_done(std::uint16_t number, std::int32_t res) noexcept
    {
        if (number >= tags_.size() || !tags_[number].op_in_flight) [[unlikely]]
            return fail(EPROTO, number);
        Tag& tag = tags_[number];
        tag.op_in_flight = false;
        --in_flight_;
        RingOp op;
        go_on(number, tag, ios_[number], backend_.resume(ios_[number], res, op), op, copies());
    }

    // Not given the request itself, which then need not be in memory.
    [[gnu::cold, gnu::noinline]] static std::int32_t
    other_result(uapi::IoOp op, std::uint64_t length, std::int32_t done, bool short_reads) noexcept
    {
        return commit_result(op, length, done, short_reads);
    }

    // Commits the backend's answer, once a read's payload is with the driver.
    void finish(const Io& io, Tag& tag, std::int32_t done, bool copying) noexcept
    {
        std::int32_t result = done;
        if (!is_whole(io, done)) [[unlikely]]
            result = other_result(io.op, io.length(), done, short_reads(io));
        if constexpr (zoned)
            if (io.op == uapi::IoOp::zone_append)
                appended_[io.tag] = io.start_sector;
        const bool reads = io.op == uapi::IoOp::read || (zoned && io.op == uapi::IoOp::report_zones);
        if (copying && reads && result > 0) [[unlikely]] {
            const auto payload = io.data.first(static_cast<std::size_t>(result));
            if (const std::int32_t res = driver_.deliver(io.tag, payload); res < 0) [[unlikely]]
                result = commit_result(io, res);
        }
        if constexpr (protects) {
            if (reads && result > 0 && io.flags.has(uapi::IoFlag::integrity))
                if (const std::int32_t res = driver_.deliver_metadata(io.tag, io.metadata(integrity_));
                    res < 0)
                    result = commit_result(io, res);
        }
        answer(io, tag, result);
    }

    void answer(const Io& io, Tag& tag, std::int32_t result) noexcept
    {
        if (result < 0) [[unlikely]]
            ++end_.errors;
        observer_.answered(io, result);
        commit(io.tag, tag, result);
    }

    void commit(std::uint16_t number, Tag& tag, std::int32_t result) noexcept
    {
        observer_.sent(number, TagEvent::commit, result);
        if constexpr (zoned) {
            driver_.commit_append(number, result, appended_[number]);
        } else {
            driver_.commit(number, result);
        }
        move<TagState::owned, TagEvent::commit>(tag);
        tag.sent = TagEvent::commit;
        tag.refusals = 0;
        tag.result = result;
    }

    // A write that the driver could not copy comes again, perhaps to another tag: then into the buffer.
    void ask_for_data(std::uint16_t number, Tag& tag) noexcept
    {
        const bool again = tag.sent == TagEvent::get_data;
        if (again && tag.refusals == most_refusals) [[unlikely]]
            return refused(number, tag, -EFAULT);
        move<TagState::armed, TagEvent::request>(tag);
        tag.refusals = static_cast<std::uint16_t>(again ? tag.refusals + 1 : 0);
        if constexpr (may_place) {
            if (placing_) {
                places_[number] =
                    again ? driver_.buffer(number) : place(request(number, driver_.descriptor(number)));
                driver_.place(number, places_[number].data());
            }
        }
        get_data(number, tag);
    }

    void get_data(std::uint16_t number, Tag& tag) noexcept
    {
        move<TagState::owned, TagEvent::get_data>(tag);
        tag.sent = TagEvent::get_data;
        observer_.sent(number, TagEvent::get_data, 0);
        driver_.get_data(number);
    }

    // A refused COMMIT or NEED_GET_DATA leaves the request with us: nobody else will finish it, so it is sent
    // again if that can help, and otherwise the queue ends loudly.
    void refused(std::uint16_t number, Tag& tag, std::int32_t res) noexcept
    {
        if (tag.sent == TagEvent::fetch) {
            move<TagState::armed, TagEvent::abort>(tag);
            fail(res < 0 ? -res : EPROTO, number);
            return;
        }
        move<TagState::armed, TagEvent::refuse>(tag);
        const bool passing = res == -EAGAIN || res == -EINTR || res == -ENOMEM;
        const auto refusals = static_cast<std::uint16_t>(tag.refusals + 1);
        if (passing && refusals <= most_refusals) {
            if (tag.sent == TagEvent::get_data)
                get_data(number, tag);
            else
                commit(number, tag, tag.result);
            tag.refusals = refusals;
            return;
        }
        fail(res < 0 ? -res : EPROTO, number);
        end_.stuck = true;
    }

    // The only way that a state changes: along a row of the table.
    template <TagState from, TagEvent event>
    void move(Tag& tag) noexcept
    {
        constexpr TagState next = state_after<from, event>;
        UBLK_ASSERT(tag.state == from, "tag {}: {} while {}", &tag - tags_.data(), to_string(event),
                    to_string(tag.state));
        if constexpr (from == TagState::idle)
            ++busy_;
        if constexpr (next == TagState::idle)
            --busy_;
        tag.state = next;
    }

    void fail(int code, std::optional<std::uint16_t> tag) noexcept
    {
        if (end_.code == 0) {
            end_.code = code;
            end_.tag = tag;
        }
    }

    Driver& driver_;
    B& backend_;
    [[no_unique_address]] Observer observer_;
    std::vector<Tag> tags_;
    std::vector<std::uint64_t> appended_;      // of zones: the sector that the tag's ZONE_APPEND went to
    std::vector<Io> ios_;                      // of an asynchronous backend
    std::vector<std::span<std::byte>> places_; // of writes that were asked for, if the driver takes any
    unsigned busy_ = 0;                        // tags that are not idle
    unsigned in_flight_ = 0;                   // tags whose RingOp is
    std::uint16_t queue_;
    bool placing_ = false;
    QueueEnd end_;
    Integrity integrity_; // of a backend that serves it
};

} // namespace ublk::engine
