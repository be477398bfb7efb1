#include "perf/fio.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace perf {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

const Load& load(std::string_view name)
{
    for (const auto& l : loads())
        if (l.name == name)
            return l;
    throw std::invalid_argument("no such load");
}

std::string report(int error, double read_iops, double write_iops, int ios)
{
    const auto part = [&](double iops, int count) {
        return R"({"iops":)" + std::to_string(iops) + R"(,"bw_bytes":)" + std::to_string(iops * 4096) +
               R"(,"total_ios":)" + std::to_string(count) + "}";
    };
    return R"({"fio version":"fio-3.33","jobs":[{"jobname":"a","error":)" + std::to_string(error) +
           R"(,"read":)" + part(read_iops, ios) + R"(,"write":)" + part(write_iops, 0) + "}]}";
}

TEST(FioCommand, SaysTheLoadAsFioSaysIt)
{
    const auto mix = fio_command(load("4k-mix"), "/dev/ram0", 0.25, "/tmp/o");
    for (const char* word : {"--rw=randrw", "--rwmixread=70", "--iodepth=32", "--bs=4096", "--runtime=250ms",
                             "--filename=/dev/ram0", "--output=/tmp/o", "--direct=1"})
        EXPECT_THAT(mix, Contains(word));
    EXPECT_THAT(fio_command(load("128k-write"), "/d", 1, "/o"), Contains("--rw=write"));
    EXPECT_THAT(fio_command(load("128k-read"), "/d", 1, "/o"), Contains("--rw=read"));
    EXPECT_THAT(fio_command(load("4k-randread-qd1"), "/d", 1, "/o"), Contains("--rw=randread"));
    EXPECT_THAT(fio_command(load("4k-randwrite-qd1"), "/d", 1, "/o"), Contains("--rw=randwrite"));
}

TEST(FioReport, AddsReadsAndWrites)
{
    const auto result = read_fio_report("fio: a note\n" + report(0, 256, 256, 100));
    ASSERT_TRUE(result) << result.error();
    EXPECT_DOUBLE_EQ(result->iops, 512);
    EXPECT_DOUBLE_EQ(result->mib_per_s, 2);
    EXPECT_EQ(result->ios, 100U);
}

TEST(FioReport, IsNoneWhenTheJobFailed)
{
    EXPECT_THAT(read_fio_report(report(5, 1, 1, 1)).error(), HasSubstr("error 5"));
    EXPECT_EQ(read_fio_report(report(0, 0, 0, 0))->ios, 0U); // no failure of fio's
    EXPECT_THAT(read_fio_report("").error(), HasSubstr("empty"));
    EXPECT_THAT(read_fio_report("fio: /dev/x: No such file").error(), HasSubstr("No such file"));
    EXPECT_THAT(read_fio_report(R"({"jobs":[]})").error(), HasSubstr("0 jobs"));
    EXPECT_THAT(read_fio_report(R"({"jobs":[{"error":0}]})").error(), HasSubstr("lacks"));
    EXPECT_THAT(read_fio_report(R"({"jobs":3})").error(), HasSubstr("lacks"));
}

TEST(FioReport, CutAnywhereIsAnError)
{
    const auto whole = report(0, 256, 256, 100);
    for (std::size_t length = 0; length < whole.size(); ++length)
        EXPECT_FALSE(read_fio_report(std::string_view(whole).substr(0, length))) << length;
}

} // namespace
} // namespace perf
