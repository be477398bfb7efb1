// Our definitions beside the kernel's header, the installed one or the one named by UBLKCHECK_UAPI_HEADER.
#include "ublk/uapi/features.hpp"
#include "ublk/uapi/names.hpp"
#include "ublk/uapi/test/kernel_header.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>
#include <regex>
#include <set>
#include <string_view>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk::uapi::test {
namespace {

std::vector<std::string> groups()
{
    std::vector<std::string> names;
    for (const auto& row : all_rows())
        if (std::ranges::find(names, row.group) == names.end())
            names.push_back(row.group);
    return names;
}

// 7.3 added this flag and nothing that we define is younger: such a header must have every name.
bool header_is_whole()
{
    return std::ranges::any_of(constant_rows(), [](const Row& row) {
        return row.name == "UBLK_F_IO_DESC_SIZE" && row.theirs.has_value();
    });
}

class KernelHeader : public testing::TestWithParam<std::string> {};

TEST_P(KernelHeader, AgreesWithOurDefinitions)
{
    std::string lacking;
    std::size_t compared = 0;
    for (const auto& row : all_rows()) {
        if (row.group != GetParam())
            continue;
        if (row.theirs) {
            ++compared;
            EXPECT_EQ(*row.theirs, row.ours) << row.name << " in " << header_path();
        } else {
            lacking += "\n  " + row.name;
        }
    }
    if (lacking.empty())
        return;
    if (header_is_whole())
        FAIL() << header_path() << " is of 7.3 or later, and yet has no" << lacking;
    GTEST_SKIP() << compared << " compared; not in the header of this machine:" << lacking;
}

INSTANTIATE_TEST_SUITE_P(Group, KernelHeader, testing::ValuesIn(groups()), [](const auto& group) {
    std::string name = group.param;
    std::ranges::replace_if(name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
    return name;
});

TEST(KernelHeaderText, HoldsNoNameThatWeDoNotKnow)
{
    if (header_path().empty())
        GTEST_SKIP() << "this machine has no linux/ublk_cmd.h";
    std::set<std::string> ours;
    for (const auto& row : constant_rows())
        ours.insert(row.name);

    std::ifstream header(header_path());
    const std::regex define(R"(^#\s*define\s+(UBLK\w*)\s.*)");
    std::string newer;
    std::size_t known = 0;
    for (std::string line; std::getline(header, line);) {
        std::smatch match;
        if (!std::regex_match(line, match, define))
            continue;
        if (ours.contains(match[1]))
            ++known;
        else
            newer += "\n  " + match[1].str();
    }
    // The oldest header there is, of 6.0, has more names than this: fewer say that nothing was read.
    ASSERT_GT(known, 30U) << header_path();
    if (!newer.empty())
        GTEST_SKIP() << header_path() << " is newer than our definitions; unknown to us:" << newer;
}

// The text that we print for a value is the UAPI's name without its prefix.
TEST(Names, AreTheKernels)
{
    using Render = std::function<std::string(std::int64_t)>;
    const auto u32 = [](std::int64_t v) { return static_cast<std::uint32_t>(v); };
    const std::array<std::pair<std::string_view, Render>, 8> renderers{{
        {"UBLK_U_CMD_", [&](auto v) { return ctrl_op_name(u32(v)); }},
        {"UBLK_U_IO_", [&](auto v) { return io_op_name(u32(v)); }},
        {"UBLK_S_DEV_", [](auto v) { return to_string(static_cast<DevState>(v)); }},
        {"UBLK_IO_OP_", [](auto v) { return to_string(static_cast<IoOp>(v)); }},
        {"UBLK_IO_F_", [&](auto v) { return to_string(IoFlags::from_raw(u32(v))); }},
        {"UBLK_ATTR_", [&](auto v) { return to_string(Attrs::from_raw(u32(v))); }},
        {"UBLK_PARAM_TYPE_", [&](auto v) { return to_string(ParamTypes::from_raw(u32(v))); }},
        {"UBLK_F_", [](auto v) { return to_string(Features::from_raw(static_cast<std::uint64_t>(v))); }},
    }};
    std::array<int, renderers.size()> seen{};
    for (const auto& row : constant_rows()) {
        for (std::size_t i = 0; i < renderers.size(); ++i) {
            const auto& [prefix, render] = renderers.at(i);
            if (!row.name.starts_with(prefix))
                continue;
            EXPECT_EQ(render(row.ours), row.name.substr(prefix.size()));
            ++seen.at(i);
        }
    }
    EXPECT_THAT(seen, testing::Each(testing::Gt(0)));
}

} // namespace
} // namespace ublk::uapi::test
