// The built program with bad input: its exit code, and one line on stderr that names the input. Boots
// nothing and asks no network: every test has a cache of its own and a mirror that nobody serves.
#include "conformance/ublkcheck/tests/command_line.hpp"

#include <array>
#include <nlohmann/json.hpp>

namespace {

using namespace ublkcheck_test;

TEST_F(CommandLine, UnknownCommandsAndOptionsAreUsageErrors)
{
    expect_refused({}, 2, "subcommand");
    expect_refused({"frobnicate"}, 2, "frobnicate");
    expect_refused({"run", "--frobnicate"}, 2, "--frobnicate");
    expect_refused({"run", "7.3"}, 2, "7.3");
    expect_refused({"explain", "UBLK-NOPE-001"}, 2, "UBLK-NOPE-001");
    expect_refused({"list", "--suite", "nope"}, 2, "nope");
    expect_refused({"report", "nowhere"}, 2, "nowhere");
}

TEST_F(CommandLine, ControlsAreChosenByKernelAndCaseOrRefused)
{
    expect_refused({"controls", "--kernel", "9.9.9"}, 2, "9.9.9");
    expect_refused({"controls", "--kernel", "latest"}, 2, "latest");
    expect_refused({"controls", "--case", "UBLK-NOPE-001"}, 2, "UBLK-NOPE-001");
    expect_refused({"controls", "--kernel", "6.18.5", "--case", "UBLK-SIZE-002"}, 2, "no control");
    expect_refused({"controls", "--json", "nowhere/file"}, 2, "nowhere/file");
    // One whose kernel is not to be had is no success.
    expect_refused({"controls", "--kernel", "6.16.12"}, 3, "127.0.0.1:9");
    const auto listed = run({"controls", "--list", "--kernel", "6.16.12 6.17.8", "--case", "UBLK-SIZE-002"});
    EXPECT_EQ(listed.status, 0) << listed.err;
    EXPECT_EQ(std::count(listed.out.begin(), listed.out.end(), '\n'), 3) << listed.out;
    EXPECT_THAT(listed.out, HasSubstr("6.17.8    UBLK-SIZE-002          crash    not run"));
}

TEST_F(CommandLine, ValuesOutOfRangeAreUsageErrors)
{
    const std::vector<std::array<std::string, 2>> wrong{
        {"--jobs", "257"},          {"--jobs", "-1"},           {"--jobs", "many"},
        {"--memory", "383"},        {"--memory", "65537"},      {"--timeout-scale", "0"},
        {"--timeout-scale", "nan"}, {"--timeout-scale", "101"}, {"--isolation", "most"},
        {"--accel", "warp"},        {"--flavour", "sweet"},     {"--shard", "3/2"},
        {"--case", "NOPE-*"},       {"--suite", "nope"}};
    for (const auto& [option, value] : wrong)
        expect_refused({"run", option, value}, 2, value);
    const std::vector<std::array<std::string, 2>> cycles{
        {"--cycles", "0"}, {"--cycles", "many"}, {"--seed", "-1"}, {"--case", "UBLK-*"}};
    for (const auto& [option, value] : cycles)
        expect_refused({"endurance", option, value}, 2, value);
    expect_refused({"lockstep", "--seed", "-1"}, 2, "-1");
    expect_refused({"lockstep", "--planted", "nothing"}, 2, "nothing");
}

TEST_F(CommandLine, KernelsThatAreNoneAreNamed)
{
    write(directory_ / "junk.deb", "junk");
    write(directory_ / "junk", "junk");
    write(directory_ / "cut.deb", vm_test::whole_package(release).substr(0, 400));
    fs::create_directory(directory_ / "empty");
    expect_refused({"run", "--kernel", "seven"}, 2, "seven");
    expect_refused({"run", "--kernel", ""}, 2, "KERNEL=");
    expect_refused({"run", "--kernel", "nosuch.deb"}, 2, "nosuch.deb");
    expect_refused({"run", "--kernel", "junk.deb"}, 3, "junk.deb");
    expect_refused({"run", "--kernel", "cut.deb"}, 3, "cut.deb");
    expect_refused({"run", "--kernel", "junk:empty"}, 2, "junk");
    expect_refused({"run", "--kernel", "./empty"}, 2, "empty");
    expect_refused({"run", "--kernel", "./nowhere"}, 2, "nowhere");
    expect_refused({"kernels", "fetch", "seven"}, 2, "seven");
}

TEST_F(CommandLine, AKernelWithoutTheDriverIsNotRun)
{
    auto modules = vm_test::module_files(release);
    std::erase_if(modules, [](const auto& module) { return module.first.contains("ublk_drv"); });
    modules[std::string("usr/lib/modules/") + release + "/kernel/other.ko"] = vm_test::module_file(release);
    expect_refused({"run", "--kernel", image_and_modules(modules)}, 3, release);
}

TEST_F(CommandLine, WithoutANetworkAnEmptyCacheIsTheEnd)
{
    for (const auto* kernel : {"7.3", "latest", "all"})
        expect_refused({"run", "--kernel", kernel}, 3, "127.0.0.1:9");
}

TEST_F(CommandLine, AMirrorThatIsNoneIsNamed)
{
    expect_refused({"run"}, 2, "not a mirror", {{"UBLKCHECK_APT_MIRROR", "not a mirror"}});
    expect_refused({"run"}, 2, "/no/keys.gpg", {{"UBLKCHECK_APT_KEYRING", "/no/keys.gpg"}});
}

TEST_F(CommandLine, ACacheThatCannotBeWrittenIsNamed)
{
    write(directory_ / "file", "in the way");
    expect_refused({"run"}, 3, "file", {{"UBLKCHECK_CACHE", (directory_ / "file").string()}});
}

TEST_F(CommandLine, ADriverThatIsNoneIsNamedAndLeavesNoRun)
{
    const auto kernel = image_and_modules();
    const std::map<std::string, std::string> qemu{{"PATH", fake_qemu("exit 1\n")}};
    write(directory_ / "ublk_drv.ko", "junk");
    write(directory_ / "other.ko", vm_test::module_file(release));
    write(directory_ / "old/ublk_drv.ko", vm_test::module_file("6.1.0-old"));
    expect_refused({"run", "--kernel", kernel, "--driver", "nowhere/ublk_drv.ko"}, 2, "nowhere/ublk_drv.ko",
                   qemu);
    expect_refused({"run", "--kernel", kernel, "--driver", "ublk_drv.ko"}, 2, "ublk_drv.ko", qemu);
    expect_refused({"run", "--kernel", kernel, "--driver", "other.ko"}, 2, "other.ko", qemu);
    expect_refused({"run", "--kernel", kernel, "--driver", "old/ublk_drv.ko"}, 2, "6.1.0-old", qemu);
}

TEST_F(CommandLine, AQemuThatEndsAtOnceIsNamedAndLeavesNoRun)
{
    const auto kernel = image_and_modules();
    const std::map<std::string, std::string> broken{{"PATH", fake_qemu("echo 'I am broken' >&2\nexit 1\n")}};
    expect_refused({"run", "--kernel", kernel, "--accel", "tcg"}, 3, "I am broken", broken);
    write(directory_ / "bin/qemu-system-x86_64", "#!/bin/sh\nexit 1\n");
    expect_refused({"run", "--kernel", kernel}, 3, "qemu-system-x86", broken);
}

TEST_F(CommandLine, AnOutThatCannotBeWrittenIsNamed)
{
    const auto kernel = image_and_modules();
    write(directory_ / "file", "in the way");
    expect_refused({"run", "--kernel", kernel, "--out", "file"}, 3, "file");
    expect_refused({"run", "--kernel", kernel, "--out", "file/below"}, 3, "file/below");
    expect_refused({"run", "--kernel", kernel, "--json", "nowhere/x.json"}, 2, "nowhere/x.json");
    expect_refused({"list", "--json", "nowhere/x.json"}, 3, "nowhere/x.json");
}

TEST_F(CommandLine, ResumingWhatIsNoRunIsAUsageError)
{
    write(directory_ / "none/events.jsonl", "");
    write(directory_ / "junk/events.jsonl", "junk\n");
    expect_refused({"run", "--resume"}, 2, "out/latest");
    expect_refused({"run", "--resume", "nowhere"}, 2, "nowhere");
    expect_refused({"run", "--resume", "none"}, 2, "none");
    expect_refused({"run", "--resume", "junk"}, 2, "junk");
    expect_refused({"run", "--resume", "none", "--case", "X"}, 2, "--case");
    expect_refused({"run", "--resume", "none", "--driver", "X"}, 2, "--driver");
}

TEST_F(CommandLine, DoctorSaysWhetherARunCouldStart)
{
    const auto good = run({"doctor", "--json", "doctor.json"});
    const auto json = nlohmann::json::parse(read(directory_ / "doctor.json"));
    EXPECT_EQ(good.status, json.at("could_run").get<bool>() ? 0 : 3);
    EXPECT_GT(json.at("findings").size(), 10U);
    EXPECT_EQ(good.err, "");

    write(directory_ / "file", "in the way");
    const auto bad = run({"doctor", "--out", "file"});
    EXPECT_EQ(bad.status, 3);
    EXPECT_THAT(bad.out, testing::ContainsRegex("out +missing: .*file"));
}

TEST_F(CommandLine, HelpAndVersionEndWithZero)
{
    for (const auto* option : {"--help", "--version"})
        EXPECT_EQ(run({option}).status, 0) << option;
    EXPECT_THAT(run({"run", "--help"}).out, HasSubstr("--resume"));
}

} // namespace
