#include "perf/plan.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace perf {

namespace {

using Json = nlohmann::ordered_json;

constexpr unsigned k128 = 128 * 1024;
constexpr std::array<Load, 7> all_loads{{
    {"4k-randread-qd1", "4k random read, QD 1", true, 0, 4096, 1, 1000, 0.007},
    {"4k-randread-qd32", "4k random read, QD 32", true, 0, 4096, 32, 4000, 0.007},
    {"4k-randwrite-qd1", "4k random write, QD 1", true, 100, 4096, 1, 1000, 0.007},
    {"4k-randwrite-qd32", "4k random write, QD 32", true, 100, 4096, 32, 4000, 0.007},
    {"128k-read", "128k sequential read, QD 8", false, 0, k128, 8, 500, 0.05},
    {"128k-write", "128k sequential write, QD 8", false, 100, k128, 8, 500, 0.05},
    {"4k-mix", "4k random, 70 % read, QD 32", true, 30, 4096, 32, 4000, 0.007},
}};

constexpr std::array<std::pair<Subject::Kind, std::string_view>, 5> kind_names{
    {{Subject::Kind::null_blk, "null_blk"},
     {Subject::Kind::brd, "brd"},
     {Subject::Kind::loop, "loop"},
     {Subject::Kind::server, "server"},
     {Subject::Kind::kublk, "kublk"}}};

std::string_view to_string(Subject::Kind kind)
{
    return std::ranges::find(kind_names, kind, &decltype(kind_names)::value_type::first)->second;
}

Subject read_subject(const Json& json)
{
    const auto kind_name = json.at("kind").get<std::string>();
    const auto kind = std::ranges::find(kind_names, kind_name, &decltype(kind_names)::value_type::second);
    if (kind == kind_names.end())
        throw std::invalid_argument("there is no kind of subject named " + kind_name);
    return {.name = json.at("name").get<std::string>(),
            .kind = kind->first,
            .program = json.at("program").get<std::string>(),
            .backend = json.at("backend").get<std::string>(),
            .options = json.at("options").get<std::vector<std::string>>(),
            .repeats = json.at("repeats").get<std::string>()};
}

} // namespace

std::span<const Load> loads()
{
    return all_loads;
}

std::string case_id(const Load& load)
{
    std::string id = "PERF-";
    for (const char c : load.name)
        id += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return id;
}

std::size_t in_turn(const Plan& plan, unsigned round, std::size_t position)
{
    return (position + round) % plan.subjects.size();
}

namespace {

void add_ways_of_the_payload(Plan& plan, std::string_view kublk)
{
    const auto add = [&](const std::string& name, Subject::Kind kind, std::string_view program,
                         std::string_view backend, std::vector<std::string> options) {
        plan.subjects.push_back({.name = name,
                                 .kind = kind,
                                 .program = std::string(program),
                                 .backend = std::string(backend),
                                 .options = std::move(options)});
    };
    add("ublk-serve null auto-buf", Subject::Kind::server, "ublk-serve", "null", {"--data-path", "auto-buf"});
    for (const std::string backend : {"memory", "file"})
        add(fmt::format("ublk-serve {} get-data", backend), Subject::Kind::server, "ublk-serve", backend,
            {"--data-path", "get-data"});
    add("ublk-serve null batch", Subject::Kind::server, "ublk-serve", "null", {"--batch"});
    if (kublk.empty())
        return;
    add("kublk null", Subject::Kind::kublk, kublk, "null", {});
    add("kublk null auto-buf", Subject::Kind::kublk, kublk, "null", {"--auto_zc"});
    add("kublk null batch", Subject::Kind::kublk, kublk, "null", {"--batch"});
    add("kublk file", Subject::Kind::kublk, kublk, "loop", {});
}

} // namespace

Plan usual_plan(bool exact, std::string_view kublk)
{
    Plan plan{.exact = exact, .rounds = exact ? 5U : 3U, .queues = exact ? 2U : 1U};
    plan.subjects = {{.name = "null_blk", .kind = Subject::Kind::null_blk},
                     {.name = "brd", .kind = Subject::Kind::brd},
                     {.name = "loop", .kind = Subject::Kind::loop}};
    for (const char* backend : {"null", "memory", "file"})
        plan.subjects.push_back(
            {.name = fmt::format("ublk-serve {}", backend), .program = "ublk-serve", .backend = backend});
    if (exact)
        add_ways_of_the_payload(plan, kublk);
    else // counts have no noise that a second instance would show
        plan.subjects.push_back({.name = "ublk-serve null, again",
                                 .program = "ublk-serve",
                                 .backend = "null",
                                 .repeats = "ublk-serve null"});
    plan.against = {"loop", "null_blk"};
    return plan;
}

std::string to_json(const Plan& plan)
{
    Json subjects = Json::array();
    for (const auto& subject : plan.subjects)
        subjects.push_back({{"name", subject.name},
                            {"kind", to_string(subject.kind)},
                            {"program", subject.program},
                            {"backend", subject.backend},
                            {"options", subject.options},
                            {"repeats", subject.repeats}});
    const Json json{{"exact", plan.exact},    {"rounds", plan.rounds}, {"runtime", plan.runtime},
                    {"queues", plan.queues},  {"subjects", subjects},  {"against", plan.against},
                    {"compare", plan.compare}};
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::expected<Plan, std::string> plan_from_json(std::string_view text)
{
    try {
        const auto json = Json::parse(text);
        Plan plan{.exact = json.at("exact").get<bool>(),
                  .rounds = json.at("rounds").get<unsigned>(),
                  .runtime = json.at("runtime").get<double>(),
                  .queues = json.at("queues").get<unsigned>(),
                  .against = json.at("against").get<std::vector<std::string>>(),
                  .compare = json.at("compare").get<bool>()};
        for (const auto& subject : json.at("subjects"))
            plan.subjects.push_back(read_subject(subject));
        if (plan.rounds == 0)
            return std::unexpected("a plan without rounds measures nothing");
        return plan;
    } catch (const std::exception& e) {
        return std::unexpected(fmt::format("this is no plan of measurements: {}", e.what()));
    }
}

} // namespace perf
