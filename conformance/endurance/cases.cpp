#include "conformance/endurance/cases.hpp"

#include "conformance/driver/driver.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>

namespace conformance::endurance {

namespace fs = std::filesystem;

Plan read_plan()
{
    std::ifstream file(plan_path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    if (text.empty())
        skip("needs a plan: `ublkcheck endurance` brings one along");
    const auto plan = parse_plan(text);
    if (!plan)
        fail("the plan can be read", plan.error());
    fmt::print("seed {}, cycles {}\n", plan->seed, plan->cycles);
    std::fflush(stdout);
    return *plan;
}

void expect_no_devices()
{
    std::string left;
    const auto look = [&left](const char* directory, std::string_view prefix) {
        std::error_code ec;
        for (const auto& entry : fs::directory_iterator(directory, ec)) {
            const std::string name = entry.path().filename();
            if (name.starts_with(prefix) && name != "ublk-control")
                left += (left.empty() ? "" : " ") + entry.path().string();
        }
    };
    look("/dev", "ublk");
    look("/sys/class/ublk-char", "ublkc");
    look("/sys/block", "ublkb");
    expect_eq(std::string(), left, "devices that are left");
}

void record_figure(const std::string& load, const std::string& metric, double value)
{
    record_measurement({.subject = "ublk-serve", .load = load, .metric = metric, .values = {value}});
}

} // namespace conformance::endurance
