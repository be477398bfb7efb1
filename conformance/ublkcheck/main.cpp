// ublkcheck: judges ublk drivers and servers. One file per subcommand; see commands.hpp.
#include "conformance/ublkcheck/commands.hpp"
#include "reports/result.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <exception>
#include <fmt/format.h>

int main(int argc, char** argv)
{
    // A pager that is closed early must not end a run without its report.
    ::signal(SIGPIPE, SIG_IGN);
    CLI::App app("Judges ublk drivers and servers against the catalogue of what they must do.", "ublkcheck");
    app.set_version_flag("--version", UBLKCHECK_VERSION);
    app.require_subcommand(1);
    app.footer("Exit status: 0 nothing unexpected, 1 an unexpected verdict or a run cut off, 2 usage, 3 "
               "could not run.");
    int exit_code = 0;
    conformance::add_run_command(app, exit_code);
    conformance::add_controls_command(app, exit_code);
    conformance::add_server_command(app, exit_code);
    conformance::add_lockstep_command(app, exit_code);
    conformance::add_endurance_command(app, exit_code);
    conformance::add_list_commands(app, exit_code);
    conformance::add_kernels_command(app, exit_code);
    conformance::add_perf_command(app, exit_code);
    conformance::add_report_command(app, exit_code);
    conformance::add_doctor_command(app, exit_code);
    if (argc > 1 && argv[1][0] != '-' &&
        app.get_subcommands([&](const CLI::App* command) { return command->check_name(argv[1]); }).empty()) {
        fmt::print(stderr, "ublkcheck: there is no command '{}'; `ublkcheck --help` lists them\n", argv[1]);
        return reports::exit_usage;
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp& e) {
        return app.exit(e);
    } catch (const CLI::CallForAllHelp& e) {
        return app.exit(e);
    } catch (const CLI::CallForVersion& e) {
        return app.exit(e);
    } catch (const CLI::ParseError& e) {
        const auto chosen = app.get_subcommands();
        fmt::print(stderr, "ublkcheck: {}; `ublkcheck {}--help` lists what there is\n", e.what(),
                   chosen.empty() ? "" : chosen.front()->get_name() + " ");
        return reports::exit_usage;
    } catch (const std::exception& e) {
        fmt::print(stderr, "ublkcheck: {}\n", e.what());
        return reports::exit_no_run;
    }
    return exit_code;
}
