#include "ublk/backends/zoned.hpp"

#include "ublk/backends/tests/disk.hpp"

#include <cerrno>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk::backends {
namespace {

using testing::ask;
using ::testing::Each;
using ::testing::HasSubstr;
using testing::sector;
using uapi::IoOp;

constexpr std::uint64_t zone_bytes = 64 * 1024, zone_sectors = zone_bytes / sector;
constexpr ZonedOptions usual{.size = 8 * zone_bytes, .zone_size = zone_bytes, .conventional = 1};

static_assert(engine::ServesZones<Zoned>);

Zoned made(const ZonedOptions& options = usual)
{
    auto disk = Zoned::create(options);
    EXPECT_TRUE(disk.has_value()) << disk.error().message();
    return std::move(*disk);
}

std::vector<std::byte> sectors(std::size_t count, int value = 1)
{
    return std::vector<std::byte>(count * sector, static_cast<std::byte>(value));
}

std::vector<uapi::ZoneReport> report(Zoned& disk, std::uint64_t from, std::size_t zones)
{
    std::vector<uapi::ZoneReport> reports(zones);
    engine::Io io{.op = IoOp::report_zones,
                  .start_sector = from,
                  .nr_sectors = static_cast<std::uint32_t>(zones),
                  .data = std::as_writable_bytes(std::span(reports))};
    EXPECT_EQ(disk.handle(io), static_cast<std::int32_t>(zones * sizeof(uapi::ZoneReport)));
    return reports;
}

TEST(Zoned, ReportsZonesFromWhereItIsAsked)
{
    auto disk = made();
    auto data = sectors(8);
    ASSERT_EQ(ask(disk, IoOp::write, 2 * zone_sectors, data), 8 * 512);
    const auto reports = report(disk, 1 * zone_sectors, 3);
    EXPECT_EQ(reports[0], (uapi::ZoneReport{.start = zone_sectors,
                                            .len = zone_sectors,
                                            .wp = zone_sectors,
                                            .type = 2,
                                            .cond = 1,
                                            .capacity = zone_sectors}));
    EXPECT_EQ(reports[1].start, 2 * zone_sectors);
    EXPECT_EQ(reports[1].wp, 2 * zone_sectors + 8);
    EXPECT_EQ(reports[1].cond, 2) << "implicitly open";
    EXPECT_EQ(report(disk, 0, 1)[0].type, 1) << "conventional";
}

TEST(Zoned, ReportsNothingWhereThereAreNoMoreZones)
{
    auto disk = made();
    const auto reports = report(disk, 6 * zone_sectors, 4);
    EXPECT_EQ(reports[1].start, 7 * zone_sectors);
    EXPECT_EQ(reports[2], uapi::ZoneReport{});
    EXPECT_EQ(reports[3], uapi::ZoneReport{});
}

TEST(Zoned, GivesBackWhatWasWrittenAndZeroesBehindThePointer)
{
    auto disk = made();
    auto data = sectors(8, 7);
    ASSERT_EQ(ask(disk, IoOp::write, zone_sectors, data), 8 * 512);
    auto got = sectors(16, 9);
    ASSERT_EQ(ask(disk, IoOp::read, zone_sectors, got), 16 * 512);
    EXPECT_THAT(std::span(got).first(8 * sector), Each(std::byte{7}));
    EXPECT_THAT(std::span(got).subspan(8 * sector), Each(std::byte{0}));
    ASSERT_EQ(ask(disk, IoOp::read, zone_sectors + 12, got), 16 * 512) << "all behind the pointer";
    EXPECT_THAT(got, Each(std::byte{0}));
    ASSERT_EQ(ask(disk, IoOp::read, zone_sectors - 8, got), 16 * 512) << "over the end of a zone";
    EXPECT_THAT(std::span(got).subspan(8 * sector), Each(std::byte{7}));
}

TEST(Zoned, LeavesTheDiskAloneWhereAWriteIsRefused)
{
    auto disk = made();
    auto data = sectors(8, 7);
    EXPECT_EQ(ask(disk, IoOp::write, zone_sectors + 8, data), -EIO);
    ASSERT_EQ(ask(disk, IoOp::write, zone_sectors, data), 8 * 512);
    auto other = sectors(8, 8);
    EXPECT_EQ(ask(disk, IoOp::write, zone_sectors, other), -EIO);
    auto got = sectors(8);
    ask(disk, IoOp::read, zone_sectors, got);
    EXPECT_EQ(got, data);
}

TEST(Zoned, AppendsAndTellsWhere)
{
    auto disk = made();
    for (std::uint64_t i = 0; i < 3; ++i) {
        auto data = sectors(4, static_cast<int>(10 + i));
        engine::Io io{
            .op = IoOp::zone_append, .start_sector = 3 * zone_sectors, .nr_sectors = 4, .data = data};
        ASSERT_EQ(disk.handle(io), 4 * 512);
        EXPECT_EQ(io.start_sector, 3 * zone_sectors + 4 * i);
        auto got = sectors(4);
        ask(disk, IoOp::read, io.start_sector, got);
        EXPECT_EQ(got, data);
    }
}

TEST(Zoned, ForgetsTheDataOfAZoneThatIsReset)
{
    auto disk = made();
    for (const auto op : {IoOp::zone_reset, IoOp::zone_reset_all}) {
        for (const std::uint64_t zone : {0U, 1U, 2U}) {
            auto data = sectors(8, 7);
            ASSERT_EQ(ask(disk, IoOp::write, zone * zone_sectors, data), 8 * 512);
        }
        ASSERT_EQ(ask(disk, op, zone_sectors, {}), 0);
        // Finished, it can be read to its end: what is there must not be what was there before.
        ASSERT_EQ(ask(disk, IoOp::zone_finish, zone_sectors, {}), 0);
        auto got = sectors(8);
        ask(disk, IoOp::read, zone_sectors, got);
        EXPECT_THAT(got, Each(std::byte{0}));
        ask(disk, IoOp::read, 0, got);
        EXPECT_THAT(got, Each(std::byte{7})) << "a conventional zone is not reset";
        const bool all = op == IoOp::zone_reset_all;
        ask(disk, IoOp::read, 2 * zone_sectors, got);
        EXPECT_THAT(got, Each(std::byte{all ? std::uint8_t{0} : std::uint8_t{7}}));
        EXPECT_EQ(report(disk, 2 * zone_sectors, 1)[0].cond, all ? 1 : 2);
        ask(disk, IoOp::zone_reset_all, 0, {});
    }
}

TEST(Zoned, ResetsAlsoAZoneThatIsOpenAndEmpty)
{
    auto disk = made();
    ASSERT_EQ(ask(disk, IoOp::zone_open, zone_sectors, {}), 0);
    ASSERT_EQ(ask(disk, IoOp::zone_reset_all, 0, {}), 0);
    EXPECT_EQ(report(disk, zone_sectors, 1)[0].cond, 1);
}

TEST(Zoned, RefusesWhatIsNotOfTheDisk)
{
    auto disk = made();
    auto data = sectors(2);
    for (const auto op : {IoOp::read, IoOp::write})
        EXPECT_EQ(ask(disk, op, 8 * zone_sectors - 1, data), -EIO);
    for (const auto op : {IoOp::discard, IoOp::write_zeroes, IoOp::write_same})
        EXPECT_EQ(ask(disk, op, 0, {}, 1), -EOPNOTSUPP);
    EXPECT_EQ(ask(disk, IoOp::zone_reset, 0, {}), -EIO);
    EXPECT_EQ(ask(disk, IoOp::flush, UINT64_MAX, {}), 0);
}

TEST(Zoned, SaysWhatItIs)
{
    auto options = usual;
    options.max_open = 3;
    options.max_active = 4;
    options.zone_capacity = 48 * 1024;
    const auto geometry = made(options).geometry();
    EXPECT_EQ(geometry.size, 8 * zone_bytes);
    EXPECT_EQ(geometry.zones.size, zone_bytes);
    EXPECT_EQ(geometry.zones.max_open, 3U);
    EXPECT_EQ(geometry.zones.max_active, 4U);
    EXPECT_EQ(geometry.zones.max_append, 48U * 1024);
    EXPECT_FALSE(geometry.discard || geometry.write_zeroes);
}

TEST(Zoned, RefusesOptionsThatDoNotGoTogether)
{
    struct Row {
        ZonedOptions options;
        const char* named;
    };
    const std::vector<Row> rows{
        {{.size = 8 * 3 * 4096, .zone_size = 3 * 4096}, "power of two"},
        {{.size = 8 * zone_bytes, .zone_size = 0}, "power of two"},
        {{.size = 8 * zone_bytes, .zone_size = 512, .block_size = 4096}, "power of two"},
        {{.size = 8 * zone_bytes + 512, .zone_size = zone_bytes}, "multiple of the zone size"},
        {{.size = 0, .zone_size = zone_bytes}, "multiple of the zone size"},
        {{.size = zone_bytes, .zone_size = zone_bytes, .zone_capacity = 2 * zone_bytes}, "zone capacity"},
        {{.size = zone_bytes, .zone_size = zone_bytes, .zone_capacity = 1000}, "zone capacity"},
        {{.size = 8 * zone_bytes, .zone_size = zone_bytes, .conventional = 8}, "8 conventional"},
        {{.size = 8 * zone_bytes, .zone_size = zone_bytes, .max_open = 9}, "9 open"},
        {{.size = 8 * zone_bytes, .zone_size = zone_bytes, .max_active = 9}, "9 active"},
        {{.size = 8 * zone_bytes, .zone_size = zone_bytes, .max_open = 3, .max_active = 2}, "3 open"},
    };
    for (const auto& row : rows) {
        const auto disk = Zoned::create(row.options);
        ASSERT_FALSE(disk.has_value()) << row.named;
        EXPECT_TRUE(disk.error() == std::errc::invalid_argument);
        EXPECT_THAT(disk.error().message(), HasSubstr(row.named));
    }
}

} // namespace
} // namespace ublk::backends
