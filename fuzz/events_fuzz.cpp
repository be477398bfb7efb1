// Lines of events.jsonl and of the port between guest and host: whatever arrives is read or named in a
// sentence, what was read comes back from its own encoding, and no encoding is longer than a line may be.
#include "fuzz/input.hpp"
#include "reports/event.hpp"

#include <set>
#include <string>
#include <vector>

namespace {

using namespace reports;
using fuzz::Input, fuzz::require;

// Text of ASCII: what is no UTF-8 would be replaced on the way, rightly.
std::string any_text(Input& input)
{
    std::string text;
    for (const auto byte : input.bytes(input.take<std::uint8_t>() % 32U))
        text += static_cast<char>(std::to_integer<int>(byte) & 0x7f);
    return text;
}

std::vector<std::string> any_texts(Input& input)
{
    std::vector<std::string> texts(input.take<std::uint8_t>() % 4U);
    for (auto& text : texts)
        text = any_text(input);
    return texts;
}

double any_figure(Input& input)
{
    return input.take<std::int32_t>() / 64.0;
}

KernelInfo any_kernel(Input& input)
{
    return {.release = any_text(input),
            .version = any_text(input),
            .features = input.take<std::uint64_t>(),
            .feature_names = any_texts(input),
            .source = any_text(input)};
}

CaseResult any_case(Input& input)
{
    CaseResult c;
    c.id = "A" + any_text(input); // never empty
    c.suite = any_text(input);
    c.title = any_text(input);
    c.level = input.take<std::uint8_t>() % 2 == 0 ? Level::contract : Level::behaviour;
    c.verdict = all_verdicts.at(input.take<std::uint8_t>() % all_verdicts.size());
    c.duration_ms = input.take<std::uint32_t>();
    c.expected = any_text(input);
    c.observed = any_text(input);
    c.reason = any_text(input);
    c.log = any_texts(input);
    c.again = any_text(input);
    c.measurements.resize(input.take<std::uint8_t>() % 3U);
    for (auto& m : c.measurements) {
        m = {.subject = any_text(input), .load = any_text(input), .metric = any_text(input)};
        m.values.resize(input.take<std::uint8_t>() % 4U);
        std::ranges::generate(m.values, [&] { return any_figure(input); });
        m.against = any_text(input);
        if (!m.against.empty()) {
            m.ratio = any_figure(input);
            m.low = any_figure(input);
            m.high = any_figure(input);
        }
        m.conclusion = any_text(input);
    }
    c.worker = input.take<std::uint8_t>() - 1;
    return c;
}

Event any_event(Input& input)
{
    switch (input.take<std::uint8_t>() % std::variant_size_v<Event>) {
    case 0:
        return RunStarted{.started = any_text(input),
                          .command = any_text(input),
                          .machine = any_text(input),
                          .kernel = any_kernel(input),
                          .planned = any_texts(input),
                          .strict = input.take<std::uint8_t>() % 2 != 0};
    case 1:
        return GuestReady{.kernel = any_kernel(input), .boot_log = any_texts(input)};
    case 2:
        return CaseStarted{.id = any_text(input)};
    case 3:
        return CaseEnded{.result = any_case(input)};
    case 4:
        return TimingTaken{
            .timing = {.what = any_text(input), .seconds = input.take<std::uint16_t>() / 64.0}};
    case 5:
        return HarnessNote{.message = any_text(input)};
    default:
        return RunEnded{.complete = input.take<std::uint8_t>() % 2 != 0,
                        .seconds = input.take<std::uint16_t>() / 64.0};
    }
}

// An encoding is one line, bounded, and means the event. Floating point survives: the shortest text that
// reads back is written.
void check_encoding(const Event& event)
{
    const auto line = encode(event);
    require(line.size() <= max_event_bytes && line.find('\n') == std::string::npos);
    const auto again = decode(line);
    require(again.has_value() && *again == event);
    require(encode(*again) == line);
}

// The same case with texts far beyond the limit: it is cut, still a line, still this case.
void check_long_case(CaseEnded event)
{
    auto& c = event.result;
    if (c.observed.empty() || c.id.size() > 1000)
        return;
    std::string longer;
    while (longer.size() < max_event_bytes)
        longer += c.observed;
    c.observed = longer;
    c.log.assign(3, longer);
    const auto line = encode(event);
    require(line.size() <= max_event_bytes);
    const auto again = decode(line);
    require(again.has_value());
    const auto* ended = std::get_if<CaseEnded>(&*again);
    require(ended != nullptr && ended->result.verdict == c.verdict && ended->result.id == c.id);
}

bool check_line(std::string_view line)
{
    if (const auto command = decode_command(line)) {
        require(command->timeout_ms >= 0 && decode_command(encode(*command)) == command);
        require(!decode(line) || line.find("\"event\"") != std::string_view::npos);
    } else {
        require(fuzz::is_sentence(command.error()));
    }
    const auto event = decode(line);
    if (!event) {
        require(fuzz::is_sentence(event.error()));
        return false;
    }
    check_encoding(*event);
    // A worker that no machine has asks for the slow part: most inputs do without.
    if (const auto* ended = std::get_if<CaseEnded>(&*event); ended != nullptr && ended->result.worker > 9999)
        check_long_case(*ended);
    return true;
}

void check_fold(std::string_view text, std::size_t damaged)
{
    const auto folded = fold(text);
    require(folded.damaged.size() == damaged);
    for (const auto& complaint : folded.damaged)
        require(fuzz::is_sentence(complaint));
    const auto& run = folded.run;
    std::set<std::string_view> ids;
    for (const auto& c : run.cases)
        require(ids.insert(c.id).second);
    require(run.missing().size() + run.cases.size() == run.planned.size() + run.unplanned().size());
    require(run.cases.empty() == (exit_code(run) == exit_no_run));
    // Read once more behind itself, a run is resumed: the plan stays, each case has its last verdict.
    const auto twice = fold(std::string(text) + "\n" + std::string(text)).run;
    require(twice.planned == run.planned && twice.cases == run.cases);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    Input input(data, size);
    if (size > 0 && data[0] >= 0x80) {
        input.bytes(1);
        const RunCase command{.id = any_text(input), .timeout_ms = input.take<std::uint32_t>()};
        require(decode_command(encode(command)) == command);
        check_encoding(any_event(input));
        return 0;
    }
    const auto text = input.text();
    std::size_t damaged = 0;
    for (auto rest = text; !rest.empty();) {
        const auto line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(line.size() + 1, rest.size()));
        const bool blank = line.find_first_not_of(" \t\r") == std::string_view::npos;
        damaged += !check_line(line) && !blank ? 1U : 0U;
    }
    check_fold(text, damaged);
    return 0;
}
