// list, info, stop, delete: what is done to devices of any server.
#include "ublk/serve/commands.hpp"

#include "ublk/engine/control.hpp"
#include "ublk/serve/observing.hpp"
#include "ublk/serve/size.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <fmt/core.h>
#include <fstream>
#include <iostream>

namespace ublk::serve {

namespace {

constexpr const char* class_dir = "/sys/class/ublk-char";

struct Device {
    uapi::DevInfo info;
    uapi::Params params;

    bool has_server() const { return info.ublksrv_pid > 0; }
    bool server_alive() const { return has_server() && (::kill(info.ublksrv_pid, 0) == 0 || errno == EPERM); }
    std::uint64_t size() const { return params.basic.dev_sectors << uapi::sector_shift; } // bytes
};

std::string state_name(std::uint16_t state)
{
    constexpr std::array<const char*, 4> names{"stopped", "live", "quiesced", "fail-io"};
    return state < names.size() ? names[state] : fmt::format("state {}", state);
}

std::string server_text(const Device& device)
{
    if (!device.has_server())
        return "none";
    return fmt::format("{}{}", device.info.ublksrv_pid, device.server_alive() ? "" : " (dead)");
}

nlohmann::json describe(const Device& device)
{
    return {{"id", device.info.dev_id},
            {"path", wire::block_path(device.info.dev_id)},
            {"state", state_name(device.info.state)},
            {"size", device.size()},
            {"block_size", 1ULL << device.params.basic.logical_bs_shift},
            {"queues", device.info.nr_hw_queues},
            {"depth", device.info.queue_depth},
            {"max_io_bytes", device.info.max_io_buf_bytes},
            {"read_only", uapi::Attrs::from_raw(device.params.basic.attrs).has(uapi::Attr::read_only)},
            {"flags", fmt::format("{:#x}", device.info.flags)},
            {"pid", device.info.ublksrv_pid},
            {"server_alive", device.server_alive()},
            {"uid", device.info.owner_uid},
            {"gid", device.info.owner_gid}};
}

Result<Device> look_up(engine::Control& control, std::uint32_t id)
{
    auto info = control.info(id);
    if (!info)
        return std::unexpected(std::move(info.error()));
    auto params = control.params(id);
    if (!params)
        return std::unexpected(std::move(params.error()));
    return Device{*info, *params};
}

// Ids of the devices there are, ascending.
std::vector<std::uint32_t> device_ids()
{
    std::vector<std::uint32_t> ids;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(class_dir, none)) {
        constexpr std::string_view prefix = "ublkc";
        const std::string name = entry.path().filename();
        std::uint32_t id = 0;
        if (name.starts_with(prefix) &&
            std::from_chars(name.data() + prefix.size(), name.data() + name.size(), id).ec == std::errc())
            ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

int failed(Error error)
{
    if (error == std::errc::no_such_device)
        error.hint = "there is no such device: ublk-serve list shows those there are";
    complain(error.message());
    return exit_code(error);
}

template <typename Action>
int act(std::uint32_t id, const std::string& done, Action action)
{
    auto control = engine::Control::open();
    if (!control)
        return failed(std::move(control.error()));
    if (const auto there = control->info(id); !there) // which also finds out how it wants to be addressed
        return failed(there.error());
    if (auto acted = action(*control); !acted)
        return failed(std::move(acted.error()));
    fmt::print("device {} {}\n", id, done);
    return exit_ok;
}

} // namespace

int exit_code(const Error& error)
{
    const bool about_machine = error.operation == std::string("open ") + wire::control_path ||
                               error.operation == "io_uring_setup" ||
                               error == std::errc::operation_not_permitted;
    return about_machine ? exit_impossible : exit_failed;
}

void complain(const std::string& message)
{
    fmt::print(stderr, "ublk-serve: {}\n", message);
}

Result<void> write_json(const std::string& name, const nlohmann::json& value)
{
    if (name.empty())
        return {};
    if (name == "-") {
        std::cout << value.dump(2) << '\n' << std::flush;
        return {};
    }
    std::ofstream file(name);
    file << value.dump(2) << '\n';
    file.close();
    if (!file)
        return std::unexpected(make_error("write " + name, errno != 0 ? errno : EIO));
    return {};
}

int run(const ListCommand& command)
{
    auto control = engine::Control::open();
    if (!control)
        return failed(std::move(control.error()));
    std::vector<Device> devices;
    for (const std::uint32_t id : device_ids()) {
        auto device = look_up(*control, id);
        if (device)
            devices.push_back(*device);
        else if (!(device.error() == std::errc::no_such_device)) // it went while we looked
            return failed(std::move(device.error()));
    }
    nlohmann::json list{{"schema", 1}, {"devices", nlohmann::json::array()}};
    for (const auto& device : devices)
        list["devices"].push_back(describe(device));
    if (const auto written = write_json(command.json, list); !written)
        return failed(written.error());
    if (command.json == "-")
        return exit_ok;
    if (devices.empty())
        fmt::print("no ublk devices\n");
    else
        fmt::print("{:>4}  {:<9} {:>6} {:>6}  {:<14} {}\n", "ID", "STATE", "QUEUES", "DEPTH", "SIZE",
                   "SERVER");
    for (const auto& device : devices)
        fmt::print("{:>4}  {:<9} {:>6} {:>6}  {:<14} {}\n", device.info.dev_id, state_name(device.info.state),
                   device.info.nr_hw_queues, device.info.queue_depth, format_size(device.size()),
                   server_text(device));
    return exit_ok;
}

int run(const InfoCommand& command)
{
    auto control = engine::Control::open();
    if (!control)
        return failed(std::move(control.error()));
    auto device = look_up(*control, command.id);
    if (!device)
        return failed(std::move(device.error()));
    const nlohmann::json description = describe(*device);
    nlohmann::json written = description;
    written["schema"] = 1;
    if (const auto done = write_json(command.json, written); !done)
        return failed(done.error());
    if (command.json == "-")
        return exit_ok;
    for (const auto& [key, value] : description.items())
        fmt::print("{:<14} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
    if (device->has_server() && !device->server_alive())
        fmt::print("its server is dead: remove the device with ublk-serve delete {}\n", command.id);
    return exit_ok;
}

int run(const OwnerCommand& command)
{
    auto control = engine::Control::open();
    if (!control)
        return failed(std::move(control.error()));
    const auto info = control->info(command.id);
    if (!info)
        return failed(info.error());
    if (!uapi::Features::from_raw(info->flags).has(uapi::Feature::unprivileged_dev)) {
        complain(fmt::format("device {} is root's: its nodes stay as they are", command.id));
        return exit_failed;
    }
    fmt::print("{} {}\n", info->owner_uid, info->owner_gid);
    return exit_ok;
}

int run(const StopCommand& command)
{
    return act(command.id, "stopped", [&](engine::Control& control) {
        return command.if_unused ? control.try_stop(command.id) : control.stop(command.id);
    });
}

int run(const QuiesceCommand& command)
{
    return act(command.id, "quiesced", [&](engine::Control& control) {
        return control.quiesce(command.id, std::chrono::seconds(30));
    });
}

int run(const ResizeCommand& command)
{
    // A file is served as far as it goes, and null has no end.
    for (const auto& [device, queues] : served_devices())
        if (device.device == command.id && command.size > device.size &&
            (device.backend == "memory" || device.backend == "zoned")) {
            complain(fmt::format("a disk in memory grows no larger than it was made: give {} or less",
                                 format_size(device.size)));
            return exit_failed;
        }
    return act(command.id, fmt::format("resized to {}", format_size(command.size)),
               [&](engine::Control& control) { return control.resize(command.id, command.size); });
}

int run(const DeleteCommand& command)
{
    return act(command.id, "deleted", [&](engine::Control& control) { return control.remove(command.id); });
}

} // namespace ublk::serve
