// Commands, answers and states as text, and commands back.
#include "ublk/model/step.hpp"

#include "ublk/uapi/names.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>
#include <optional>

namespace ublk::model {

namespace {

struct VerbText {
    std::string_view name;
    std::string_view keys; // that it takes, in order
};
// What is written only where it is not as usual.
std::string_view rare_keys(Verb verb)
{
    return verb == Verb::add                           ? "sender bare"
           : verb == Verb::set_params                  ? "blocks sender path bare"
           : is_control(verb)                          ? "sender path bare"
           : verb == Verb::open_block                  ? "sender"
           : verb == Verb::read || verb == Verb::write ? "page"
           : verb == Verb::copy_out                    ? "metadata"
           : verb == Verb::copy_in                     ? "given metadata"
           : is_batch(verb)                            ? ""
           : is_io(verb)                               ? "bare"
                                                       : "";
}

constexpr std::array<VerbText, static_cast<std::size_t>(last_verb) + 1> verbs{{
    {"add", "dev queues depth flags"},
    {"del", "dev"},
    {"del_async", "dev"},
    {"get_info", "dev"},
    {"get_params", "dev"},
    {"set_params", "dev given value"},
    {"start", "dev given"},
    {"stop", "dev"},
    {"try_stop", "dev"},
    {"start_recovery", "dev"},
    {"end_recovery", "dev given"},
    {"update_size", "dev value"},
    {"quiesce", "dev"},
    {"reg_buf", "dev given value"},
    {"unreg_buf", "dev value"},
    {"open", "dev"},
    {"fetch", "dev queue tag task given"},
    {"commit", "dev queue tag task given result"},
    {"get_data", "dev queue tag task given"},
    {"register_buffer", "dev queue tag task value"},
    {"unregister_buffer", "dev task value"},
    {"unknown_io", "dev queue tag task"},
    {"prep_tags", "dev queue tags task given"},
    {"commit_tags", "dev queue tags task given result"},
    {"fetch_tags", "dev queue task"},
    {"copy_out", "dev queue tag task"},
    {"copy_in", "dev queue tag task"},
    {"end_task", "dev task"},
    {"kill", "dev"},
    {"interrupt", "dev"},
    {"read", "dev queue"},
    {"write", "dev queue"},
    {"time_out", "dev queue"},
    {"open_block", "dev"},
    {"close_block", "dev"},
    {"deliver", "dev queue tag value"},
}};
constexpr std::string_view together = "& "; // before a command
constexpr std::array<std::string_view, 4> givens{"good", "wrong", "zero", "half"};
constexpr std::array<std::string_view, senders.size()> sender_names{"root", "owner", "stranger"};
constexpr std::array<std::string_view, 2> no_yes{"no", "yes"};
constexpr std::array<std::string_view, blocks_count> blocks_names{
    "basic",   "no_basic",    "devt",      "discard",       "bad_discard", "dma_align", "bad_dma_align",
    "segment", "bad_segment", "integrity", "bad_integrity", "zoned",       "bad_zoned"};

const VerbText& text_of(Verb verb)
{
    return verbs[static_cast<std::size_t>(verb)];
}

std::string value_text(const Command& c, std::string_view key)
{
    if (key == "dev")
        return c.dev == uapi::no_dev_id ? "any" : std::to_string(c.dev);
    if (key == "queue")
        return std::to_string(c.queue);
    if (key == "tag")
        return std::to_string(c.tag);
    if (key == "task")
        return std::to_string(c.task);
    if (key == "tags")
        return c.tags.empty() ? "none" : fmt::format("{}", fmt::join(c.tags, ","));
    if (key == "queues")
        return std::to_string(c.queues);
    if (key == "depth")
        return std::to_string(c.depth);
    if (key == "value")
        return std::to_string(c.value);
    if (key == "flags")
        return uapi::to_string(c.flags);
    if (key == "sender")
        return std::string(to_string(c.sender));
    if (key == "path")
        return std::string(to_string(c.path));
    if (key == "bare")
        return std::string(no_yes[c.bare ? 1 : 0]);
    if (key == "blocks")
        return std::string(to_string(c.blocks));
    if (key == "metadata")
        return std::string(no_yes[c.metadata ? 1 : 0]);
    if (key == "page")
        return std::to_string(c.page);
    return std::string(to_string(key == "given" ? c.given : c.result));
}

template <typename T>
bool read_number(std::string_view text, T& value)
{
    const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), value);
    return err == std::errc{} && end == text.data() + text.size();
}

template <typename T, std::size_t count>
bool read_name(std::string_view text, const std::array<std::string_view, count>& names, T& value)
{
    const auto found = std::ranges::find(names, text);
    if (found == names.end())
        return false;
    value = static_cast<T>(found - names.begin());
    return true;
}

bool read_flags(std::string_view text, Features& flags)
{
    flags = {};
    while (text != "none" && !text.empty()) {
        const auto word = text.substr(0, text.find('|'));
        const auto feature = uapi::feature_by_name(word);
        if (!feature)
            return false;
        flags |= *feature;
        text.remove_prefix(std::min(text.size(), word.size() + 1));
    }
    return true;
}

bool read_tags(std::string_view text, std::vector<std::uint16_t>& tags)
{
    tags.clear();
    while (text != "none" && !text.empty()) {
        const auto word = text.substr(0, text.find(','));
        if (!read_number(word, tags.emplace_back()))
            return false;
        text.remove_prefix(std::min(text.size(), word.size() + 1));
    }
    return true;
}

bool read_value(std::string_view key, std::string_view text, Command& c)
{
    if (key == "dev" && text == "any") {
        c.dev = uapi::no_dev_id;
        return true;
    }
    return key == "dev"        ? read_number(text, c.dev)
           : key == "queue"    ? read_number(text, c.queue)
           : key == "tag"      ? read_number(text, c.tag)
           : key == "tags"     ? read_tags(text, c.tags)
           : key == "task"     ? read_number(text, c.task) && c.task < 2
           : key == "queues"   ? read_number(text, c.queues)
           : key == "depth"    ? read_number(text, c.depth)
           : key == "value"    ? read_number(text, c.value)
           : key == "flags"    ? read_flags(text, c.flags)
           : key == "given"    ? read_name(text, givens, c.given)
           : key == "sender"   ? read_name(text, sender_names, c.sender)
           : key == "path"     ? read_name(text, givens, c.path)
           : key == "bare"     ? read_name(text, no_yes, c.bare)
           : key == "blocks"   ? read_name(text, blocks_names, c.blocks)
           : key == "metadata" ? read_name(text, no_yes, c.metadata)
           : key == "page"     ? read_number(text, c.page) && c.page <= memory_pages
                               : read_name(text, givens, c.result);
}

std::vector<std::string_view> words_of(std::string_view line)
{
    std::vector<std::string_view> words;
    while (!line.empty()) {
        const auto end = std::min(line.find(' '), line.size());
        if (end != 0)
            words.push_back(line.substr(0, end));
        line.remove_prefix(std::min(line.size(), end + 1));
    }
    return words;
}

} // namespace

std::string_view to_string(Verb verb)
{
    return text_of(verb).name;
}

std::string_view to_string(Given given)
{
    return givens[static_cast<std::size_t>(given)];
}

std::string_view to_string(Blocks blocks)
{
    return blocks_names[static_cast<std::size_t>(blocks)];
}

std::string_view to_string(Sender sender)
{
    return sender_names[static_cast<std::size_t>(sender)];
}

std::string to_string(const Command& command)
{
    std::string text = fmt::format("{}{}", command.together ? together : "", to_string(command.verb));
    for (const auto key : words_of(text_of(command.verb).keys))
        text += fmt::format(" {}={}", key, value_text(command, key));
    for (const auto key : words_of(rare_keys(command.verb))) {
        const auto value = value_text(command, key);
        if (value != value_text(Command{}, key))
            text += fmt::format(" {}={}", key, value);
    }
    return text;
}

std::expected<Command, std::string> parse_command(std::string_view line)
{
    Command command{.together = line.starts_with(together)};
    const auto words = words_of(line.substr(command.together ? together.size() : 0));
    const std::string_view name = words.empty() ? "" : words.front();
    std::optional<std::string_view> keys;
    for (std::size_t i = 0; i < verbs.size(); ++i) {
        if (verbs[i].name == name) {
            command.verb = static_cast<Verb>(i);
            keys = verbs[i].keys;
        }
    }
    if (!keys)
        return std::unexpected(fmt::format("'{}' is no command", name));
    auto known = words_of(*keys);
    std::ranges::copy(words_of(rare_keys(command.verb)), std::back_inserter(known));
    for (std::size_t i = 1; i < words.size(); ++i) {
        const auto cut = words[i].find('=');
        const auto key = words[i].substr(0, cut);
        if (cut == std::string_view::npos || std::ranges::find(known, key) == known.end())
            return std::unexpected(fmt::format("'{}': {} takes {}", words[i], name, fmt::join(known, ", ")));
        if (!read_value(key, words[i].substr(cut + 1), command))
            return std::unexpected(fmt::format("'{}' has no value that {} takes", words[i], name));
    }
    if (command.verb == Verb::reg_buf && command.value >= areas.size())
        return std::unexpected(fmt::format("'{}': there are {} areas of memory", line, areas.size()));
    if (command.tags.size() > most_tags)
        return std::unexpected(fmt::format("'{}': a command has {} tags at most", line, most_tags));
    return command;
}

std::string result_text(std::int32_t result)
{
    const char* name = result < 0 && result > -4096 ? ::strerrorname_np(-result) : nullptr;
    return name != nullptr ? fmt::format("-{}", name) : std::to_string(result);
}

std::string to_string(const Answer& answer)
{
    if (answer.is_pending())
        return "stays pending";
    std::string text;
    for (const auto result : answer.allowed())
        text += fmt::format("{}{}", text.empty() ? "" : " or ", result_text(result));
    return text;
}

std::string to_string(const InfoView& view)
{
    return fmt::format("{}, {}, {} queues of {}, {}", uapi::to_string(view.state),
                       view.server == 0 ? "pid -1" : fmt::format("the pid of server {}", view.server),
                       view.queues, view.depth, uapi::to_string(view.flags));
}

std::string to_string(const State& state)
{
    std::string text;
    for (const auto& d : state.devices) {
        text += fmt::format("device {}: {}{}{}{}{}{}, server {}, ublkbN open {} times, flags {}\n", d.id,
                            uapi::to_string(d.state), d.disk ? ", disk" : "", d.deleted ? ", deleted" : "",
                            d.stopping ? ", stopping" : "", d.try_stopped ? ", marked against openers" : "",
                            d.has_params ? "" : ", no parameters", d.server, d.block_opens,
                            uapi::to_string(d.flags));
        for (std::size_t index = 0; index < d.memory.size(); ++index) {
            if (d.memory[index])
                text += fmt::format("  area {} is registered as {}\n", *d.memory[index], index);
        }
        for (std::size_t q = 0; q < d.queues.size(); ++q) {
            text += fmt::format("  queue {}{}{}:", q, d.queues[q].canceling ? ", canceling" : "",
                                d.queues[q].fail_io  ? ", failing"
                                : d.queues[q].aborts ? ", aborting"
                                                     : "");
            for (const auto& tag : d.queues[q].tags)
                text += fmt::format(" {}({})", to_string(tag.state), tag.task);
            for (const auto& fetch : d.queues[q].fetches)
                text += fmt::format(" fetch_tags({})", fetch.task);
            text += '\n';
        }
        for (const auto& r : d.requests)
            text += fmt::format("  {} of queue {}{}\n",
                                r.report  ? "report"
                                : r.write ? "write"
                                          : "read",
                                r.queue,
                                r.delivered ? ", with the server"
                                : r.queued  ? ", with a tag"
                                : r.parked  ? ", parked"
                                            : ", waiting");
    }
    for (const auto& w : state.waiting)
        text += fmt::format("waiting: {}\n", to_string(w.command));
    return text;
}

} // namespace ublk::model
