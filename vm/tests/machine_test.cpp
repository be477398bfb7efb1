// Machines with a real kernel and the trial guest. One machine is booted for the whole file and restored for
// each test.
#include "vm/machine.hpp"

#include "vm/initramfs.hpp"
#include "vm/lines.hpp"
#include "vm/tests/temp_dir.hpp"
#include "vm/tests/test_kernel.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <memory>
#include <optional>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;
using vm::Machine;
using Kind = vm::ReadOutcome::Kind;

namespace {

constexpr auto patience = 100s;        // a busy host must not fail a test
constexpr const char* program = "cat"; // any that is linked to shared libraries

// How long something took, for the reader of the test's log; nothing is judged by it.
class Stopwatch {
  public:
    explicit Stopwatch(std::string what) : what_(std::move(what)) {}
    ~Stopwatch()
    {
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
        fmt::print("    {}: {:.3f} s\n", what_, took.count());
    }

  private:
    std::string what_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

class MachineTest : public testing::Test {
  protected:
    static void SetUpTestSuite()
    {
        const auto& kernel = vm::testing::test_kernel();
        ASSERT_TRUE(kernel) << kernel.error().message;
        const std::array<std::string, 2> needed{"virtio_pci", "virtio_console"};
        const auto modules = vm::module_closure(*kernel, needed);
        ASSERT_TRUE(modules) << modules.error().message;
        dir_ = std::make_unique<vm::testing::TempDir>();
        vm::InitramfsSpec files{.init = TRIAL_INIT, .programs = {program}, .files = {}, .modules = *modules};
        {
            const Stopwatch watch("initramfs");
            const auto written = vm::write_initramfs(files, *dir_ / "initramfs");
            ASSERT_TRUE(written) << written.error().message;
        }
        fmt::print("    initramfs: {} bytes\n", fs::file_size(*dir_ / "initramfs"));
        spec_.image = kernel->image;
        spec_.initramfs = *dir_ / "initramfs";
        spec_.work_dir = *dir_ / "first";
        {
            const Stopwatch watch("boot to ready");
            auto machine = Machine::boot(spec_);
            ASSERT_TRUE(machine) << machine.error().message;
            machine_ = std::make_unique<Machine>(std::move(*machine));
            const auto ready = machine_->read_line(patience);
            ASSERT_EQ(ready.kind, Kind::line) << ready.text << machine_->console_since_restore();
            ASSERT_EQ(ready.text, fmt::format("ready {}", files.modules.size()))
                << machine_->console_since_restore();
        }
        fmt::print("    {}\n{}", machine_->describe(), machine_->console_since_restore());
        const Stopwatch watch("save");
        const auto saved = machine_->save();
        ASSERT_TRUE(saved) << saved.error().message;
    }
    static void TearDownTestSuite()
    {
        machine_.reset();
        dir_.reset();
    }
    void SetUp() override
    {
        ASSERT_TRUE(machine_) << "the machine did not boot";
        restore();
    }

    static void restore()
    {
        {
            const Stopwatch watch("restore");
            const auto restored = machine_->restore();
            ASSERT_TRUE(restored) << restored.error().message;
        }
        const Stopwatch watch("restore to answer");
        EXPECT_EQ(ask("alive?"), "alive?"); // and nothing of the past before it
    }
    static std::string ask(const std::string& line, Machine& machine)
    {
        const auto sent = machine.send_line(line);
        EXPECT_TRUE(sent) << sent.error().message;
        const auto answer = machine.read_line(patience);
        EXPECT_EQ(answer.kind, Kind::line) << answer.text << machine.console_since_restore();
        return answer.text;
    }
    static std::string ask(const std::string& line) { return ask(line, *machine_); }

    static inline std::unique_ptr<vm::testing::TempDir> dir_;
    static inline std::unique_ptr<Machine> machine_;
    static inline vm::MachineSpec spec_;
};

} // namespace

TEST_F(MachineTest, restore_takes_back_what_the_guest_did)
{
    EXPECT_EQ(ask("recall"), "no");
    EXPECT_EQ(ask("remember"), "remembered");
    EXPECT_EQ(ask("recall"), "yes");
    restore();
    EXPECT_EQ(ask("recall"), "no");
}

TEST_F(MachineTest, a_line_that_is_not_there_is_a_timeout_and_comes_later)
{
    EXPECT_EQ(machine_->read_line(0ms).kind, Kind::timeout);
    EXPECT_EQ(ask("later"), "later");
}

TEST_F(MachineTest, panic_is_told_after_the_last_words_and_restore_mends_it)
{
    ASSERT_TRUE(machine_->send_line("panic"));
    const auto words = machine_->read_line(patience);
    EXPECT_EQ(words.text, "last words");
    const auto end = machine_->read_line(patience);
    EXPECT_EQ(end.kind, Kind::panic);
    EXPECT_THAT(end.text, StartsWith("Kernel panic - not syncing"));
    EXPECT_THAT(machine_->console_since_restore(), HasSubstr("end Kernel panic"));
    EXPECT_EQ(machine_->read_line(patience).kind, Kind::panic) << "it stays so until restore";
    EXPECT_TRUE(machine_->alive());
    restore();
    EXPECT_EQ(machine_->console_since_restore().find("Kernel panic"), std::string::npos);
}

TEST_F(MachineTest, hang_is_a_timeout_and_restore_mends_it)
{
    ASSERT_TRUE(machine_->send_line("hang"));
    EXPECT_EQ(machine_->read_line(200ms).kind, Kind::timeout);
    ASSERT_TRUE(machine_->send_line("never read by the hanging guest"));
    restore();
    EXPECT_EQ(machine_->read_line(200ms).kind, Kind::timeout) << "a line of the past reached the new guest";
}

TEST_F(MachineTest, lines_sent_to_a_guest_that_never_reads_do_not_reach_the_restored_one)
{
    ASSERT_TRUE(machine_->send_line("hang"));
    const std::string filler(1000, 'p');
    for (int i = 0; i < 250; ++i) // more than the guest's ring of buffers holds
        if (!machine_->send_line(filler))
            break;
    restore();
    EXPECT_EQ(machine_->read_line(200ms).kind, Kind::timeout) << "a line of the past reached the new guest";
}

TEST_F(MachineTest, reboot_and_poweroff_end_the_guest_not_the_machine)
{
    for (const auto* how : {"reboot", "poweroff"}) {
        ASSERT_TRUE(machine_->send_line(how));
        const auto end = machine_->read_line(patience);
        EXPECT_EQ(end.kind, Kind::panic) << how;
        EXPECT_THAT(end.text, HasSubstr("guest")) << how;
        EXPECT_TRUE(machine_->alive());
        restore();
    }
}

TEST_F(MachineTest, flood_does_not_survive_restore)
{
    ASSERT_TRUE(machine_->send_line("flood"));
    for (int i = 0; i < 1000; ++i)
        ASSERT_THAT(machine_->read_line(patience).text, StartsWith("fff"));
    restore();
    restore(); // and once more, with the guest throttled and nobody reading
    EXPECT_EQ(ask("dry"), "dry");
}

TEST_F(MachineTest, an_endless_line_never_becomes_one)
{
    ASSERT_TRUE(machine_->send_line("endless line"));
    EXPECT_EQ(machine_->read_line(500ms).kind, Kind::timeout);
    restore();
    const std::string line(vm::max_line_bytes + 10, 'l');
    ASSERT_TRUE(machine_->send_line(line));
    const auto back = machine_->read_line(patience);
    EXPECT_EQ(back.kind, Kind::line);
    EXPECT_TRUE(back.overlong);
    EXPECT_EQ(back.text.size(), vm::max_line_bytes);
    EXPECT_EQ(ask("after"), "after");
}

// The guest's clock must not show how long the undone run was: the kernel would report stalls that never
// were.
TEST_F(MachineTest, restore_takes_back_the_guests_clock)
{
    const auto saved = std::stod(ask("clock"));
    ASSERT_TRUE(machine_->send_line("hang"));
    EXPECT_EQ(machine_->read_line(3s).kind, Kind::timeout);
    const auto before = std::chrono::steady_clock::now();
    restore();
    const auto restored = std::stod(ask("clock"));
    const std::chrono::duration<double> since = std::chrono::steady_clock::now() - before;
    EXPECT_LT(restored - saved, since.count() + 1);
}

TEST_F(MachineTest, console_is_seen_and_forgotten_at_restore)
{
    constexpr const char* line = "a line for the console"; // which may come in pieces
    const auto seen = [&] { return machine_->console_since_restore().contains(line); };
    EXPECT_EQ(ask("log"), "logged");
    for (int i = 0; i < 600 && !seen(); ++i)
        machine_->read_line(100ms);
    EXPECT_TRUE(seen()) << machine_->console_since_restore();
    restore();
    EXPECT_FALSE(seen());
}

TEST_F(MachineTest, a_clone_continues_from_the_saved_state_and_can_be_restored)
{
    EXPECT_EQ(ask("remember"), "remembered"); // after save(): the clone must not know it
    auto spec = spec_;
    spec.work_dir = *dir_ / "second";
    std::optional<Machine> clone;
    {
        const Stopwatch watch("clone to answer");
        auto made = Machine::clone(spec, machine_->saved_state());
        ASSERT_TRUE(made) << made.error().message;
        clone.emplace(std::move(*made));
        EXPECT_EQ(ask("recall", *clone), "no");
    }
    EXPECT_EQ(ask("remember", *clone), "remembered");
    const auto restored = clone->restore();
    ASSERT_TRUE(restored) << restored.error().message;
    EXPECT_EQ(ask("recall", *clone), "no");
    EXPECT_EQ(ask("recall"), "yes") << "the first machine is not the clone's business";
}

TEST_F(MachineTest, a_machine_whose_qemu_is_killed_is_dead)
{
    auto spec = spec_;
    spec.work_dir = *dir_ / "victim";
    auto victim = Machine::clone(spec, machine_->saved_state());
    ASSERT_TRUE(victim) << victim.error().message;
    EXPECT_EQ(ask("hello", *victim), "hello");
    kill(victim->pid(), SIGKILL);
    const auto end = victim->read_line(patience);
    EXPECT_EQ(end.kind, Kind::dead);
    EXPECT_THAT(end.text, HasSubstr("signal 9"));
    EXPECT_FALSE(victim->alive());
    EXPECT_FALSE(victim->restore());
    EXPECT_FALSE(victim->send_line("hello?"));
}

TEST_F(MachineTest, a_program_that_came_along_starts)
{
    // Its libraries came too: 127 would be exec's or the loader's failure.
    EXPECT_EQ(ask(std::string("run ") + program + " --version"), "status 0");
    EXPECT_EQ(ask("run no-such-program"), "status 32512");
}
