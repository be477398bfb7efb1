#include "ublk/serve/serving.hpp"

#include <gtest/gtest.h>

namespace ublk::serve {
namespace {

using engine::DataPath;
using uapi::Feature;

DataPath best(const std::string& type, bool direct, bool serves_unmapped, uapi::Features offered,
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
    return best_data_path(std::get<AddCommand>(*command), serves_unmapped, offered);
}

TEST(AutoDataPath, CopiesNothingWhereThatIsCheaper)
{
    const auto all = Feature::support_zero_copy | Feature::auto_buf_reg;
    EXPECT_EQ(best("null", false, true, all), DataPath::auto_buf);
    EXPECT_EQ(best("file", true, true, all), DataPath::auto_buf);
    EXPECT_EQ(best("file", false, true, all), DataPath::copy) << "the page cache copies anyway";
    EXPECT_EQ(best("memory", false, false, all), DataPath::copy);
}

TEST(AutoDataPath, IsOneThatKernelUserAndBackendCanHave)
{
    const auto all = Feature::support_zero_copy | Feature::auto_buf_reg;
    EXPECT_EQ(best("null", false, true, Feature::support_zero_copy), DataPath::copy) << "before 6.16";
    EXPECT_EQ(best("null", false, false, all), DataPath::copy) << "decorated";
    EXPECT_EQ(best("file", true, false, all), DataPath::copy) << "decorated";
    EXPECT_EQ(best("null", false, true, all, true), DataPath::copy) << "of a user who is not root";
}

} // namespace
} // namespace ublk::serve
