#include "ublk/model/document.hpp"

#include "ublk/model/control_table.hpp"
#include "ublk/model/step.hpp"
#include "ublk/model/tags.hpp"
#include "ublk/model/traits.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace ublk::model {

namespace {

std::string spelled(std::string_view words)
{
    std::string text(words);
    std::ranges::replace(text, '|', '/');
    return text;
}

std::string reply_text(const TagReply& reply)
{
    switch (reply.kind) {
    case TagReply::Kind::pending:
        return "accepted";
    case TagReply::Kind::answers:
        return result_text(reply.value);
    case TagReply::Kind::posts:
        return fmt::format("the command comes back with {}", result_text(reply.value));
    case TagReply::Kind::silent:
        return "";
    case TagReply::Kind::never:
        return "does not happen";
    }
    return "";
}

// One cell: "→ armed, accepted"; several rows are told apart by what decides between them.
std::string cell_text(TagState from, TagEvent event)
{
    std::string text;
    for (const auto& row : tag_table) {
        if (row.from != from || row.event != event)
            continue;
        const auto reply = reply_text(row.reply);
        const std::string next = row.to == from ? "" : fmt::format("→ {}", to_string(row.to));
        text += text.empty() ? "" : "; ";
        if (const auto when = to_string(row.when); !when.empty())
            text += fmt::format("{}: ", when);
        text += next.empty() && reply.empty() ? "stays" : next;
        text += fmt::format("{}{}", !next.empty() && !reply.empty() ? ", " : "", reply);
    }
    return text;
}

std::string tag_section()
{
    std::string text = "## Tags\n\n| state |";
    std::string rule = "\n|---|";
    for (const auto event : tag_events) {
        text += fmt::format(" {} |", to_string(event));
        rule += "---|";
    }
    text += rule + "\n";
    for (const auto state : tag_states) {
        text += fmt::format("| **{}** |", to_string(state));
        for (const auto event : tag_events)
            text += fmt::format(" {} |", cell_text(state, event));
        text += "\n";
    }
    text += "\nThe changes of state alone:\n\n```mermaid\nstateDiagram-v2\n";
    text += fmt::format("    [*] --> {}\n", to_string(TagState::unfetched));
    const auto name = [](TagState state) {
        auto id = std::string(to_string(state));
        std::erase(id, '-');
        return id;
    };
    for (const auto& row : tag_table) {
        if (row.from != row.to)
            text += fmt::format("    {} --> {}: {}{}{}\n", name(row.from), name(row.to), to_string(row.event),
                                to_string(row.when).empty() ? "" : ", ", to_string(row.when));
    }
    return text + "```\n";
}

std::string batch_section()
{
    std::string text =
        "## Tags of devices with BATCH_IO\n\n"
        "PREP_IO_CMDS takes all of its tags or none, COMMIT_IO_CMDS those before the first that it "
        "may not. Requests, cancels\nand releases change tags as above; what comes back is a "
        "FETCH_IO_CMDS of the queue, which brings the tags of requests and goes\non.\n\n| state |";
    std::string rule = "\n|---|";
    for (const auto event : batch_events) {
        text += fmt::format(" {} |", to_string(event));
        rule += "---|";
    }
    text += rule + "\n";
    for (const auto state : batch_states) {
        text += fmt::format("| **{}** |", to_string(state));
        for (const auto event : batch_events) {
            const BatchRow& row = *batch_row(state, event);
            text += row.result != 0 ? fmt::format(" {} |", result_text(row.result))
                                    : fmt::format(" → {} |", to_string(row.to));
        }
        text += "\n";
    }
    return text;
}

std::string reply_text(const ControlReply& reply, Verb verb)
{
    switch (reply.kind) {
    case ControlReply::Kind::answers:
        return result_text(reply.value);
    case ControlReply::Kind::unless_open:
        return fmt::format("0, or {} while ublkbN is open", result_text(reply.value));
    case ControlReply::Kind::if_closed:
        return fmt::format("0, or {} while ublkcN is open", result_text(reply.value));
    case ControlReply::Kind::does:
        break;
    }
    return verb == Verb::del ? "0, after the last close" : "0";
}

std::string control_section()
{
    std::string text = "## Commands\n\n| command | first |";
    std::string rule = "\n|---|---|";
    for (const auto each : phases) {
        text += fmt::format(" {} |", to_string(each));
        rule += "---|";
    }
    text += rule + "\n";
    for (const auto& row : control_table) {
        std::string first;
        if (row.waits)
            first = "waits until all tags are fetched, or STOP_DEV comes; another pid is -EINVAL";
        if (!row.since.empty())
            first =
                fmt::format("kernels without {}: {}", uapi::to_string(row.since), result_text(-EOPNOTSUPP));
        if (!row.needs.empty())
            first += fmt::format("{}without {} {}", first.empty() ? "" : "; ",
                                 spelled(uapi::to_string(row.needs)), result_text(row.without));
        text += fmt::format("| `{}` | {} |", to_string(row.verb), first);
        for (const auto& reply : row.replies)
            text += fmt::format(" {} |", reply_text(reply, row.verb));
        text += "\n";
    }
    return text;
}

std::string sender_section()
{
    const auto kernel = traits_of(reference_version);
    const auto cell = [&](const Command& command, Features device) {
        const auto error = not_permitted(command, device, kernel);
        return fmt::format(" {} |", error == 0 ? "permitted" : result_text(error));
    };
    std::string text = "## Who may send them\n\n"
                       "Unprivileged devices are those that an ordinary user adds with UNPRIVILEGED_DEV; the "
                       "node belongs to\nthat user.\n\n"
                       "| sender | other devices | unprivileged device | ... with no path | ... with another "
                       "node's | `del_async` | open ublkbN | ... after a `try_stop` that worked "
                       "|\n|---|---|---|---|---|---|---|---|\n";
    for (const auto sender : senders) {
        Command command{.verb = Verb::stop, .sender = sender};
        text += fmt::format("| {} |", to_string(sender));
        text += cell(command, {});
        for (const auto path : {Given::good, Given::zero, Given::wrong}) {
            command.path = path;
            text += cell(command, Feature::unprivileged_dev);
        }
        text += cell({.verb = Verb::del_async, .sender = sender}, Feature::unprivileged_dev);
        for (const bool tried : {false, true}) {
            const auto error = disk_open_error(Feature::unprivileged_dev, tried, sender);
            text += fmt::format(" {} |", error == 0 ? "permitted" : result_text(error));
        }
        text += '\n';
    }
    text += "\n| ADD_DEV of | asks for | has, if it is not refused |\n|---|---|---|\n";
    using enum Feature;
    for (const auto& [sender, asked] : {
             std::pair{Sender::root, Features(unprivileged_dev)},
             {Sender::owner, Features(user_recovery)},
             {Sender::owner, unprivileged_dev | user_recovery | user_recovery_reissue},
             {Sender::owner, unprivileged_dev | user_recovery | user_recovery_fail_io | quiesce},
             {Sender::owner, unprivileged_dev | user_copy},
             {Sender::owner, unprivileged_dev | support_zero_copy},
             {Sender::owner, unprivileged_dev | auto_buf_reg},
         }) {
        const auto error = flags_error(asked, sender, kernel);
        const auto kept = granted(asked, kernel, sender) & asked;
        text += fmt::format("| {} | {} | {} |\n", to_string(sender), spelled(uapi::to_string(asked)),
                            error != 0 ? result_text(error) : spelled(uapi::to_string(kept)));
    }
    return text;
}

std::string trait_section()
{
    std::string text =
        "## Older kernels\n\n| kernels | requirement | what they do otherwise |\n|---|---|---|\n";
    for (const auto& row : trait_table()) {
        std::string kernels;
        for (const auto& range : row.kernels) {
            if (range.before != KernelVersion{})
                kernels += fmt::format("{}{} to before {}", kernels.empty() ? "" : ", ",
                                       uapi::to_string(range.from), uapi::to_string(range.before));
        }
        text += fmt::format("| {} | {} | {} |\n", kernels, row.requirement, row.what);
    }
    return text;
}

} // namespace

std::string document()
{
    return fmt::format("# What the driver has to do\n\n"
                       "This page is printed from the tables that the model steps by (`make model-page`); a "
                       "test holds the two "
                       "equal. It\nis Linux {}; what older kernels do otherwise is at the end. `ublkcheck "
                       "lockstep` holds the "
                       "model against kernels.\n\n{}\n{}\n{}\n{}\n{}\n{}",
                       uapi::to_string(reference_version), tag_section(), batch_section(), control_section(),
                       payload_section(), sender_section(), trait_section());
}

} // namespace ublk::model
