#include "conformance/endurance/footprint.hpp"

#include <gmock/gmock.h>

namespace conformance::endurance {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Footprint, WhatDoesNotGrowIsNoLeak)
{
    const Footprint footprint{{"descriptors", {3}}, {"heap", {1000, 2, 0}}};
    EXPECT_THAT(leaks(footprint, footprint, 100), IsEmpty());
    EXPECT_THAT(leaks(footprint, {{"heap", {1200, 2, 0}}}, 100), IsEmpty()) << "at the limit, and less";
}

TEST(Footprint, WhatGrowsByMoreThanItMayIsNamedWithItsGrowth)
{
    EXPECT_THAT(leaks({{"heap", {1000, 2, 50}}}, {{"heap", {1251, 2, 50}}}, 100),
                ElementsAre("heap grew by 251 over 100 cycles, at most 250 are allowed"));
    EXPECT_THAT(leaks({}, {{"descriptors of a pipe", {1}}}, 1000),
                ElementsAre(HasSubstr("descriptors of a pipe grew by 1 over")));
}

TEST(Footprint, WhatGrewMostBeyondItsLimitComesFirst)
{
    const Footprint after{{"a", {11, 0, 10}}, {"b", {500, 0, 10}}, {"c", {20, 0, 10}}};
    EXPECT_THAT(leaks({}, after, 1),
                ElementsAre(HasSubstr("b grew"), HasSubstr("c grew"), HasSubstr("a grew")));
}

TEST(Footprint, MappingsOfRingsAndDevicesAreCounted)
{
    Footprint footprint;
    add_mappings(footprint, "7f00-7f01 rw-s 00000000 00:0e 3  anon_inode:[io_uring]\n"
                            "7f02-7f03 rw-s 08000000 00:0e 3  anon_inode:[io_uring]\n"
                            "7f04-7f05 r--s 00000000 00:05 9  /dev/ublkc0 (deleted)\n"
                            "7f06-7f07 rw-p 00000000 00:00 0 \n"
                            "7f08-7f09 r-xp 00000000 00:01 5  /lib/libc.so.6\n");
    ASSERT_EQ(footprint.size(), 2U);
    EXPECT_EQ(footprint["mappings of anon_inode:[io_uring]"].amount, 2);
    EXPECT_EQ(footprint["mappings of /dev/ublkc0 (deleted)"].amount, 1);
}

constexpr const char* meminfo =
    "MemTotal:         500 kB\nMemFree:          100 kB\nBuffers:            0 kB\n"
    "Cached:            60 kB\nAnonPages:         40 kB\nSlab:              90 kB\n"
    "KernelStack:       10 kB\nPageTables:        20 kB\nVmallocUsed:       30 kB\n"
    "Percpu:            50 kB\nHugePages_Total:     0\n";

TEST(Footprint, KernelMemoryIsReadByKindAndWhatIsLeftIsOfNoKind)
{
    Footprint footprint;
    add_kernel_memory(footprint, meminfo);
    EXPECT_EQ(footprint["bytes of the kernel's Slab"].amount, 90 * 1024);
    EXPECT_EQ(footprint["bytes of the kernel's Percpu"].amount, 50 * 1024);
    EXPECT_EQ(footprint["bytes of kernel pages of no kind"].amount, 100 * 1024);
}

TEST(Footprint, AKernelThatLeaksAPageEachCycleIsFoundWhereverThePageIs)
{
    Footprint before, after;
    add_kernel_memory(before, meminfo);
    for (const auto& [name, figure] : before) {
        after = before;
        after[name].amount += 1000 * 4096.0;
        EXPECT_THAT(leaks(before, after, 1000), ElementsAre(HasSubstr(name)));
    }
}

TEST(Footprint, ObjectsOfEachCacheAreCounted)
{
    Footprint footprint;
    add_slab_objects(footprint,
                     "slabinfo - version: 2.1\n"
                     "# name            <active_objs> <num_objs> <objsize>\n"
                     "kmalloc-64          1200   1280     64   64    1 : tunables    0    0    0\n");
    EXPECT_THAT(footprint, testing::SizeIs(1));
    EXPECT_EQ(footprint["objects of the kernel's kmalloc-64"].amount, 1200);
}

TEST(Footprint, AFigureThatIsNotThereIsNothing)
{
    EXPECT_EQ(bytes_of("VmRSS:\t    12 kB\n", "VmRSS"), 12 * 1024);
    EXPECT_EQ(bytes_of("VmRSS:\t    12 kB\n", "Vm"), 0);
    EXPECT_EQ(bytes_of("", "VmRSS"), 0);
}

} // namespace
} // namespace conformance::endurance
