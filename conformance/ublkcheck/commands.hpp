// The subcommands of ublkcheck. Each adds itself to the program; its callback sets the exit code:
// 0 nothing unexpected, 1 an unexpected verdict, 2 usage, 3 the harness could not run.
#pragma once

namespace CLI {
class App;
}

namespace conformance {

void add_run_command(CLI::App& app, int& exit_code);
void add_controls_command(CLI::App& app, int& exit_code);
void add_server_command(CLI::App& app, int& exit_code);
void add_lockstep_command(CLI::App& app, int& exit_code);
void add_endurance_command(CLI::App& app, int& exit_code);
void add_list_commands(CLI::App& app, int& exit_code); // list, explain
void add_kernels_command(CLI::App& app, int& exit_code);
void add_perf_command(CLI::App& app, int& exit_code); // run, compare
void add_report_command(CLI::App& app, int& exit_code);
void add_doctor_command(CLI::App& app, int& exit_code);

} // namespace conformance
