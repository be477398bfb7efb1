// What becomes of requests, as the model answers when it is asked: each row is a device of its own.
#include "ublk/model/document.hpp"
#include "ublk/model/step.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace ublk::model {

namespace {

constexpr std::array results{Given::good, Given::half, Given::zero, Given::wrong};

// A device of one tag, from ADD_DEV to what a server does with its first request.
class Walk {
  public:
    Walk(Features flags, Blocks blocks)
    {
        go({.verb = Verb::add, .dev = uapi::no_dev_id, .depth = 1, .flags = flags});
        go({.verb = Verb::set_params, .blocks = blocks, .value = 8 * zone_sectors});
        go({.verb = Verb::open});
        go({.verb = Verb::fetch});
        if (flags.has(Feature::shmem_zc))
            go({.verb = Verb::reg_buf, .value = 0});
        go({.verb = Verb::start});
        awaited_ = last_;
    }
    // An application's page, which the server gets.
    Walk& request(Verb verb, std::uint8_t page = 0)
    {
        go({.verb = verb, .page = page});
        awaited_ = last_;
        return deliver();
    }
    Walk& deliver()
    {
        go({.verb = Verb::deliver, .value = state_.devices[0].requests.at(0).app});
        return *this;
    }
    Answer go(const Command& command)
    {
        auto outcome = step(state_, command, {kernel_, ++last_});
        state_ = std::move(outcome.state);
        for (const auto& effect : outcome.expected.effects) {
            if (effect.token == awaited_)
                end_ = effect.answer;
        }
        return outcome.expected.answer;
    }
    // What the application, or START_DEV, is told after that COMMIT.
    std::string end(Given result)
    {
        go({.verb = Verb::commit, .result = result});
        if (!end_.is_pending())
            return to_string(end_);
        const auto& requests = state_.devices[0].requests;
        const bool more = !requests.empty() && (requests[0].done != 0 || requests[0].zone != 0);
        return more ? "the rest comes again" : "it comes again";
    }

  private:
    KernelTraits kernel_ = traits_of(reference_version);
    State state_;
    Token last_ = 0, awaited_ = 0;
    Answer end_;
};

struct Kind {
    std::string_view what;
    Features flags;
    Blocks blocks;
    std::uint8_t page;
};

std::string result_table()
{
    using enum Feature;
    std::string text =
        fmt::format("| request of {} bytes | result {} | {} | 0 | -EIO |\n|---|---|---|---|---|\n",
                    request_bytes, request_bytes, request_bytes / 2);
    for (const auto& kind : {Kind{"payload copied by the driver", {}, Blocks::basic, 0},
                             Kind{"payload moved by the server", user_copy, Blocks::basic, 0},
                             Kind{"payload in registered memory", shmem_zc, Blocks::basic, 1}}) {
        for (const auto verb : {Verb::read, Verb::write}) {
            text += fmt::format("| {}, {} |", to_string(verb), kind.what);
            for (const auto result : results)
                text +=
                    fmt::format(" {} |", Walk(kind.flags, kind.blocks).request(verb, kind.page).end(result));
            text += '\n';
        }
    }
    return text;
}

std::string copy_table()
{
    using enum Feature;
    std::string text = "| with USER_COPY | pread | pwrite | pread of metadata | pwrite of metadata |\n"
                       "|---|---|---|---|---|\n";
    const auto row = [&](std::string_view what, const auto& walk) {
        text += fmt::format("| {} |", what);
        for (const bool metadata : {false, true}) {
            for (const auto verb : {Verb::copy_out, Verb::copy_in})
                text += fmt::format(" {} |", to_string(walk().go({.verb = verb, .metadata = metadata})));
        }
        text += '\n';
    };
    for (const auto& kind : {Kind{"a device with metadata", integrity | user_copy, Blocks::integrity, 0},
                             Kind{"INTEGRITY without metadata", integrity | user_copy, Blocks::basic, 0},
                             Kind{"a device without INTEGRITY", user_copy, Blocks::basic, 0}}) {
        for (const auto verb : {Verb::read, Verb::write})
            row(fmt::format("{}, {}", to_string(verb), kind.what),
                [&] { return Walk(kind.flags, kind.blocks).request(verb); });
    }
    row("a report of 8 zones", [] { return Walk(zoned | user_copy, Blocks::zoned).deliver(); });
    return text;
}

std::string zone_table()
{
    std::string text = "| zones given | committed with | START_DEV |\n|---|---|---|\n";
    for (const auto& [what, zones] : {std::pair<std::string_view, std::optional<Given>>{"all", Given::good},
                                      {"the first half", Given::half},
                                      {"none", {}}}) {
        for (const auto result : {Given::good, Given::zero, Given::wrong}) {
            Walk walk(Feature::zoned | Feature::user_copy, Blocks::zoned);
            walk.deliver();
            if (zones)
                walk.go({.verb = Verb::copy_in, .given = *zones});
            text += fmt::format("| {} | {} | {} |\n", what,
                                result == Given::good   ? "more bytes than they take"
                                : result == Given::zero ? "0"
                                                        : "-EIO",
                                walk.end(result));
        }
    }
    return text;
}

} // namespace

std::string payload_section()
{
    return fmt::format(
        "## Requests\n\nWhat an application is told after the server's COMMIT:\n\n{}\n"
        "What a server gets that moves the payload itself, a page asked for:\n\n{}\n"
        "START_DEV of a zoned disk asks its server for the zones, and goes on when it has all:\n\n{}",
        result_table(), copy_table(), zone_table());
}

} // namespace ublk::model
