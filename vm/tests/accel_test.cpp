#include "vm/accel.hpp"

#include "vm/machine_command.hpp"
#include "vm/tests/temp_dir.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using vm::testing::TempDir;

namespace {

std::filesystem::path fake_qemu(const TempDir& dir, const std::string& script)
{
    const auto file = dir.write("qemu", "#!/bin/sh\n" + script);
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    return file;
}

} // namespace

TEST(Accel, finds_the_version_that_qemu_says)
{
    const TempDir dir;
    const auto qemu = fake_qemu(dir, "echo 'QEMU emulator version 9.1.0 (Some 1:9.1)'\n");
    const auto found = vm::find_qemu(qemu);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->version, "9.1.0");
    EXPECT_EQ(found->path, qemu);
}

TEST(Accel, a_qemu_that_says_nothing_is_an_error_that_names_the_package)
{
    const TempDir dir;
    const auto found = vm::find_qemu(fake_qemu(dir, "exit 1\n"));
    ASSERT_FALSE(found);
    EXPECT_THAT(found.error().message, HasSubstr("qemu-system-x86"));
}

TEST(MachineCommand, tells_kernel_and_qemu_what_the_spec_asks_for)
{
    vm::MachineSpec spec{.image = "/i", .initramfs = "/r", .work_dir = "/w", .memory_mib = 640, .cpus = 3};
    EXPECT_THAT(vm::kernel_command_line(spec), Not(HasSubstr("sig_enforce")));
    spec.sig_enforce = true;
    spec.extra_cmdline = "loglevel=8";
    EXPECT_THAT(vm::kernel_command_line(spec), HasSubstr(" module.sig_enforce=1 loglevel=8"));
    const auto arguments = vm::qemu_arguments(spec, {.monitor = 5, .console = 6, .port = 7}, {});
    EXPECT_THAT(arguments, AllOf(Contains("640"), Contains("3"), Contains("/i"), Contains("/r")));
    EXPECT_THAT(arguments, AllOf(Contains("-no-reboot"), Contains("-no-shutdown"), Contains("-sandbox")));
    EXPECT_THAT(arguments, Not(Contains("-loadvm")));
}

TEST(MachineCommand, a_machine_with_its_own_clock_has_one_cpu_and_no_virtio_device)
{
    const vm::MachineSpec spec{.image = "/i", .initramfs = "/r", .work_dir = "/w", .cpus = 3, .exact = true};
    const auto arguments = vm::qemu_arguments(spec, {}, {});
    EXPECT_THAT(arguments,
                AllOf(Contains("shift=0,sleep=off"), Contains("chardev:port"), Not(Contains("3"))));
    EXPECT_THAT(arguments, Not(Contains(HasSubstr("virtserialport"))));
    EXPECT_THAT(vm::kernel_command_line(spec),
                AllOf(HasSubstr("norandmaps"), Not(HasSubstr("tsc=unstable"))));
}

TEST(MachineCommand, a_saved_state_path_with_commas_and_quotes_stays_one_path)
{
    const vm::MachineSpec spec{.image = "/i", .initramfs = "/r", .work_dir = "/w"};
    const auto arguments = vm::qemu_arguments(spec, {}, {.saved_state = "/a,b\"c/state", .sandbox = false});
    EXPECT_THAT(arguments, Contains(HasSubstr(R"("/a,b\"c/state")")));
    EXPECT_THAT(arguments, AllOf(Contains("-loadvm"), Contains("-S"), Not(Contains("-sandbox"))));
}
