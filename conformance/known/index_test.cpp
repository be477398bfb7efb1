// Holds reports/README.md against the reports, the list of known defects, and the cases.
#include "conformance/known/known.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace conformance {
namespace {

namespace fs = std::filesystem;

const fs::path root = UBLKCHECK_SOURCE_DIR;
constexpr const char* reports_prefix = "conformance/known/reports/";
const auto reports_folder = root / reports_prefix;

std::string text_of(const fs::path& path)
{
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// What the first group of `pattern` matches, wherever it does.
std::set<std::string> found(const std::string& text, const char* pattern)
{
    const std::regex regex(pattern);
    std::set<std::string> all;
    for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at)
        all.insert((*at)[1]);
    return all;
}

struct Row {
    std::string number, what, verdict, cases, report;
};

const std::vector<Row>& rows()
{
    static const auto all = [] {
        const auto text = text_of(reports_folder / "README.md");
        const std::regex line(R"(\| (\d+) \| ([^|\n]+) \| ([^|\n]+) \| ([^|\n]+) \| ([^|\n]+) \|)");
        std::vector<Row> read;
        for (std::sregex_iterator at(text.begin(), text.end(), line), end; at != end; ++at)
            read.push_back({(*at)[1], (*at)[2], (*at)[3], (*at)[4], (*at)[5]});
        return read;
    }();
    return all;
}

// The report's file name, or "".
std::string report_of(const Row& row)
{
    std::smatch match;
    return std::regex_match(row.report, match, std::regex(R"(\[report\]\((.+\.md)\))")) ? match[1].str() : "";
}

std::set<std::string> ids_of(const Row& row)
{
    return found(row.cases, "(UBLK-[A-Z-]+-[0-9]{3})");
}

std::set<std::string> ids_of_cases()
{
    std::set<std::string> ids;
    for (const char* folder : {"driver", "server"})
        for (const auto& entry : fs::directory_iterator(root / "conformance" / folder))
            if (entry.path().extension() == ".cpp")
                ids.merge(found(text_of(entry.path()), R"re(CASE\("(UBLK-[A-Z-]+-[0-9]{3})")re"));
    return ids;
}

TEST(ReportIndex, EachSuspicionHasAVerdict)
{
    std::set<std::string> numbers;
    for (const auto& row : rows()) {
        numbers.insert(row.number);
        EXPECT_TRUE(std::regex_match(row.verdict, std::regex("confirmed|refuted: .+|open: .+"))) << row.what;
    }
    for (int number = 1; number <= 16; ++number)
        EXPECT_TRUE(numbers.contains(std::to_string(number))) << number;
}

TEST(ReportIndex, EachRowHasACaseThatExistsOrSaysWhyThereIsNone)
{
    const auto cases = ids_of_cases();
    for (const auto& row : rows()) {
        EXPECT_EQ(ids_of(row).empty(), row.cases.starts_with("none: ")) << row.what;
        for (const auto& id : ids_of(row))
            EXPECT_TRUE(cases.contains(id)) << id;
    }
}

TEST(ReportIndex, EachConfirmedRowHasAReportAndEachReportARow)
{
    std::set<std::string> named, present;
    for (const auto& row : rows()) {
        if (const auto report = report_of(row); !report.empty())
            named.insert(report);
        else
            EXPECT_TRUE(row.report == "none" && !row.verdict.starts_with("confirmed")) << row.what;
    }
    for (const auto& entry : fs::directory_iterator(reports_folder))
        present.insert(entry.path().filename());
    present.erase("README.md");
    EXPECT_EQ(named, present);
}

TEST(ReportIndex, AKnownDefectNamesTheReportOfItsRow)
{
    const auto holds = [](const KnownDefect& defect) {
        return std::ranges::any_of(defect.kernels,
                                   [](const auto& range) { return range.contains({7, 3, 4}); });
    };
    for (const auto& defect : known_defects()) {
        bool named = !defect.reference.starts_with(reports_prefix);
        for (const auto& row : rows()) {
            named = named || reports_prefix + report_of(row) == defect.reference;
            if (ids_of(row).contains(defect.requirement) && holds(defect)) {
                EXPECT_EQ(reports_prefix + report_of(row), defect.reference) << defect.requirement;
            }
        }
        EXPECT_TRUE(named) << defect.reference;
    }
}

// A report says for itself which case shows it.
TEST(ReportIndex, AReportNamesItsCases)
{
    for (const auto& row : rows()) {
        if (report_of(row).empty())
            continue;
        const auto text = text_of(reports_folder / report_of(row));
        for (const auto& id : ids_of(row))
            EXPECT_NE(text.find(id), std::string::npos) << report_of(row) << " and " << id;
    }
}

} // namespace
} // namespace conformance
