// Lockstep judged, in VMs: a model with one rule wrong on purpose is found to differ from the driver, within
// the default number of steps, and the sequence that is left is short and shows the rule.
#include "reports/results_json.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

struct Ran {
    int exit_code = -1;
    std::string scenario; // of the first share that left one
};

std::string read(const fs::path& path)
{
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// A run of the default length.
Ran run(const std::string& arguments)
{
    const fs::path out = fs::temp_directory_path() / fmt::format("ublkcheck-lockstep-{}", ::getpid());
    const char* kernel = std::getenv("UBLKCHECK_SELFTEST_KERNEL");
    const auto command = fmt::format("{} lockstep --seed 1 --out {} --kernel {} {}", UBLKCHECK_PROGRAM,
                                     out.string(), kernel != nullptr ? kernel : "latest", arguments);
    const int status = std::system(command.c_str());
    Ran ran{.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1, .scenario = {}};
    std::error_code ec;
    // Of what all shares have kept the shortest: a device with more tags needs more steps to get live.
    for (const auto& entry : fs::directory_iterator(out / "latest", ec)) {
        if (entry.path().extension() != ".scenario")
            continue;
        const auto text = read(entry.path());
        if (ran.scenario.empty() || text.size() < ran.scenario.size())
            ran.scenario = text;
    }
    fs::remove_all(out, ec);
    return ran;
}

struct Planted {
    std::string name, sign; // the latter is in the shortest sequence
};
class PlantedRule : public testing::TestWithParam<Planted> {};

TEST_P(PlantedRule, IsFoundAndShrunk)
{
    constexpr int most_lines = 12; // three of which say what was seen
    const auto& [name, sign] = GetParam();
    const auto ran = run(fmt::format("--planted {}", name));
    EXPECT_EQ(ran.exit_code, reports::exit_unexpected);
    EXPECT_THAT(ran.scenario, testing::HasSubstr(sign));
    EXPECT_LE(std::count(ran.scenario.begin(), ran.scenario.end(), '\n'), most_lines) << ran.scenario;
}

INSTANTIATE_TEST_SUITE_P(
    LockstepInVm, PlantedRule,
    testing::Values(Planted{"start-early", "\nstart dev="}, Planted{"commit-for-others", "\ncommit dev="},
                    Planted{"delete-idle-only", "\ndel dev="}, Planted{"obey-strangers", " sender=stranger"},
                    Planted{"any-blocks", " blocks=integrity"}, Planted{"share-twice", "\nreg_buf dev="},
                    Planted{"keep-prepared", "\nprep_tags dev="}, Planted{"no-numbers", " bare=yes"},
                    Planted{"half-the-zones", " given=half"}, Planted{"never-share", " page="},
                    Planted{"no-metadata", " metadata=yes"}),
    [](const auto& test) {
        std::string name = test.param.name;
        std::ranges::replace(name, '-', '_');
        return name;
    });

TEST(LockstepInVm, TheModelAgreesWithTheDriver)
{
    EXPECT_EQ(run("").exit_code, reports::exit_expected);
}

} // namespace
