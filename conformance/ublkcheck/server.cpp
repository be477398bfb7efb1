// `ublkcheck server`: judges a ublk server that nobody here wrote.
#include "conformance/server/profile.hpp"
#include "conformance/ublkcheck/carry.hpp"
#include "conformance/ublkcheck/commands.hpp"
#include "conformance/ublkcheck/judge_kernels.hpp"
#include "vm/initramfs.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <unistd.h>

namespace conformance {

namespace {

struct ServerOptions {
    RunOptions run;
    ServerProfile profile;
    std::vector<std::string> setup, files, programs; // as typed
    std::string end;
    bool no_data = false;
};

// What follows the options that all commands share, so that a single case can be repeated.
std::vector<std::string> repeated(const ServerOptions& o)
{
    const ServerProfile usual;
    std::vector<std::string> words;
    const auto add = [&words](const char* option, std::string value) {
        words.emplace_back(option);
        words.push_back(std::move(value));
    };
    for (const auto& text : o.setup)
        add("--setup", text);
    for (const auto& text : o.files)
        add("--file", text);
    for (const auto& text : o.programs)
        add("--program", text);
    if (!o.end.empty())
        add("--end", o.end);
    const auto flag = [&words](bool on, const char* name) {
        if (on)
            words.emplace_back(name);
    };
    flag(o.no_data, "--no-data");
    flag(o.profile.persistent, "--persistent");
    flag(o.profile.read_only, "--read-only");
    flag(o.profile.discard_zeroes, "--discard-zeroes");
    if (o.profile.end_status != usual.end_status)
        add("--end-status", std::to_string(o.profile.end_status));
    if (o.profile.start_seconds != usual.start_seconds)
        add("--start-time", std::to_string(o.profile.start_seconds));
    if (o.profile.end_seconds != usual.end_seconds)
        add("--end-time", std::to_string(o.profile.end_seconds));
    if (o.profile.disk_mib != usual.disk_mib)
        add("--disk-mib", std::to_string(o.profile.disk_mib));
    words.emplace_back("--");
    words.insert(words.end(), o.profile.command.begin(), o.profile.command.end());
    return words;
}

// The profile with guest paths, and everything that has to come along.
Expected<void> pack(ServerOptions& o)
{
    o.run.arguments = repeated(o);
    auto& extras = o.run.extras;
    auto& profile = o.profile;
    profile.keeps_data = !o.no_data;
    if (auto done = carry(profile.command, extras, "the server"); !done)
        return done;
    for (const auto& text : o.setup) {
        auto words = cut_words(text, "--setup");
        if (!words)
            return std::unexpected(words.error());
        if (auto done = carry(*words, extras, "--setup"); !done)
            return done;
        profile.setup.push_back(std::move(*words));
    }
    if (!o.end.empty()) {
        auto words = cut_words(o.end, "--end");
        if (!words)
            return std::unexpected(words.error());
        profile.end = std::move(*words);
        if (auto done = carry(profile.end, extras, "--end"); !done)
            return done;
    }
    for (const auto& program : o.programs) {
        Words words{program};
        if (auto done = carry(words, extras, "--program"); !done)
            return done;
    }
    for (const auto& file : o.files)
        if (auto done = carry_file(file, extras); !done)
            return done;
    if (profile.wants_disk())
        extras.modules.emplace_back("null_blk");
    return {};
}

Expected<void> check_fio(const std::vector<const Case*>& plan)
{
    const bool wanted =
        std::ranges::any_of(plan, [](const Case* c) { return c->id.starts_with("SERVER-FIO-"); });
    if (!wanted || vm::find_program("fio"))
        return {};
    return failed(
        reports::exit_no_run,
        "fio is not on this machine, and the cases SERVER-FIO-* need it: install the package fio, or "
        "choose others with --case");
}

Expected<int> judge_server(ServerOptions o)
{
    const auto asked = std::chrono::steady_clock::now();
    reports::Terminal terminal(std::cout, reports::detect_style(STDOUT_FILENO));
    catch_signals();
    if (auto json = check_json(o.run.json); !json)
        return std::unexpected(json.error());
    o.run.plan.suites = {"server"};
    const auto plan = plan_cases(o.run.plan);
    if (!plan)
        return failed(reports::exit_usage, plan.error());
    terminal.status("server", shell_text(o.profile.command));
    if (auto packed = pack(o); !packed)
        return std::unexpected(packed.error());
    if (auto there = o.no_data ? Expected<void>{} : check_fio(*plan); !there)
        return std::unexpected(there.error());
    return judge_kernels_with({"server", encode_profile(o.profile), profile_path}, o.run, *plan, terminal,
                              asked);
}

} // namespace

void add_server_command(CLI::App& app, int& exit_code)
{
    auto o = std::make_shared<ServerOptions>();
    auto* server =
        app.add_subcommand("server", "judge a ublk server, whoever wrote it, in a virtual machine");
    o->run.program = "server";
    add_kernel_options(*server, o->run);
    server
        ->add_option("--case", o->run.plan.cases, "only ids that match this glob; may be given several times")
        ->take_all();
    server
        ->add_option("--setup", o->setup, "run this before the server, in order; may be given several times")
        ->take_all();
    server->add_option("--file", o->files, "HOST:GUEST, a file to take along; may be given several times")
        ->take_all();
    server
        ->add_option("--program", o->programs,
                     "a further program to take along, to /bin; may be given several times")
        ->take_all();
    server->add_option("--end", o->end,
                       "the command that ends the server, {id} is its device; default: SIGTERM");
    server->add_option("--end-status", o->profile.end_status, "what the server exits with when told to end")
        ->check(CLI::Range(0, 255))
        ->capture_default_str();
    server->add_option("--start-time", o->profile.start_seconds, "seconds until its device must be there")
        ->check(CLI::Range(1, 600))
        ->capture_default_str();
    server->add_option("--end-time", o->profile.end_seconds, "seconds until it must have ended when told to")
        ->check(CLI::Range(1, 600))
        ->capture_default_str();
    server->add_option("--disk-mib", o->profile.disk_mib, "MiB of {disk}")
        ->check(CLI::Range(16, 256))
        ->capture_default_str();
    server->add_flag("--no-data", o->no_data, "the server keeps nothing of what is written");
    server->add_flag("--persistent", o->profile.persistent,
                     "its data outlive it: started again, it serves them");
    server->add_flag("--read-only", o->profile.read_only, "its device must refuse writes");
    server->add_flag("--discard-zeroes", o->profile.discard_zeroes, "what was discarded must read as zeroes");
    // One value for each time an option is given: else the -- after it would be taken for the end of its
    // values.
    for (auto* option : server->get_options())
        if (option->get_expected_max() > 1)
            option->expected(1)->allow_extra_args(false)->multi_option_policy(
                CLI::MultiOptionPolicy::TakeAll);
    server
        ->add_option("command", o->profile.command,
                     "the server and its arguments; {disk} is a disk whose cache a loss of power empties")
        ->required();
    server->footer("Everything after -- is the server's. It may stay in the foreground or become a daemon.");
    server->callback([o, &exit_code] {
        o->run.command = command_line();
        exit_code = conclude("server", judge_server(*o));
    });
}

} // namespace conformance
