// The trial boot itself, with a real kernel.
#include "vm/accel.hpp"

#include "vm/initramfs.hpp"
#include "vm/tests/temp_dir.hpp"
#include "vm/tests/test_kernel.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

using testing::HasSubstr;
using vm::AccelRequest;

TEST(AccelTrial, answers_with_a_reason_and_remembers)
{
    const auto& kernel = vm::testing::test_kernel();
    ASSERT_TRUE(kernel) << kernel.error().message;
    const vm::testing::TempDir dir;
    ASSERT_TRUE(vm::write_initramfs({.init = TRIAL_INIT, .programs = {}, .files = {}, .modules = {}},
                                    dir / "initramfs"));
    const auto choose = [&](AccelRequest request) {
        const auto start = std::chrono::steady_clock::now();
        auto choice = vm::choose_accel(request, kernel->image, dir / "initramfs", dir / "cache");
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        fmt::print("    {:.3f} s: {}\n", took.count(), choice ? choice->why : choice.error().message);
        return choice;
    };
    const auto first = choose(AccelRequest::automatic);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_THAT(first->why, HasSubstr(vm::to_string(first->accel)));
    const auto second = choose(AccelRequest::automatic);
    ASSERT_TRUE(second);
    EXPECT_EQ(second->why, first->why);
    const auto asked = choose(AccelRequest::kvm);
    EXPECT_EQ(asked.has_value(), first->accel == vm::Accel::kvm) << "asked for, KVM works or is refused";
    const auto tcg = choose(AccelRequest::tcg);
    ASSERT_TRUE(tcg);
    EXPECT_EQ(tcg->accel, vm::Accel::tcg);
}
