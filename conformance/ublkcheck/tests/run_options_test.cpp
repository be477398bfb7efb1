// What is kept of a run: its options, its consoles, and how one case is repeated.
#include "conformance/ublkcheck/consoles.hpp"
#include "conformance/ublkcheck/run_options.hpp"
#include "vm/tests/temp_dir.hpp"

#include <gmock/gmock.h>

namespace conformance {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using vm::testing::TempDir;

std::string content(const fs::path& file)
{
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST(ShellText, OnlyWhatAShellWouldReadIsQuoted)
{
    EXPECT_EQ(shell_text("UBLK-CTRL-001"), "UBLK-CTRL-001");
    EXPECT_EQ(shell_text("/a b"), "'/a b'");
    EXPECT_EQ(shell_text("*"), "'*'");
    EXPECT_EQ(shell_text("it's"), R"('it'\''s')");
    EXPECT_EQ(shell_text(""), "''");
}

TEST(Again, NamesWhateverDiffersFromARunWithoutOptions)
{
    const vm::Kernel kernel{.typed = "7.3.4"};
    EXPECT_EQ(again_command({}, kernel, "ID"), "ublkcheck run --kernel 7.3.4 --case ID");
    RunOptions options{.driver = "/my dir/ublk_drv.ko",
                       .accel = "tcg",
                       .memory_mib = 300,
                       .timeout_scale = 2.5,
                       .strict = true};
    options.packages.flavour = "amd64";
    EXPECT_EQ(again_command(options, {.typed = "b z:mods"}, "ID"),
              "ublkcheck run --kernel 'b z:mods' --case ID --driver '/my dir/ublk_drv.ko' --flavour amd64 "
              "--accel tcg --memory 300 --timeout-scale 2.5 --strict");
}

TEST(SavedOptions, ComeBackAsTheyWere)
{
    const TempDir temp;
    const auto driver = temp.write("ublk_drv.ko", "module");
    RunOptions options{.driver = driver.string(),
                       .isolation = "none",
                       .accel = "tcg",
                       .jobs = 3,
                       .memory_mib = 300,
                       .timeout_scale = 0.3,
                       .strict = true};
    ASSERT_TRUE(save_options(temp.path(), options,
                             {.kind = vm::KernelSpec::Kind::image, .files = {"/k/bzImage", "/k/mods"}}));
    const auto back = saved_options(temp.path(), {.json = "x.json", .timings = true});
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->kernels, (std::vector<std::string>{"/k/bzImage:/k/mods"}));
    EXPECT_EQ(back->driver, options.driver);
    EXPECT_EQ(back->isolation, "none");
    EXPECT_EQ(back->accel, "tcg");
    EXPECT_EQ(back->jobs, 3U);
    EXPECT_EQ(back->memory_mib, 300U);
    EXPECT_EQ(back->timeout_scale, 0.3);
    EXPECT_TRUE(back->strict && back->timings);
    EXPECT_EQ(back->json, "x.json");
}

TEST(SavedOptions, AnotherDriverUnderTheSameNameIsRefused)
{
    const TempDir temp;
    const auto driver = temp.write("ublk_drv.ko", "module");
    ASSERT_TRUE(save_options(temp.path(), {.driver = driver.string()}, {.label = "7.3.4+x"}));
    temp.write("ublk_drv.ko", "mutant");
    const auto back = saved_options(temp.path(), {});
    ASSERT_FALSE(back);
    EXPECT_EQ(back.error().exit_code, reports::exit_usage);
    EXPECT_THAT(back.error().message, HasSubstr(driver.string()));
}

TEST(SavedOptions, AFileThatIsNoneOfOursIsRefusedByName)
{
    const TempDir temp;
    for (const auto* text : {"", "{", "[]", "{\"kernel\": 5}"}) {
        temp.write("options.json", text);
        const auto back = saved_options(temp.path(), {});
        ASSERT_FALSE(back) << text;
        EXPECT_THAT(back.error().message, HasSubstr((temp / "options.json").string()));
    }
}

TEST(Consoles, AreKeptInOneFileAndTheMachinesGo)
{
    const TempDir temp;
    const auto machines = temp / "machine";
    fs::create_directories(machines / "worker0");
    fs::create_directories(machines / "worker1.1");
    std::ofstream(machines / "worker0/console.log") << "zero\n";
    std::ofstream(machines / "worker0/state.qcow2") << "large";
    std::ofstream(machines / "worker1.1/console.log") << "one\n";
    temp.write("console.log", "before\n");
    keep_consoles(machines, temp / "console.log");
    EXPECT_FALSE(fs::exists(machines));
    EXPECT_EQ(content(temp / "console.log"), "before\n==== worker0\nzero\n\n==== worker1.1\none\n\n");
    keep_consoles(machines, temp / "console.log"); // nothing there: nothing is added
    EXPECT_EQ(content(temp / "console.log"), "before\n==== worker0\nzero\n\n==== worker1.1\none\n\n");
}

TEST(Consoles, TheEndOfALongOneIsKept)
{
    const TempDir temp;
    fs::create_directories(temp / "machine/worker0");
    {
        std::ofstream out(temp / "machine/worker0/console.log");
        for (std::size_t bytes = 0; bytes < console_bytes_kept + 1000; bytes += 10)
            out << "012345678\n";
        out << "last\n";
    }
    keep_consoles(temp / "machine", temp / "console.log");
    const auto text = content(temp / "console.log");
    EXPECT_LT(text.size(), console_bytes_kept + 100);
    EXPECT_THAT(text, HasSubstr("bytes left out ...]\n012345678\n"));
    EXPECT_TRUE(text.ends_with("012345678\nlast\n\n"));
}

} // namespace
} // namespace conformance
