// The loop of one queue: fetches every tag, hands requests to the backend, commits the answers, and ends when
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
#include <vector>

namespace ublk::engine {

// One queue of a ublk device. fetch() and commit() prepare a command, submit() sends what is prepared,
// wait() sends it and returns when at least one completion is there. drain(f) calls f(tag, result) for each
// completion that is there. submit() and wait() return 0 or more, or -errno.
//
// How payload travels is the driver's affair: get_data() prepares the command that a completion with
// io_res_need_get_data asks for; bring() makes the payload of a write be in the tag's buffer, deliver() gives
// the driver that of a read; both return 0 or -errno. short_reads(): see commit_result. Backends of
// zones need commit_append(tag, result, sector) as well: commit() for a ZONE_APPEND, written at `sector`.
template <typename D>
concept QueueDriver = requires(D& driver, std::uint16_t tag, std::int32_t result,
                               void (*on_completion)(std::uint16_t, std::int32_t)) {
    { driver.depth() } noexcept -> std::same_as<std::uint16_t>;
    { driver.fetch(tag) } noexcept;
    { driver.commit(tag, result) } noexcept;
    { driver.get_data(tag) } noexcept;
    { driver.bring(tag, std::span<std::byte>()) } noexcept -> std::same_as<std::int32_t>;
    { driver.deliver(tag, std::span<const std::byte>()) } noexcept -> std::same_as<std::int32_t>;
    { driver.short_reads() } noexcept -> std::same_as<bool>;
    { driver.submit() } noexcept -> std::same_as<int>;
    { driver.wait() } noexcept -> std::same_as<int>;
    driver.drain(on_completion);
    { driver.descriptor(tag) } noexcept -> std::same_as<uapi::IoDesc>;
    { driver.buffer(tag) } noexcept -> std::same_as<std::span<std::byte>>;
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
    }

    // Fetches every tag. Returns 0, or the positive errno of the first FETCH that was refused at once; then
    // the device cannot be started, but run() must still be called once it is being stopped.
    int arm() noexcept
    {
        for (std::uint16_t tag = 0; tag < driver_.depth(); ++tag) {
            move(tag, TagEvent::fetch);
            observer_.sent(tag, TagEvent::fetch, 0);
            driver_.fetch(tag);
        }
        if (const int res = driver_.submit(); res < 0)
            fail(-res, std::nullopt);
        observer_.entered();
        take_completions();
        return end_.code;
    }

    // Serves until no tag is left with the driver. Goes on entering the ring for as long as one is: with
    // DEFER_TASKRUN an abort is delivered only to a task that enters.
    QueueEnd run() noexcept
    {
        while (armed_ > 0 && !end_.stuck) {
            const int res = driver_.wait();
            observer_.entered();
            if (res < 0 && res != -EINTR && res != -EAGAIN && res != -EBUSY) {
                fail(-res, std::nullopt);
                end_.stuck = true;
                break;
            }
            take_completions();
        }
        end_.report = observer_.report();
        return end_;
    }

  private:
    struct Tag {
        TagState state = TagState::idle;
        TagEvent sent = TagEvent::fetch; // the command in flight
        std::uint16_t refusals = 0;      // of the same command, in a row
        std::int32_t result = 0;         // what was last committed
    };
    static constexpr std::uint16_t most_refusals = 1000;
    static constexpr bool zoned = ServesZones<B>;

    void take_completions() noexcept
    {
        driver_.drain([this](std::uint16_t tag, std::int32_t res) noexcept {
            observer_.completed(tag, res);
            if (observer_.sound())
                complete(tag, res);
        });
        observer_.drained();
        if (!observer_.sound()) {
            fail(EPROTO, std::nullopt);
            end_.stuck = true;
        }
    }

    void complete(std::uint16_t tag, std::int32_t res) noexcept
    {
        UBLK_ASSERT(tag < tags_.size(), "tag {} of {}", tag, tags_.size());
        if (tag >= tags_.size() || tags_[tag].state != TagState::armed) {
            UBLK_ASSERT(tag >= tags_.size(), "completion {} for tag {}, which is {}", res, tag,
                        to_string(tags_[tag].state));
            fail(EPROTO, tag);
            return;
        }
        if (res == uapi::io_res_ok)
            serve(tag);
        else if (res == uapi::io_res_need_get_data && tags_[tag].sent != TagEvent::get_data)
            ask_for_data(tag);
        else if (res == uapi::io_res_abort)
            move(tag, TagEvent::abort);
        else
            refused(tag, res);
    }

    void serve(std::uint16_t tag) noexcept
    {
        move(tag, TagEvent::request);
        tags_[tag].refusals = 0;
        ++end_.requests;
        const uapi::IoDesc desc = driver_.descriptor(tag);
        Io io{static_cast<uapi::IoOp>(desc.op()),
              desc.flags(),
              desc.start_sector,
              desc.nr_sectors,
              {},
              tag,
              queue_};
        observer_.request(io, desc, driver_.buffer(tag));
        if (!observer_.sound())
            return;
        const std::int32_t result = answer(io);
        end_.errors += result < 0 ? 1U : 0U;
        observer_.answered(io, result);
        commit(tag, result);
    }

    void ask_for_data(std::uint16_t tag) noexcept
    {
        move(tag, TagEvent::request);
        tags_[tag].refusals = 0;
        get_data(tag);
    }

    void get_data(std::uint16_t tag) noexcept
    {
        move(tag, TagEvent::get_data);
        tags_[tag].sent = TagEvent::get_data;
        observer_.sent(tag, TagEvent::get_data, 0);
        driver_.get_data(tag);
    }

    std::int32_t answer(Io& io) noexcept
    {
        if constexpr (zoned)
            appended_[io.tag].reset();
        if (carries_data(io.op) || (zoned && carries_zone_data(io.op))) {
            const std::span<std::byte> buffer = driver_.buffer(io.tag);
            const std::uint64_t length = payload_bytes(io.op, io.nr_sectors);
            if (length > buffer.size())
                return -EIO;
            io.data = buffer.first(static_cast<std::size_t>(length));
        }
        const bool append = zoned && io.op == uapi::IoOp::zone_append;
        if (io.op == uapi::IoOp::write || append)
            if (const std::int32_t res = driver_.bring(io.tag, io.data); res < 0)
                return commit_result(io, res);
        const std::int32_t result = commit_result(io, backend_.handle(io), driver_.short_reads());
        if constexpr (zoned)
            if (append)
                appended_[io.tag] = io.start_sector;
        const bool report = zoned && io.op == uapi::IoOp::report_zones;
        if ((io.op != uapi::IoOp::read && !report) || result < 0)
            return result;
        const std::int32_t res = driver_.deliver(io.tag, io.data.first(static_cast<std::size_t>(result)));
        return res < 0 ? commit_result(io, res) : result;
    }

    void commit(std::uint16_t tag, std::int32_t result) noexcept
    {
        move(tag, TagEvent::commit);
        tags_[tag].sent = TagEvent::commit;
        tags_[tag].result = result;
        observer_.sent(tag, TagEvent::commit, result);
        if constexpr (zoned) {
            if (const auto sector = appended_[tag]) {
                driver_.commit_append(tag, result, *sector);
                return;
            }
        }
        driver_.commit(tag, result);
    }

    // A refused COMMIT or NEED_GET_DATA leaves the request with us: nobody else will finish it, so it is sent
    // again if that can help, and otherwise the queue ends loudly.
    void refused(std::uint16_t tag, std::int32_t res) noexcept
    {
        Tag& state = tags_[tag];
        if (state.sent == TagEvent::fetch) {
            move(tag, TagEvent::abort);
            fail(res < 0 ? -res : EPROTO, tag);
            return;
        }
        move(tag, TagEvent::refuse);
        const bool passing = res == -EAGAIN || res == -EINTR || res == -ENOMEM;
        if (passing && ++state.refusals <= most_refusals) {
            state.sent == TagEvent::commit ? commit(tag, state.result) : get_data(tag);
            return;
        }
        fail(res < 0 ? -res : EPROTO, tag);
        end_.stuck = true;
    }

    void move(std::uint16_t tag, TagEvent event) noexcept
    {
        Tag& state = tags_[tag];
        const auto next = next_state(state.state, event);
        UBLK_ASSERT(next.has_value(), "tag {}: {} while {}", tag, to_string(event), to_string(state.state));
        if (!next)
            return;
        armed_ -= state.state == TagState::armed ? 1U : 0U;
        armed_ += *next == TagState::armed ? 1U : 0U;
        state.state = *next;
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
    std::vector<std::optional<std::uint64_t>> appended_; // where the tag's ZONE_APPEND went
    unsigned armed_ = 0;
    std::uint16_t queue_;
    QueueEnd end_;
};

} // namespace ublk::engine
