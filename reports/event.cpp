#include "reports/event.hpp"

#include "reports/codec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace reports {
namespace {

using codec::Json;
using codec::Members;

Json named(const char* event)
{
    Json json = Json::object();
    json["event"] = event;
    return json;
}

Json to_json(const RunStarted& event)
{
    Json json = named("run_started");
    json["schema"] = schema_version;
    json["started"] = event.started;
    json["command"] = event.command;
    json["machine"] = event.machine;
    json["kernel"] = codec::to_json(event.kernel);
    json["planned"] = codec::to_json(event.planned);
    json["strict"] = event.strict;
    return json;
}

Json to_json(const GuestReady& event)
{
    Json json = named("guest_ready");
    json["kernel"] = codec::to_json(event.kernel);
    json["boot_log"] = codec::to_json(event.boot_log);
    return json;
}

Json to_json(const CaseStarted& event)
{
    Json json = named("case_started");
    json["id"] = event.id;
    return json;
}

Json to_json(const CaseEnded& event)
{
    Json json = named("case_ended");
    json.update(codec::to_json(event.result));
    return json;
}

Json to_json(const TimingTaken& event)
{
    Json json = named("timing");
    json.update(codec::to_json(event.timing));
    return json;
}

Json to_json(const HarnessNote& event)
{
    Json json = named("note");
    json["message"] = event.message;
    return json;
}

Json to_json(const RunEnded& event)
{
    Json json = named("run_ended");
    json["complete"] = event.complete;
    json["seconds"] = codec::finite(event.seconds);
    return json;
}

// The last `most` bytes of text: what was seen last says most about an end.
void keep_end(std::string& text, std::size_t most)
{
    if (text.size() > most)
        text = fmt::format("[{} bytes cut] {}", text.size() - most, text.substr(text.size() - most));
}

void keep_end(std::vector<std::string>& lines, std::size_t most)
{
    for (auto& line : lines)
        keep_end(line, most / 4);
    std::size_t bytes = 0;
    auto first = lines.end();
    while (first != lines.begin() && bytes + std::prev(first)->size() + 1 <= most)
        bytes += (--first)->size() + 1;
    const auto cut = first - lines.begin();
    if (cut == 0)
        return;
    const auto last_cut = std::prev(first);
    *last_cut = fmt::format("[{} lines cut]", cut);
    lines.erase(lines.begin(), last_cut);
}

// A measurement is kept whole or not at all: with values missing its figures would no longer agree.
std::size_t keep_first(std::vector<Measurement>& measurements, std::size_t most)
{
    std::size_t kept = 0;
    for (std::size_t bytes = 0; kept < measurements.size(); ++kept) {
        bytes += codec::dump(codec::to_json(std::vector{measurements[kept]})).size();
        if (bytes > most)
            break;
    }
    const auto cut = measurements.size() - kept;
    measurements.resize(kept);
    return cut;
}

std::string encode_case(const CaseEnded& event)
{
    auto line = codec::dump(to_json(event));
    // Escapes make a byte up to six: halve until the line fits.
    for (std::size_t most = max_event_bytes / 2; line.size() > max_event_bytes && most > 16; most /= 2) {
        CaseEnded shorter = event;
        auto& c = shorter.result;
        for (auto* text : {&c.id, &c.suite, &c.title, &c.expected, &c.observed, &c.reason, &c.again})
            keep_end(*text, most / 8);
        keep_end(c.log, most);
        if (const auto cut = keep_first(c.measurements, most); cut != 0)
            c.log.push_back(fmt::format("[{} measurements cut]", cut));
        line = codec::dump(to_json(shorter));
    }
    return line;
}

RunStarted read_run_started(Members& from)
{
    RunStarted event;
    const auto schema = from.integer("schema", 1, std::numeric_limits<int>::max());
    if (from.error().empty() && schema != schema_version)
        from.fail(
            fmt::format("the line has schema {}, this program reads {}: use the ublkcheck that wrote it",
                        schema, schema_version));
    event.started = from.text("started");
    event.command = from.text("command");
    event.machine = from.text("machine");
    if (const auto* json = from.object("kernel")) {
        Members kernel{*json, "\"kernel\""};
        event.kernel = codec::read_kernel(kernel);
        from.fail(kernel.error());
    }
    event.planned = from.texts("planned");
    event.strict = from.flag("strict");
    return event;
}

GuestReady read_guest_ready(Members& from)
{
    GuestReady event;
    if (const auto* json = from.object("kernel")) {
        Members kernel{*json, "\"kernel\""};
        event.kernel = codec::read_kernel(kernel);
        from.fail(kernel.error());
    }
    event.boot_log = from.texts("boot_log");
    return event;
}

RunEnded read_run_ended(Members& from)
{
    RunEnded event;
    event.complete = from.flag("complete");
    event.seconds = from.number("seconds");
    return event;
}

using Read = Event (*)(Members&);
constexpr std::array<std::pair<std::string_view, Read>, std::variant_size_v<Event>> readers{{
    {"run_started", [](Members& from) -> Event { return read_run_started(from); }},
    {"guest_ready", [](Members& from) -> Event { return read_guest_ready(from); }},
    {"case_started", [](Members& from) -> Event { return CaseStarted{.id = from.text("id")}; }},
    {"case_ended", [](Members& from) -> Event { return CaseEnded{.result = codec::read_case(from)}; }},
    {"timing", [](Members& from) -> Event { return TimingTaken{.timing = codec::read_timing(from)}; }},
    {"note", [](Members& from) -> Event { return HarnessNote{.message = from.text("message")}; }},
    {"run_ended", [](Members& from) -> Event { return read_run_ended(from); }},
}};

std::expected<Json, std::string> parse_line(std::string_view line)
{
    if (line.size() > max_event_bytes)
        return std::unexpected{
            fmt::format("{} bytes, more than the {} of an event", line.size(), max_event_bytes)};
    return codec::parse(line);
}

} // namespace

std::string encode(const Event& event)
{
    if (const auto* ended = std::get_if<CaseEnded>(&event))
        return encode_case(*ended);
    const auto json = std::visit([](const auto& e) { return to_json(e); }, event);
    auto line = codec::dump(json);
    if (line.size() <= max_event_bytes)
        return line;
    auto message = fmt::format("an event \"{}\" of {} bytes was left out: the limit is {}",
                               json["event"].get_ref<const std::string&>(), line.size(), max_event_bytes);
    return codec::dump(to_json(HarnessNote{.message = std::move(message)}));
}

std::expected<Event, std::string> decode(std::string_view line)
{
    const auto json = parse_line(line);
    if (!json)
        return std::unexpected{json.error()};
    Members members{*json, "the line"};
    const auto name = members.text("event");
    if (!members.error().empty())
        return std::unexpected{members.error()};
    const auto* reader = std::ranges::find(readers, name, &std::pair<std::string_view, Read>::first);
    if (reader == readers.end())
        return std::unexpected{fmt::format("\"{}\" is no event that this program knows", codec::quote(name))};
    auto event = reader->second(members);
    if (!members.error().empty())
        return std::unexpected{members.error()};
    return event;
}

std::string encode(const RunCase& command)
{
    Json json = Json::object();
    json["command"] = "run_case";
    json["id"] = command.id;
    json["timeout_ms"] = command.timeout_ms;
    return codec::dump(json);
}

std::expected<RunCase, std::string> decode_command(std::string_view line)
{
    const auto json = parse_line(line);
    if (!json)
        return std::unexpected{json.error()};
    Members members{*json, "the line"};
    RunCase command;
    const auto name = members.text("command");
    command.id = members.text("id");
    command.timeout_ms = members.integer("timeout_ms", 0, std::numeric_limits<std::int64_t>::max());
    if (members.error().empty() && name != "run_case")
        members.fail(fmt::format("\"{}\" is no command that this program knows", codec::quote(name)));
    if (!members.error().empty())
        return std::unexpected{members.error()};
    return command;
}

} // namespace reports
