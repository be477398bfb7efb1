// `ublkcheck list` and `ublkcheck explain`: the catalogue as the program itself knows it.
#include "conformance/driver/unjudged.hpp"
#include "conformance/known/known.hpp"
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/kselftest.hpp"
#include "conformance/ublkcheck/plan.hpp"
#include "reports/result.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

namespace conformance {

namespace {

struct ListOptions {
    PlanOptions plan;
    std::string json;
    bool unjudged = false;
};

nlohmann::json to_json(const Case& c)
{
    return {{"id", c.id},       {"suite", c.suite},     {"level", reports::to_string(c.level)},
            {"title", c.title}, {"gate", gate_text(c)}, {"timeout_ms", c.timeout.count()}};
}

int list_unjudged()
{
    for (const auto& [id, reason] : unjudged)
        fmt::print("{:<22} {}\n", id, reason);
    fmt::print("{} requirements without a case of their own\n", unjudged.size());
    return 0;
}

int list(const ListOptions& options)
{
    if (options.unjudged)
        return list_unjudged();
    if (wants_kselftests(options.plan)) {
        if (const auto there = get_kselftests("", nullptr); !there) {
            fmt::print(stderr, "ublkcheck list: {}\n", there.error().message);
            return there.error().exit_code;
        }
    }
    const auto plan = plan_cases(options.plan);
    if (!plan) {
        fmt::print(stderr, "ublkcheck list: {}\n", plan.error());
        return reports::exit_usage;
    }
    if (!options.json.empty()) {
        nlohmann::json all = nlohmann::json::array();
        for (const auto* c : *plan)
            all.push_back(to_json(*c));
        std::ofstream file(options.json);
        file << all.dump(2) << '\n';
        if (!file.flush()) {
            fmt::print(stderr,
                       "ublkcheck list: cannot write {}; give a file in a directory that is writable\n",
                       options.json);
            return reports::exit_no_run;
        }
        return 0;
    }
    for (const auto* c : *plan) {
        const auto gate = gate_text(*c);
        fmt::print("{:<22} {:<9} {}{}\n", c->id, reports::to_string(c->level), c->title,
                   gate.empty() ? "" : " [" + gate + "]");
    }
    fmt::print("{} cases\n", plan->size());
    return 0;
}

int explain(const std::string& id)
{
    if (is_kselftest(id)) {
        if (const auto there = get_kselftests("", nullptr); !there) {
            fmt::print(stderr, "ublkcheck explain: {}\n", there.error().message);
            return there.error().exit_code;
        }
    }
    const auto* c = find_case(id);
    if (c == nullptr) {
        for (const auto& [unjudged_id, reason] : unjudged) {
            if (unjudged_id == id) {
                fmt::print("{}: has no case of its own: {}\n", id, reason);
                return 0;
            }
        }
        fmt::print(stderr, "ublkcheck explain: no case has the id '{}'; `ublkcheck list` shows the ids\n",
                   id);
        return reports::exit_usage;
    }
    fmt::print("{}\n  rule    {}\n  level   {}\n  suite   {}\n  gate    {}\n  limit   {} s\n", c->id,
               c->title, reports::to_string(c->level), c->suite,
               gate_text(*c).empty() ? "none" : gate_text(*c), c->timeout.count() / 1000);
    for (const auto& defect : known_defects()) {
        if (defect.requirement != id)
            continue;
        fmt::print("  known   {} ({})\n", defect.why, reports::to_string(defect.verdict));
        for (const auto& range : defect.kernels)
            fmt::print("          from {}.{}.{} before {}.{}.{}{}\n", range.from.major, range.from.minor,
                       range.from.patch, range.before.major, range.before.minor, range.before.patch,
                       defect.reference.empty() ? "" : ", " + defect.reference);
    }
    fmt::print("  run     ublkcheck run --case {}\n", c->id);
    return 0;
}

} // namespace

void add_list_commands(CLI::App& app, int& exit_code)
{
    auto options = std::make_shared<ListOptions>();
    auto* list_command = app.add_subcommand("list", "list the cases");
    list_command->add_option("--case", options->plan.cases,
                             "only ids that match this glob; may be given several times");
    list_command->add_option("--suite", options->plan.suites, "only this suite; may be given several times");
    list_command->add_option("--json", options->json, "write the list to this file");
    list_command->add_flag("--unjudged", options->unjudged,
                           "the requirements without a case of their own, and why");
    list_command->callback([options, &exit_code] { exit_code = list(*options); });

    auto id = std::make_shared<std::string>();
    auto* explain_command = app.add_subcommand("explain", "say what one case holds the driver to");
    explain_command->add_option("id", *id, "id of a case")->required();
    explain_command->callback([id, &exit_code] { exit_code = explain(*id); });
}

} // namespace conformance
