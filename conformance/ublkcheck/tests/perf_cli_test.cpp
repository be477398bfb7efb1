// `ublkcheck perf` with bad input, in repositories of the tests' own: exit code, one line on stderr, and
// nothing left behind. Boots nothing.
#include "vm/tests/temp_dir.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <iterator>
#include <sys/wait.h>

namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

struct Ended {
    int status = -1;
    std::string err;
};

class PerfCommandLine : public ::testing::Test {
  protected:
    PerfCommandLine()
    {
        fs::create_directories(repository());
        git("init -q -b main .");
    }

    fs::path repository() const { return directory_.path() / "repository"; }
    fs::path cache() const { return directory_.path() / "cache"; }

    std::string shell(const std::string& command) const
    {
        const auto output = directory_.path() / "shell.out";
        const auto line =
            "cd '" + repository().string() + "' && { " + command + "; } >'" + output.string() + "' 2>&1";
        EXPECT_EQ(std::system(line.c_str()), 0) << line << read(output);
        return read(output);
    }
    std::string git(const std::string& arguments) const
    {
        return shell("git -c user.name=t -c user.email=t@localhost " + arguments);
    }
    void commit(const std::string& file, const std::string& text) const
    {
        std::ofstream(repository() / file) << text;
        git("add -A");
        git("commit -q -m change");
    }

    Ended perf(const std::string& arguments, const std::string& environment = "") const
    {
        const auto err = directory_.path() / "stderr";
        const auto line = "cd '" + repository().string() + "' && UBLKCHECK_CACHE='" + cache().string() +
                          "' UBLKCHECK_APT_MIRROR=http://127.0.0.1:9/debian " + environment +
                          " " UBLKCHECK " perf " + arguments + " >/dev/null 2>'" + err.string() + "'";
        const int status = std::system(line.c_str());
        return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read(err)};
    }
    void expect_refused(const std::string& arguments, int status, const std::string& input,
                        const std::string& environment = "") const
    {
        SCOPED_TRACE(arguments);
        const auto ended = perf(arguments, environment);
        EXPECT_EQ(ended.status, status);
        EXPECT_THAT(ended.err, HasSubstr(input));
        EXPECT_TRUE(ended.err.starts_with("ublkcheck")) << ended.err;
        EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
        EXPECT_FALSE(fs::exists(repository() / "out")) << "a run is left";
    }
    // No work tree, neither on disk nor in the repository's list, and no program.
    void expect_no_tree() const
    {
        const auto list = git("worktree list");
        EXPECT_EQ(std::count(list.begin(), list.end(), '\n'), 1) << list;
        std::error_code ec;
        for (const auto& entry : fs::directory_iterator(cache() / "revisions", ec))
            EXPECT_FALSE(entry.is_directory()) << entry.path();
        EXPECT_EQ(git("status --short"), "");
    }

  private:
    static std::string read(const fs::path& file)
    {
        std::ifstream stream(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(stream), {}};
    }

    vm::testing::TempDir directory_;
};

TEST_F(PerfCommandLine, NumbersOutsideTheirRangeAreUsageErrors)
{
    commit("a", "1");
    expect_refused("run --rounds 0", 2, "--rounds");
    expect_refused("run --rounds many", 2, "many");
    expect_refused("run --runtime 0", 2, "--runtime");
    expect_refused("compare HEAD HEAD --type tape", 2, "tape");
    expect_refused("run --case PERF-NOTHING", 2, "PERF-NOTHING");
    expect_refused("run --json /nowhere/file", 2, "/nowhere/file");
}

TEST_F(PerfCommandLine, CompareTakesTwoCommits)
{
    commit("a", "1");
    expect_refused("compare", 2, "A is required");
    expect_refused("compare HEAD", 2, "B is required");
    expect_refused("compare HEAD nosuch", 2, "there is no commit 'nosuch'");
    expect_refused("compare --exact nosuch HEAD", 2, "there is no commit 'nosuch'");
    expect_refused("compare HEAD 'HEAD:a'", 2, "HEAD:a");
    expect_refused("compare HEAD ''", 2, "there is no commit ''");
    expect_no_tree();
}

TEST_F(PerfCommandLine, OutsideOfARepositoryThereAreNoCommits)
{
    shell("rm -rf .git");
    expect_refused("compare HEAD HEAD", 2, "no git repository",
                   "GIT_CEILING_DIRECTORIES='" + repository().parent_path().string() + "'");
}

TEST_F(PerfCommandLine, ACommitThatDoesNotConfigureIsNamedWithItsComplaintAndLeavesNothing)
{
    commit("a", "1");
    expect_refused("compare HEAD HEAD", 3, "'HEAD'");
    const auto ended = perf("compare HEAD HEAD --exact");
    EXPECT_EQ(ended.status, 3);
    EXPECT_THAT(ended.err, HasSubstr("does not build"));
    EXPECT_THAT(ended.err, HasSubstr("CMake Error"));
    EXPECT_THAT(ended.err, HasSubstr(".log"));
    expect_no_tree();
}

TEST_F(PerfCommandLine, ACommitThatDoesNotCompileIsNamedWithTheCompilersWords)
{
    std::ofstream(repository() / "CMakePresets.json")
        << R"({"version": 6, "configurePresets": [{"name": "release", "generator": "Ninja",
               "binaryDir": "${sourceDir}/build"}]})";
    std::ofstream(repository() / "CMakeLists.txt")
        << "cmake_minimum_required(VERSION 3.25)\nproject(p CXX)\n"
           "set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)\nadd_executable(ublk-serve "
           "main.cpp)\n";
    commit("main.cpp", "int main() { return 0; }\n");
    commit("main.cpp", "int main() { return nothing_of_that_name; }\n");
    const auto ended = perf("compare HEAD~1 HEAD");
    EXPECT_EQ(ended.status, 3);
    EXPECT_THAT(ended.err, HasSubstr("'HEAD'"));
    EXPECT_THAT(ended.err, HasSubstr("nothing_of_that_name"));
    expect_no_tree();
    // The one that builds is not what is complained of; what comes next, the kernel, is not to be had here.
    const auto built = perf("compare HEAD~1 HEAD~1");
    EXPECT_EQ(built.status, 3);
    EXPECT_THAT(built.err, Not(HasSubstr("does not build")));
    expect_no_tree();
}

} // namespace
