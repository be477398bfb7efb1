#include "ublk/backends/zones.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <gtest/gtest.h>
#include <latch>
#include <random>
#include <thread>
#include <vector>

namespace ublk::backends {
namespace {

using uapi::IoOp;
using enum uapi::ZoneCond;

// Zones of 16 sectors, 12 of which can be written; zone 0 is conventional.
constexpr ZoneLayout small{.zones = 8, .size = 16, .capacity = 12, .conventional = 1};

ZoneLayout limited(std::uint32_t max_open, std::uint32_t max_active)
{
    auto layout = small;
    layout.max_open = max_open;
    layout.max_active = max_active;
    return layout;
}

// What is asked of a zone, and what it has to come to.
struct Step {
    IoOp op;
    std::uint64_t zone, at, count; // `at` counts from the zone's start
    std::int32_t result;           // of an append: where in the zone it went, or the error
    uapi::ZoneCond cond;           // of that zone afterwards
    std::uint64_t wp;              // from its start
};

std::int32_t carry_out(ZoneTable& table, const Step& step)
{
    const std::uint64_t start = step.zone * table.layout().size;
    switch (step.op) {
    case IoOp::write:
        return table.write(start + step.at, step.count);
    case IoOp::zone_append: {
        const auto place = table.append(start + step.at, step.count);
        return place ? static_cast<std::int32_t>(*place - start) : place.error();
    }
    case IoOp::zone_open:
        return table.open(start + step.at);
    case IoOp::zone_close:
        return table.close(start + step.at);
    case IoOp::zone_finish:
        return table.finish(start + step.at);
    default:
        return table.reset(start + step.at);
    }
}

void run(const ZoneLayout& layout, const std::vector<Step>& steps)
{
    ZoneTable table(layout);
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const auto& step = steps[i];
        EXPECT_EQ(carry_out(table, step), step.result) << "step " << i;
        const auto report = table.report(step.zone);
        EXPECT_EQ(report.cond, static_cast<std::uint8_t>(step.cond)) << "step " << i;
        EXPECT_EQ(report.wp - report.start, step.wp) << "step " << i;
    }
}

constexpr auto write = IoOp::write, append = IoOp::zone_append, open = IoOp::zone_open,
               close = IoOp::zone_close, finish = IoOp::zone_finish, reset = IoOp::zone_reset;

TEST(Zones, AreWrittenAtTheirPointerOnly)
{
    run(small, {{write, 1, 1, 4, -EIO, empty, 0},
                {write, 1, 0, 4, 0, implicit_open, 4},
                {write, 1, 0, 4, -EIO, implicit_open, 4},
                {write, 1, 3, 1, -EIO, implicit_open, 4},
                {write, 1, 5, 1, -EIO, implicit_open, 4},
                {write, 1, 4, 1, 0, implicit_open, 5},
                {write, 2, 0, 1, 0, implicit_open, 1}});
}

TEST(Zones, AreFullAtTheirCapacity)
{
    run(small, {{write, 1, 0, 11, 0, implicit_open, 11},
                {write, 1, 11, 2, -EIO, implicit_open, 11},
                {write, 1, 11, 1, 0, full, 16},
                {write, 1, 12, 1, -EIO, full, 16},
                {append, 1, 0, 1, -EIO, full, 16},
                {write, 2, 0, 12, 0, full, 16},
                {write, 3, 0, 13, -EIO, empty, 0},
                {write, 3, 0, 17, -EIO, empty, 0}});
}

TEST(Zones, AppendWhereThePointerIs)
{
    run(small, {{append, 1, 0, 4, 0, implicit_open, 4},
                {append, 1, 0, 4, 4, implicit_open, 8},
                {append, 1, 8, 1, -EIO, implicit_open, 8}, // names the zone by its start
                {append, 1, 0, 5, -EIO, implicit_open, 8},
                {append, 1, 0, 4, 8, full, 16},
                {append, 0, 0, 1, -EIO, not_write_pointer, 16}}); // conventional
}

TEST(Zones, OpenCloseFinishAndReset)
{
    run(small, {{open, 1, 0, 0, 0, explicit_open, 0},  {open, 1, 0, 0, 0, explicit_open, 0},
                {close, 1, 0, 0, 0, empty, 0}, // nothing was written
                {close, 1, 0, 0, -EIO, empty, 0},      {open, 1, 0, 0, 0, explicit_open, 0},
                {write, 1, 0, 4, 0, explicit_open, 4}, {close, 1, 0, 0, 0, closed, 4},
                {close, 1, 0, 0, 0, closed, 4},        {write, 1, 4, 1, 0, implicit_open, 5},
                {open, 1, 0, 0, 0, explicit_open, 5},  {close, 1, 0, 0, 0, closed, 5},
                {open, 1, 0, 0, 0, explicit_open, 5},  {finish, 1, 0, 0, 0, full, 16},
                {finish, 1, 0, 0, 0, full, 16},        {open, 1, 0, 0, -EIO, full, 16},
                {close, 1, 0, 0, -EIO, full, 16},      {reset, 1, 0, 0, 0, empty, 0},
                {reset, 1, 0, 0, 0, empty, 0},         {finish, 1, 0, 0, 0, full, 16}, // also an empty one
                {reset, 1, 0, 0, 0, empty, 0},         {write, 1, 0, 3, 0, implicit_open, 3},
                {close, 1, 0, 0, 0, closed, 3},        {finish, 1, 0, 0, 0, full, 16}});
}

TEST(Zones, AreManagedByTheirFirstSector)
{
    for (const auto op : {open, close, finish, reset}) {
        run(small, {{write, 1, 0, 4, 0, implicit_open, 4}, {op, 1, 1, 0, -EIO, implicit_open, 4}});
        run(small, {{op, 0, 0, 0, -EIO, not_write_pointer, 16}});
        ZoneTable table(small);
        EXPECT_EQ(carry_out(table, {op, 8, 0, 0, 0, empty, 0}), -EIO) << "beyond the end";
    }
}

TEST(Zones, ThatAreConventionalAreWrittenAnywhereInside)
{
    run(small, {{write, 0, 5, 1, 0, not_write_pointer, 16},
                {write, 0, 0, 16, 0, not_write_pointer, 16},
                {write, 0, 15, 2, -EIO, not_write_pointer, 16}});
    EXPECT_EQ(ZoneTable(small).write(8 * 16, 1), -EIO) << "beyond the end";
    EXPECT_EQ(ZoneTable(small).append(8 * 16, 1).error(), -EIO);
}

// Refused writes leave a zone as it is, and show what it is.
TEST(ZoneLimits, AnImplicitlyOpenZoneGivesWay)
{
    run(limited(2, 0), {{write, 1, 0, 1, 0, implicit_open, 1},
                        {write, 2, 0, 1, 0, implicit_open, 1},
                        {write, 3, 0, 1, 0, implicit_open, 1},
                        {write, 1, 0, 1, -EIO, closed, 1}, // for zone 3
                        {write, 1, 1, 1, 0, implicit_open, 2},
                        {write, 2, 0, 1, -EIO, closed, 1}, // for zone 1
                        {open, 4, 0, 0, 0, explicit_open, 0},
                        {write, 1, 0, 1, -EIO, implicit_open, 2},
                        {write, 3, 0, 1, -EIO, closed, 1}}); // in turn: not always the first
}

TEST(ZoneLimits, ExplicitlyOpenZonesStay)
{
    run(limited(2, 0), {{open, 1, 0, 0, 0, explicit_open, 0},
                        {open, 2, 0, 0, 0, explicit_open, 0},
                        {open, 3, 0, 0, -ETOOMANYREFS, empty, 0},
                        {write, 3, 0, 1, -ETOOMANYREFS, empty, 0},
                        {append, 3, 0, 1, -ETOOMANYREFS, empty, 0},
                        {finish, 3, 0, 0, -ETOOMANYREFS, empty, 0},
                        {write, 0, 0, 1, 0, not_write_pointer, 16}, // needs no place
                        {write, 1, 0, 12, 0, full, 16},             // and gives its own back
                        {write, 3, 0, 1, 0, implicit_open, 1}});
}

TEST(ZoneLimits, ActiveZonesAreOpenOrClosed)
{
    run(limited(0, 2), {{write, 1, 0, 1, 0, implicit_open, 1},
                        {write, 2, 0, 1, 0, implicit_open, 1},
                        {close, 1, 0, 0, 0, closed, 1},
                        {write, 3, 0, 1, -EOVERFLOW, empty, 0},
                        {open, 3, 0, 0, -EOVERFLOW, empty, 0},
                        {write, 1, 1, 1, 0, implicit_open, 2}, // is active already
                        {reset, 1, 0, 0, 0, empty, 0},
                        {append, 3, 0, 1, 0, implicit_open, 1},
                        {finish, 4, 0, 0, -EOVERFLOW, empty, 0},
                        {finish, 3, 0, 0, 0, full, 16},
                        {write, 4, 0, 1, 0, implicit_open, 1}});
}

// Writers on all zones at once, random, with resets: at every moment of rest the limits hold, and so do the
// counts that they are kept by (a zone could be opened for every free place, and not for one more).
TEST(ZoneLimits, HoldForManyThreads)
{
    constexpr std::uint32_t max_open = 3, max_active = 5;
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        ZoneTable table(limited(max_open, max_active));
        std::vector<std::thread> threads;
        std::latch start(4); // or each is done before the next begins
        for (std::uint32_t t = 0; t < 4; ++t)
            threads.emplace_back([&, t] {
                start.arrive_and_wait();
                std::mt19937 random(seed * 4 + t);
                for (int i = 0; i < 20000; ++i) {
                    constexpr std::array ops{append, append, append, append, open, close, finish, reset};
                    carry_out(table, {ops[random() % ops.size()], 1 + random() % 7, 0, 1 + random() % 4, 0,
                                      empty, 0});
                }
            });
        for (auto& thread : threads)
            thread.join();
        std::uint32_t open_zones = 0, active = 0;
        for (std::uint64_t zone = 0; zone < small.zones; ++zone) {
            const auto cond = static_cast<uapi::ZoneCond>(table.report(zone).cond);
            open_zones += cond == implicit_open || cond == explicit_open ? 1U : 0U;
            active += cond == implicit_open || cond == explicit_open || cond == closed ? 1U : 0U;
        }
        EXPECT_LE(open_zones, max_open) << "seed " << seed;
        EXPECT_LE(active, max_active) << "seed " << seed;
        for (std::uint64_t zone = 1; zone < small.zones; ++zone)
            table.reset(zone * small.size);
        for (std::uint64_t zone = 1; zone <= max_open; ++zone)
            EXPECT_EQ(table.open(zone * small.size), 0) << "seed " << seed;
        EXPECT_EQ(table.open((max_open + 1) * small.size), -ETOOMANYREFS) << "seed " << seed;
    }
}

// Each place of a zone goes to one append.
TEST(Zones, GiveEachSectorToOneAppendOnly)
{
    ZoneTable table({.zones = 2, .size = 1 << 16, .capacity = 1 << 16, .max_open = 1});
    std::vector<std::vector<std::uint64_t>> places(4);
    std::vector<std::thread> threads;
    for (auto& mine : places)
        threads.emplace_back([&] {
            while (const auto place = table.append(0, 1))
                mine.push_back(*place);
        });
    for (auto& thread : threads)
        thread.join();
    std::vector<std::uint64_t> all;
    for (const auto& mine : places)
        all.insert(all.end(), mine.begin(), mine.end());
    std::ranges::sort(all);
    ASSERT_EQ(all.size(), 1U << 16);
    for (std::uint64_t i = 0; i < all.size(); ++i)
        ASSERT_EQ(all[i], i);
}

} // namespace
} // namespace ublk::backends
