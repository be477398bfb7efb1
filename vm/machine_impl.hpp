// What a Machine holds: QEMU, its monitor, its console and its port. machine.cpp starts it, machine_state.cpp
// saves and restores it, machine_io.cpp reads and writes its lines. Private to these three.
#pragma once

#include "vm/console.hpp"
#include "vm/lines.hpp"
#include "vm/listener.hpp"
#include "vm/machine.hpp"
#include "vm/machine_command.hpp"
#include "vm/process.hpp"
#include "vm/qmp.hpp"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace vm {

struct Machine::Impl {
    using Clock = std::chrono::steady_clock;
    // Generous: the host may be busy with other machines.
    static constexpr auto monitor_timeout = std::chrono::seconds(60);

    MachineSpec spec;
    Process process;
    Qmp qmp;
    Listener listener;
    UniqueFd port, console_socket, console_file;
    LineSplitter lines{};
    Console console{};
    std::size_t console_written = 0;
    bool port_open = true, console_open = true;
    bool has_state_disk = false;
    std::optional<ReadOutcome> ended{}; // why no further line will come

    std::filesystem::path state_path() const { return spec.work_dir / "state.qcow2"; }
    std::filesystem::path qemu_log() const { return spec.work_dir / "qemu.log"; }

    static Result<std::unique_ptr<Impl>> start(const MachineSpec& spec, const StartOptions& options);

    Result<nlohmann::json> monitor(std::string_view command,
                                   const nlohmann::json& arguments = nlohmann::json::object())
    {
        return qmp.execute(command, arguments, monitor_timeout);
    }
    Result<void> add_state_disk();
    Result<void> wait_for_job(const std::string& id);
    Result<void> wait_for_port(bool connected);
    Result<void> drain_port();
    Result<void> replace_port();
    Result<void> revive();
    void write_console_file(std::string_view bytes);
    bool read_port();    // one chunk; false: nothing there now
    bool read_console(); // one chunk; false: nothing there now
    void wait_for_something(Clock::time_point deadline, bool until_writable);
    void notice_the_end();
    void let_panic_finish();
    std::string why_dead() const;
};

} // namespace vm
