#include "vm/machine_command.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vm {

std::string kernel_command_line(const MachineSpec& spec)
{
    // panic=0: a panicked guest stays as it is until we have read its console. no_timer_check: a busy host
    // delays the timer's test interrupts under TCG, and the kernel takes that for a broken timer.
    std::string line =
        "console=ttyS0 loglevel=5 panic=0 nokaslr mitigations=off random.trust_cpu=on no_timer_check";
    // QEMU's emulated time stamp counter does not go back at loadvm: as the kernel's clock it would jump
    // ahead by the length of the run that is being undone.
    if (spec.exact)
        line += " norandmaps";
    else if (spec.accel == Accel::tcg)
        line += " tsc=unstable trace_clock=global";
    if (spec.sig_enforce)
        line += " module.sig_enforce=1";
    if (!spec.extra_cmdline.empty())
        line += " " + spec.extra_cmdline;
    return line;
}

namespace {

const char* accelerator(const MachineSpec& spec)
{
    // The translation cache is bounded, because its default is a gigabyte for each guest.
    if (spec.exact)
        return "tcg,thread=single,tb-size=256";
    return spec.accel == Accel::kvm ? "kvm" : "tcg,thread=multi,tb-size=256";
}

const char* cpu(const MachineSpec& spec)
{
    // A string instruction counts once for each of its bytes under TCG: without the flags that recommend it,
    // guests copy with loops.
    if (spec.exact)
        return "max,erms=off,fsrm=off";
    // Nested hosts announce arch-capabilities and then refuse to set them, which ends QEMU.
    return spec.accel == Accel::kvm ? "max,-arch-capabilities" : "max";
}

} // namespace

std::vector<std::string> qemu_arguments(const MachineSpec& spec, const MachineSockets& sockets,
                                        const StartOptions& options)
{
    std::vector<std::string> arguments{
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-vga",
        "none",
        // A guest that resets or powers off leaves a paused machine behind, which restore() can revive.
        "-no-reboot",
        "-no-shutdown",
        "-machine",
        "q35",
        "-accel",
        accelerator(spec),
        "-cpu",
        cpu(spec),
        "-m",
        std::to_string(spec.memory_mib),
        "-smp",
        std::to_string(spec.exact ? 1 : spec.cpus),
        "-kernel",
        spec.image.string(),
        "-initrd",
        spec.initramfs.string(),
        "-append",
        kernel_command_line(spec),
        "-chardev",
        fmt::format("socket,id=monitor,fd={}", sockets.monitor),
        "-mon",
        "chardev=monitor,mode=control",
        "-chardev",
        fmt::format("socket,id=console,fd={}", sockets.console),
        "-serial",
        "chardev:console",
        "-chardev",
        fmt::format("socket,id=port,fd={},server=on,wait=off", sockets.port),
    };
    if (spec.exact) // even unused, a virtio device makes counts of boots differ
        arguments.insert(arguments.end(), {"-serial", "chardev:port"});
    else
        arguments.insert(arguments.end(), {"-device", "virtio-serial-pci,max_ports=2", "-device",
                                           fmt::format("virtserialport,chardev=port,name={}", port_name)});
    if (spec.exact)
        arguments.insert(arguments.end(),
                         {"-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm", "-seed", "1"});
    if (!spec.plugin.empty())
        arguments.insert(arguments.end(), {"-plugin", spec.plugin});
    if (options.sandbox)
        arguments.insert(
            arguments.end(),
            {"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
    if (!options.saved_state.empty()) {
        const nlohmann::json file{{"driver", "file"},
                                  {"filename", options.saved_state.string()},
                                  {"node-name", "state-file"},
                                  {"cache", {{"no-flush", true}}}};
        const nlohmann::json disk{{"driver", "qcow2"},
                                  {"node-name", "state"},
                                  {"file", "state-file"},
                                  {"cache", {{"no-flush", true}}}};
        arguments.insert(arguments.end(), {"-blockdev", file.dump(), "-blockdev", disk.dump(), "-loadvm",
                                           std::string(snapshot_tag), "-S"});
    }
    return arguments;
}

} // namespace vm
