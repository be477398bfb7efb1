// Holds a queue against the rules, from outside of the loop that serves it: every command and completion
// against the tag table, every descriptor against the device's parameters, every answer against its request.
#pragma once

#include "ublk/engine/observer.hpp"
#include "ublk/uapi/features.hpp"
#include "ublk/uapi/params.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ublk::engine {

enum class Violation : std::uint8_t {
    no_such_tag,         // a completion or command names a tag that the queue does not have
    stray_completion,    // of a tag that has no command with the driver
    unknown_result,      // a completion that is neither a request, nor an abort, nor an errno
    command_out_of_turn, // we send what the tag's state does not allow
    unknown_operation,
    not_announced, // an operation or flag that the parameters do not offer
    read_only,     // changes a device that refuses writes
    no_sectors,
    misaligned,     // begins or ends inside a logical block
    beyond_end,     // of the device
    too_long,       // longer than the parameters allow
    no_room,        // longer than the tag's buffer
    outside_shared, // its place in shared memory is not, or not wholly, in what was registered
    foreign_addr,   // the driver copies elsewhere than to the tag's buffer
    bad_answer,     // a result that the driver would misunderstand
    other_result,   // what is committed is not what was answered
};
std::string_view to_string(Violation violation); // "stray completion", …

// After the first violation it is unsound: the queue ends before the backend sees what is wrong, and the
// error of the device tells of the violation and of what happened to the tag before. Sizes are as SET_PARAMS
// gave them, and that of the disk as UPDATE_SIZE made it. Costs some dozens of instructions for each request.
class Paranoid : public Unobserved {
  public:
    // `features` are the device's. `sectors_now` tells the size of its disk; without it that does not change.
    // It is called when a request ends behind the size that was last known, and must not wait for the driver.
    Paranoid(std::uint16_t depth, const uapi::Params& params, uapi::Features features = {},
             std::function<std::uint64_t()> sectors_now = {})
        : params_(params), features_(features), sectors_now_(std::move(sectors_now)), tags_(depth)
    {
    }

    void sent(std::uint16_t tag, TagEvent event, std::int32_t result) noexcept;
    void completed(std::uint16_t tag, std::int32_t result) noexcept;
    void request(const Io& io, const uapi::IoDesc& desc, std::span<std::byte> buffer) noexcept;
    void answered(const Io& io, std::int32_t result) noexcept;
    bool sound() const noexcept { return !violation_.has_value(); }
    // "beyond end: WRITE of 8 sectors at 96, tag 3; before: fetch, …"; empty while it is sound.
    std::string report() const;

    std::optional<Violation> violation() const { return violation_; } // the first

  private:
    // What happened to a tag.
    struct Entry {
        enum class Kind : std::uint8_t { none, command, completion, request } kind = Kind::none;
        TagEvent event = TagEvent::fetch; // of a command
        std::int32_t result = 0;
        uapi::IoDesc desc; // of a request
    };
    static std::string text(const Entry& entry);

    struct Tag {
        TagState state = TagState::idle;
        TagEvent sent = TagEvent::fetch;
        std::optional<std::int32_t> answer;
        std::array<Entry, 8> history; // a ring
        std::uint8_t next = 0;

        void note(const Entry& entry) noexcept
        {
            history[next] = entry;
            next = static_cast<std::uint8_t>((next + 1U) % history.size());
        }
    };

    std::optional<Violation> step(Tag& tag, std::int32_t result) noexcept;
    std::optional<Violation> check(const uapi::IoDesc& desc, std::span<std::byte> buffer) noexcept;
    std::optional<Violation> check_offered(const uapi::IoDesc& desc) const noexcept;
    std::optional<Violation> check_range(const uapi::IoDesc& desc) noexcept;
    bool ends_behind(const uapi::IoDesc& desc) const noexcept;
    std::uint64_t most_sectors(uapi::IoOp op) const noexcept;
    void violated(Violation violation, std::uint16_t tag, const Entry& entry) noexcept;

    uapi::Params params_;
    uapi::Features features_;
    std::function<std::uint64_t()> sectors_now_;
    std::vector<Tag> tags_;
    std::optional<Violation> violation_;
    std::uint16_t culprit_ = 0; // its tag, which may not exist
    Entry deed_;
};

} // namespace ublk::engine
