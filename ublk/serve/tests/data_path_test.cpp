#include "ublk/serve/serving.hpp"

#include <gtest/gtest.h>

namespace ublk::serve {
namespace {

using engine::DataPath;
using uapi::Feature;

constexpr auto all = Feature::support_zero_copy | Feature::auto_buf_reg | Feature::need_get_data;

DataPath best(const std::string& type, bool direct, PayloadWays ways, uapi::Features offered,
              bool unprivileged = false)
{
    std::vector<std::string> line{"add", "--type", type, "--data-path", "auto"};
    if (type == "file")
        line.insert(line.end(), {"--file", "x"});
    if (direct)
        line.emplace_back("--direct");
    if (unprivileged)
        line.emplace_back("--unprivileged");
    const auto command = parse(line);
    EXPECT_TRUE(command.has_value());
    return best_data_path(std::get<AddCommand>(*command), ways, offered);
}

TEST(AutoDataPath, CopiesNothingWhereThatIsCheaper)
{
    EXPECT_EQ(best("null", false, {.unmapped = true}, all), DataPath::auto_buf);
    EXPECT_EQ(best("file", true, {.unmapped = true}, all), DataPath::auto_buf);
    EXPECT_EQ(best("file", false, {.unmapped = true}, all), DataPath::copy) << "the page cache copies anyway";
    EXPECT_EQ(best("file", false, {.unmapped = true, .places = true}, all), DataPath::get_data);
    EXPECT_EQ(best("memory", false, {.places = true}, all), DataPath::get_data);
}

TEST(AutoDataPath, IsOneThatKernelUserAndBackendCanHave)
{
    EXPECT_EQ(best("null", false, {.unmapped = true}, Feature::support_zero_copy), DataPath::copy)
        << "before 6.16";
    EXPECT_EQ(best("null", false, {}, all), DataPath::copy) << "decorated";
    EXPECT_EQ(best("file", true, {}, all), DataPath::copy) << "decorated";
    EXPECT_EQ(best("memory", false, {}, all), DataPath::copy) << "decorated";
    EXPECT_EQ(best("null", false, {.unmapped = true}, all, true), DataPath::copy)
        << "of a user who is not root";
    EXPECT_EQ(best("memory", false, {.places = true}, {}), DataPath::copy);
}

} // namespace
} // namespace ublk::serve
