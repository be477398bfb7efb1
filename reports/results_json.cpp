#include "reports/results_json.hpp"

#include "reports/codec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace reports {
namespace {

using codec::Json;
using codec::Members;

Json summary_json(std::size_t planned, const std::array<int, all_verdicts.size()>& counts)
{
    Json json = Json::object();
    json["planned"] = planned;
    for (std::size_t i = 0; i < counts.size(); ++i)
        json[std::string{to_string(all_verdicts[i])}] = counts[i];
    return json;
}

std::array<int, all_verdicts.size()> counts_of(const RunResult& run)
{
    std::array<int, all_verdicts.size()> counts{};
    std::ranges::transform(all_verdicts, counts.begin(), [&](Verdict v) { return run.count(v); });
    return counts;
}

int read_count(Members& from, std::string_view name)
{
    return static_cast<int>(from.integer(std::string{name}.c_str(), 0, std::numeric_limits<int>::max()));
}

void check_schema(Members& from)
{
    const auto schema = from.integer("schema", 1, std::numeric_limits<int>::max());
    if (from.error().empty() && schema != schema_version)
        from.fail(fmt::format("{} has schema {}, this program reads {}: use the ublkcheck that wrote it",
                              from.where(), schema, schema_version));
}

void check_summary(Members& from, const RunResult& run)
{
    const auto* json = from.object("summary");
    if (json == nullptr)
        return;
    Members summary{*json, "\"summary\""};
    const auto compare = [&](std::string_view name, std::size_t cases) {
        const auto said = read_count(summary, name);
        if (summary.error().empty() && !std::cmp_equal(said, cases))
            summary.fail(fmt::format("\"summary\" says {} {}, the lists hold {}: the file was cut or edited",
                                     said, name, cases));
    };
    compare("planned", run.planned.size());
    for (const Verdict verdict : all_verdicts)
        compare(to_string(verdict), static_cast<std::size_t>(run.count(verdict)));
    from.fail(summary.error());
}

IndexEntry read_entry(Members& from)
{
    IndexEntry entry;
    entry.folder = from.text("folder");
    entry.kernel = from.text("kernel");
    entry.exit = static_cast<int>(from.integer("exit", 0, 255));
    if (const auto* json = from.object("summary")) {
        Members summary{*json, "\"summary\" of " + from.where()};
        entry.planned = read_count(summary, "planned");
        for (std::size_t i = 0; i < all_verdicts.size(); ++i)
            entry.counts[i] = read_count(summary, to_string(all_verdicts[i]));
        from.fail(summary.error());
    }
    return entry;
}

} // namespace

std::string results_json(const RunResult& run)
{
    Json json = Json::object();
    json["schema"] = schema_version;
    json["started"] = run.started;
    json["seconds"] = codec::finite(run.seconds);
    json["complete"] = run.complete;
    json["strict"] = run.strict;
    json["command"] = run.command;
    json["machine"] = run.machine;
    json["kernel"] = codec::to_json(run.kernel);
    json["summary"] = summary_json(run.planned.size(), counts_of(run));
    json["planned"] = codec::to_json(run.planned);
    json["cases"] = Json::array();
    for (const auto& c : run.cases)
        json["cases"].push_back(codec::to_json(c));
    json["timings"] = Json::array();
    for (const auto& timing : run.timings)
        json["timings"].push_back(codec::to_json(timing));
    json["boot_log"] = codec::to_json(run.boot_log);
    json["notes"] = codec::to_json(run.notes);
    return codec::dump(json, 2) + "\n";
}

std::expected<RunResult, std::string> read_results_json(std::string_view text)
{
    const auto json = codec::parse(text);
    if (!json)
        return std::unexpected{json.error()};
    Members from{*json, "the file"};
    RunResult run;
    check_schema(from);
    run.started = from.text("started");
    run.seconds = from.number("seconds");
    run.complete = from.flag("complete");
    run.strict = from.flag("strict");
    run.command = from.text("command");
    run.machine = from.text("machine");
    if (const auto* kernel = from.object("kernel")) {
        Members members{*kernel, "\"kernel\""};
        run.kernel = codec::read_kernel(members);
        from.fail(members.error());
    }
    run.planned = from.texts("planned");
    run.cases = codec::read_list<CaseResult>(from, "cases", codec::read_case);
    run.timings = codec::read_list<Timing>(from, "timings", codec::read_timing);
    run.boot_log = from.texts("boot_log");
    run.notes = from.texts("notes");
    check_summary(from, run);
    if (!from.error().empty())
        return std::unexpected{from.error()};
    return run;
}

IndexEntry index_entry(std::string folder, const RunResult& run)
{
    return {.folder = std::move(folder),
            .kernel = run.kernel.release,
            .exit = exit_code(run),
            .planned = static_cast<int>(run.planned.size()),
            .counts = counts_of(run)};
}

std::string index_json(const std::vector<IndexEntry>& runs)
{
    Json json = Json::object();
    json["schema"] = schema_version;
    json["runs"] = Json::array();
    for (const auto& run : runs) {
        Json entry = Json::object();
        entry["folder"] = run.folder;
        entry["kernel"] = run.kernel;
        entry["exit"] = run.exit;
        entry["summary"] = summary_json(static_cast<std::size_t>(std::max(run.planned, 0)), run.counts);
        json["runs"].push_back(std::move(entry));
    }
    return codec::dump(json, 2) + "\n";
}

std::expected<std::vector<IndexEntry>, std::string> read_index_json(std::string_view text)
{
    const auto json = codec::parse(text);
    if (!json)
        return std::unexpected{json.error()};
    Members from{*json, "the file"};
    check_schema(from);
    auto runs = codec::read_list<IndexEntry>(from, "runs", read_entry);
    if (!from.error().empty())
        return std::unexpected{from.error()};
    return runs;
}

int exit_code(const std::vector<IndexEntry>& runs)
{
    const auto any = [&](int code) { return std::ranges::find(runs, code, &IndexEntry::exit) != runs.end(); };
    if (runs.empty())
        return exit_no_run;
    if (any(exit_unexpected))
        return exit_unexpected;
    const auto odd = std::ranges::find_if(runs, [](const IndexEntry& r) { return r.exit != exit_expected; });
    return odd == runs.end() ? exit_expected : odd->exit;
}

} // namespace reports
