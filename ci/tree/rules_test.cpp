// The rules on trees made to break them, and then on this repository.
#include "ci/tree/rules.hpp"

#include <algorithm>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ci {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> arrows_of(const std::string& from, const std::string& include)
{
    return arrow_complaints({{from, "// text\n#include \"" + include + "\"\n"}});
}

TEST(Arrows, PointOneWayThroughTheProtocolLayers)
{
    EXPECT_THAT(arrows_of("ublk/wire/ring.hpp", "ublk/uapi/io.hpp"), IsEmpty());
    EXPECT_THAT(arrows_of("ublk/engine/device.hpp", "ublk/wire/ring.hpp"), IsEmpty());
    EXPECT_THAT(arrows_of("ublk/engine/tags.cpp", "ublk/model/tag.hpp"), IsEmpty());
    EXPECT_THAT(arrows_of("ublk/serve/main.cpp", "ublk/backends/file.hpp"), IsEmpty());
    EXPECT_THAT(arrows_of("ublk/uapi/io.hpp", "ublk/wire/ring.hpp"),
                ElementsAre("ublk/uapi/io.hpp: ublk/uapi must not include ublk/wire/ring.hpp"));
    EXPECT_FALSE(arrows_of("ublk/wire/ring.hpp", "ublk/engine/device.hpp").empty());
    EXPECT_FALSE(arrows_of("ublk/engine/device.hpp", "ublk/backends/file.hpp").empty());
    EXPECT_FALSE(arrows_of("ublk/backends/file.hpp", "ublk/serve/options.hpp").empty());
    EXPECT_FALSE(arrows_of("ublk/model/step.hpp", "ublk/wire/ring.hpp").empty());
}

TEST(Arrows, KeepTheJudgesFromTheServer)
{
    EXPECT_THAT(arrows_of("conformance/driver/add.cpp", "ublk/wire/ring.hpp"), IsEmpty());
    EXPECT_THAT(arrows_of("conformance/driver/add.cpp", "reports/result.hpp"), IsEmpty());
    EXPECT_FALSE(arrows_of("conformance/driver/add.cpp", "ublk/engine/device.hpp").empty());
    EXPECT_FALSE(arrows_of("conformance/driver/add.cpp", "vm/kernel.hpp").empty());
    EXPECT_FALSE(arrows_of("conformance/server/check.cpp", "ublk/serve/options.hpp").empty());
    EXPECT_FALSE(arrows_of("perf/run.cpp", "ublk/backends/file.hpp").empty());
    EXPECT_THAT(arrows_of("conformance/ublkcheck/run.cpp", "vm/kernel.hpp"), IsEmpty());
}

TEST(Arrows, KeepTheGroundFloorApart)
{
    EXPECT_FALSE(arrows_of("vm/machine.cpp", "reports/event.hpp").empty());
    EXPECT_FALSE(arrows_of("vm/machine.cpp", "ublk/uapi/io.hpp").empty());
    EXPECT_FALSE(arrows_of("vm/machine.cpp", "conformance/driver/case.hpp").empty());
    EXPECT_FALSE(arrows_of("reports/json.cpp", "vm/kernel.hpp").empty());
    EXPECT_FALSE(arrows_of("reports/json.cpp", "ublk/uapi/io.hpp").empty());
    EXPECT_FALSE(arrow_complaints({{"vm/a.cpp", "#include <reports/event.hpp>\n"}}).empty());
}

TEST(Arrows, AskForARuleForEachNewDirectory)
{
    EXPECT_THAT(arrows_of("ublk/other/x.hpp", "ublk/uapi/io.hpp"), ElementsAre(HasSubstr("no rule")));
    EXPECT_FALSE(arrows_of("reportsx/x.hpp", "fmt/format.h").empty());
}

Source file_of(std::size_t lines)
{
    return {"vm/f.cpp", std::string(lines, '\n')};
}

TEST(FileLength, HasItsThreeLimits)
{
    EXPECT_THAT(file_length_complaints({}), IsEmpty());
    EXPECT_THAT(file_length_complaints({file_of(10), file_of(150), file_of(400)}), IsEmpty());
    EXPECT_THAT(file_length_complaints({file_of(10), file_of(151), file_of(400)}),
                ElementsAre(HasSubstr("half of the files")));
    EXPECT_THAT(file_length_complaints({file_of(10), file_of(10), file_of(401)}),
                ElementsAre(HasSubstr("one file in ten")));
    std::vector<Source> many(20, file_of(10));
    many.push_back(file_of(600));
    EXPECT_THAT(file_length_complaints(many), IsEmpty());
    many.push_back(file_of(601));
    EXPECT_THAT(file_length_complaints(many), ElementsAre(HasSubstr("601 lines")));
}

TEST(FunctionLength, IsCountedFromBraceToBrace)
{
    const auto function = [](std::size_t inner) {
        return Source{"vm/f.cpp", "namespace x {\nvoid f()\n{\n" + std::string(inner, '\n') + "}\n} // x\n"};
    };
    EXPECT_THAT(function_length_complaints({function(68)}), IsEmpty());
    EXPECT_THAT(function_length_complaints({function(69)}),
                ElementsAre(HasSubstr("vm/f.cpp:3: function of 71")));
}

class ThisTree : public testing::Test {
  protected:
    const std::vector<Source> sources_ = read_tree(UBLKCHECK_SOURCE_DIR);
};

TEST_F(ThisTree, IsRead)
{
    const auto has = [this](std::string_view path) {
        return std::ranges::any_of(sources_,
                                   [&](const Source& s) { return s.path == path && !s.text.empty(); });
    };
    EXPECT_TRUE(has("ublk/uapi/io.hpp"));
    EXPECT_TRUE(has("ci/tree/rules_test.cpp"));
}

TEST_F(ThisTree, KeepsItsArrows)
{
    EXPECT_THAT(arrow_complaints(sources_), IsEmpty());
}

TEST_F(ThisTree, KeepsItsFilesShort)
{
    EXPECT_THAT(file_length_complaints(sources_), IsEmpty());
}

TEST_F(ThisTree, KeepsItsFunctionsShort)
{
    EXPECT_THAT(function_length_complaints(sources_), IsEmpty());
}

} // namespace
} // namespace ci
