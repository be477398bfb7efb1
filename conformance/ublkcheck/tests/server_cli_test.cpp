// `ublkcheck server` with bad input: told on the host, in one line, before anything is fetched or booted.
#include "conformance/ublkcheck/tests/command_line.hpp"

namespace {

using namespace ublkcheck_test;

class ServerCommand : public CommandLine {
  protected:
    std::string file(const std::string& name, const std::string& content, bool executable = true)
    {
        write(directory_ / name, content);
        fs::permissions(directory_ / name, executable ? fs::perms::owner_all : fs::perms::owner_read);
        return "./" + name;
    }
    void refused(std::vector<std::string> arguments, int status, const std::string& input)
    {
        arguments.insert(arguments.begin(), {"server", "--kernel", image_and_modules()});
        expect_refused(arguments, status, input);
    }
    // A program that is whole but for one library that nobody has.
    static std::string program_without_library()
    {
        auto program = read("/proc/self/exe");
        const std::string library = "libstdc++";
        if (const auto at = program.find(library); at != std::string::npos)
            program.replace(at, library.size(), "libnopes0");
        return program;
    }
};

TEST_F(ServerCommand, NeedsACommand)
{
    expect_refused({"server"}, 2, "command");
    expect_refused({"server", "--case", "SERVER-LIFE-001"}, 2, "command");
    expect_refused({"server", "--frobnicate", "--", "true"}, 2, "--frobnicate");
}

TEST_F(ServerCommand, WhatFollowsTheDashesIsTheServers)
{
    for (const auto* option :
         {"--kernel", "--case", "--setup", "--file", "--program", "--end", "--jobs", "--out"})
        expect_refused({"server", option, "1", "--", "./missing", "--kernel", "--help", "-x"}, 2,
                       std::string_view(option) == "--case" ? "'1'" : "./missing is not there");
}

TEST_F(ServerCommand, AProgramThatIsNoneIsNamed)
{
    refused({"--", "no-such-server-anywhere"}, 2, "no-such-server-anywhere is no program in PATH");
    refused({"--", "./missing"}, 2, "./missing is not there");
    refused({"--", "./"}, 2, "./ is no file");
    refused({"--", file("data", "no program", false)}, 2, "./data is not executable");
    refused({"--", file("text", "neither")}, 2, "./text is no 64-bit ELF program");
    refused({"--", file("nothing", "")}, 2, "./nothing is no 64-bit ELF program");
}

TEST_F(ServerCommand, AScriptWithoutItsInterpreterIsNamed)
{
    refused({"--", file("a", "#!/no/such/shell -e\n")}, 3, "/no/such/shell, which is not on this machine");
    refused({"--", file("b", "#!\n")}, 2, "names no interpreter");
    refused({"--", file("c", "#!/usr/bin/env no-such-language\n")}, 3,
            "no-such-language, which is not on this machine");
}

TEST_F(ServerCommand, AMissingLibraryIsNamed)
{
    refused({"--", file("server", program_without_library())}, 3, "needs the library libnopes0.so.6");
}

TEST_F(ServerCommand, WhatGoesAlongIsCheckedTheSameWay)
{
    refused({"--setup", "no-such-tool -x", "--", "/bin/true"}, 2, "--setup: no-such-tool");
    refused({"--setup", "", "--", "/bin/true"}, 2, "--setup ''");
    refused({"--setup", "true 'x", "--", "/bin/true"}, 2, "a quote is open");
    refused({"--end", "no-such-tool", "--", "/bin/true"}, 2, "--end: no-such-tool");
    refused({"--program", "no-such-tool", "--", "/bin/true"}, 2, "--program: no-such-tool");
    refused({"--file", "nowhere:/x", "--", "/bin/true"}, 2, "--file 'nowhere:/x'");
    refused({"--file", "/etc/hostname", "--", "/bin/true"}, 2, "HOST:GUEST");
    refused({"--file", "/etc/hostname:relative", "--", "/bin/true"}, 2, "must be absolute");
    refused({"--case", "SERVER-NOPE-*", "--", "/bin/true"}, 2, "SERVER-NOPE-*");
    refused({"--case", "UBLK-CTRL-ADD-001", "--", "/bin/true"}, 2, "UBLK-CTRL-ADD-001");
    refused({"--end-status", "256", "--", "/bin/true"}, 2, "--end-status");
    refused({"--disk-mib", "0", "--", "/bin/true"}, 2, "--disk-mib");
}

TEST_F(ServerCommand, WithoutFioOnlyCasesThatDoNotNeedItAreJudged)
{
    // Directories of PATH that every machine has hold fio where it is installed: find() looks there in any
    // case.
    if (fs::exists("/usr/bin/fio") || fs::exists("/usr/local/bin/fio"))
        GTEST_SKIP() << "fio is here";
    refused({"--", "/bin/true"}, 3, "install the package fio");
}

TEST_F(ServerCommand, LeavesNothingInTheDirectoryForTemporaryFiles)
{
    const auto kernel = image_and_modules();
    fs::create_directories(directory_ / "tmp");
    const std::map<std::string, std::string> broken{{"PATH", fake_qemu("echo 'I am broken' >&2\nexit 1\n")},
                                                    {"TMPDIR", (directory_ / "tmp").string()}};
    expect_refused({"server", "--kernel", kernel, "--accel", "tcg", "--no-data", "--", "/bin/true"}, 3,
                   "I am broken", broken);
    EXPECT_TRUE(fs::is_empty(directory_ / "tmp"));
    const std::map<std::string, std::string> nowhere{{"TMPDIR", "/proc/nowhere"}};
    expect_refused({"server", "--kernel", kernel, "--no-data", "--", "/bin/true"}, 3, "TMPDIR", nowhere);
}

} // namespace
