// Suite "integrity": the zoned device of ublk-serve, asked as a zoned disk is asked: by the ioctls of
// linux/blkzoned.h, by fio in its zone mode, and by btrfs, whose writes are ZONE_APPENDs.
#include "conformance/driver/case.hpp"
#include "conformance/server/modules.hpp"
#include "conformance/server/served_disk.hpp"
#include "conformance/server/suite.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <linux/blkzoned.h>
#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <sys/mount.h>

namespace conformance {

namespace {

const auto zones = needs(Feature::zoned | Feature::user_copy);
const auto zones_in_batches = needs(Feature::zoned | Feature::user_copy | Feature::batch_io);
constexpr std::uint64_t zone = 2048; // sectors: 1 MiB

std::vector<std::string> zoned(std::vector<std::string> more = {})
{
    std::vector<std::string> arguments{"--type", "zoned", "--size", "16M", "--zone-size", "1M"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

std::vector<::blk_zone> report(const ServedDisk& disk, unsigned count = 16)
{
    ::blk_zone_report header{.sector = 0, .nr_zones = 2 * count, .flags = 0};
    std::vector<std::byte> answer(sizeof(header) + header.nr_zones * sizeof(::blk_zone));
    std::memcpy(answer.data(), &header, sizeof(header));
    expect_ok(sys(::ioctl(disk.fd(), BLKREPORTZONE, answer.data())), "BLKREPORTZONE");
    std::memcpy(&header, answer.data(), sizeof(header));
    expect_eq(count, header.nr_zones, "zones reported");
    std::vector<::blk_zone> all(count);
    std::memcpy(all.data(), answer.data() + sizeof(header), count * sizeof(::blk_zone));
    return all;
}

long manage(const ServedDisk& disk, unsigned long request, std::uint64_t number, std::uint64_t count = 1)
{
    ::blk_zone_range range{.sector = number * zone, .nr_sectors = count * zone};
    return sys(::ioctl(disk.fd(), request, &range));
}

void expect_zone(const ServedDisk& disk, std::uint64_t number, unsigned cond, std::uint64_t written,
                 const char* when, Where where = Where::current())
{
    const auto seen = report(disk)[number];
    expect_eq(cond, unsigned{seen.cond}, fmt::format("condition of zone {} {}", number, when), where);
    expect_eq(number * zone + written, std::uint64_t{seen.wp}, fmt::format("write pointer {}", when), where);
}

std::string sysfs(const char* name)
{
    std::ifstream file(std::string("/sys/block/ublkb7/") + name);
    std::string line;
    std::getline(file, line);
    return line;
}

std::size_t lines_of_op(const char* path, const char* op)
{
    std::ifstream file(path);
    std::size_t count = 0;
    for (std::string line; std::getline(file, line);)
        count += nlohmann::json::parse(line)["op"] == op ? 1U : 0U;
    return count;
}

void fio_case(const std::vector<std::string>& more)
{
    if (!has_program("fio"))
        skip("needs fio: install it where ublkcheck runs");
    std::vector<std::string> options{"--queues", "2", "--max-open", "4", "--max-active", "4"};
    options.insert(options.end(), more.begin(), more.end());
    ServedDisk disk(zoned(std::move(options)));
    must_run({"fio", "--name=zones", "--filename=" + disk.path(), "--zonemode=zbd", "--direct=1",
              "--ioengine=libaio", "--iodepth=8", "--rw=randwrite", "--bs=16k", "--io_size=24M",
              "--max_open_zones=4", "--randrepeat=1", "--verify=md5", "--verify_fatal=1", "--do_verify=1"});
    disk.stop();
}

void btrfs_case(const std::vector<std::string>& more)
{
    if (!has_program("mkfs.btrfs"))
        skip("needs mkfs.btrfs: install btrfs-progs where ublkcheck runs");
    need_module("btrfs");
    constexpr const char* recording = "/tmp/zones.jsonl";
    std::vector<std::string> options{
        "--type",      "zoned", "--size", "256M",
        "--zone-size", "4M",    "--with", fmt::format("record:file={},last=65536", recording)};
    options.insert(options.end(), more.begin(), more.end());
    ServedDisk disk(options);
    disk.close();
    must_run({"mkfs.btrfs", "-q", "-f", "-O", "zoned", "-d", "single", "-m", "single", disk.path()});
    const auto mount = [&] { return sys(::mount(disk.path().c_str(), "/mnt", "btrfs", 0, nullptr)); };
    expect_ok(mount(), "mounting btrfs");
    std::vector<std::byte> data(1 << 20);
    for (const std::uint64_t seed : {1U, 2U, 3U, 4U}) {
        fill(data, seed);
        std::ofstream(fmt::format("/mnt/{}", seed), std::ios::binary)
            .write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
    }
    expect_ok(sys(::umount("/mnt")), "umount");
    drop_caches();
    expect_ok(mount(), "mounting again");
    for (const std::uint64_t seed : {1U, 2U, 3U, 4U}) {
        fill(data, seed);
        expect_eq(md5_of(std::span<const std::byte>(data)), md5_of(fmt::format("/mnt/{}", seed), false),
                  fmt::format("MD5 of file {}", seed));
    }
    expect_ok(sys(::umount("/mnt")), "umount");
    disk.stop();
    expect_true(lines_of_op(recording, "ZONE_APPEND") >= 4, "the server saw ZONE_APPENDs");
}

} // namespace

CASE("INTEGRITY-ZONED-001", contract, "a zoned device has the zones and limits that it was made with",
     integrity_suite, zones)
{
    ServedDisk disk(
        zoned({"--conventional", "2", "--zone-capacity", "768K", "--max-open", "3", "--max-active", "5"}));
    expect_eq(std::string("host-managed"), sysfs("queue/zoned"), "queue/zoned");
    expect_eq(std::string("16"), sysfs("queue/nr_zones"), "queue/nr_zones");
    expect_eq(std::string("2048"), sysfs("queue/chunk_sectors"), "queue/chunk_sectors");
    expect_eq(std::string("3"), sysfs("queue/max_open_zones"), "queue/max_open_zones");
    expect_eq(std::string("5"), sysfs("queue/max_active_zones"), "queue/max_active_zones");
    const auto all = report(disk);
    for (std::uint64_t i = 0; i < all.size(); ++i) {
        const bool conventional = i < 2;
        expect_eq(i * zone, std::uint64_t{all[i].start}, "start of a zone");
        expect_eq(zone, std::uint64_t{all[i].len}, "length of a zone");
        expect_eq(conventional ? 1U : 2U, unsigned{all[i].type}, fmt::format("type of zone {}", i));
        expect_eq(conventional ? zone : 1536UL, std::uint64_t{all[i].capacity},
                  fmt::format("capacity of zone {}", i));
        expect_eq(conventional ? 0U : 1U, unsigned{all[i].cond}, fmt::format("condition of zone {}", i));
    }
    disk.stop();
}

CASE("INTEGRITY-ZONED-002", contract,
     "a zone is written at its pointer, gives back what was written, and zeroes behind it", integrity_suite,
     zones)
{
    ServedDisk disk(zoned({"--queues", "2"}));
    const Buffer data(65536), got(131072);
    fill(data.span(), 1);
    expect_eq(65536L, disk.write(3 * zone, data.span()), "bytes written at the pointer");
    expect_zone(disk, 3, BLK_ZONE_COND_IMP_OPEN, 128, "after a write");
    expect_error(EIO, disk.write(3 * zone, data.first(4096)), "a write before the pointer");
    report(disk); // after an error the block layer has to be told the pointer again
    expect_error(EIO, disk.write(3 * zone + 256, data.first(4096)), "a write behind the pointer");
    report(disk);
    expect_eq(4096L, disk.write(3 * zone + 128, data.first(4096)), "bytes written at the pointer again");
    expect_zone(disk, 3, BLK_ZONE_COND_IMP_OPEN, 136, "after another write");
    expect_eq(131072L, disk.read(3 * zone, got.span()), "bytes read");
    expect_true(std::ranges::equal(got.first(65536), data.span()), "the first write is there");
    expect_true(std::ranges::equal(got.span().subspan(65536, 4096), data.first(4096)),
                "and so is the second");
    expect_true(
        std::ranges::all_of(got.span().subspan(69632), [](auto byte) { return byte == std::byte{0}; }),
        "and zeroes behind it");
    disk.stop();
}

CASE("INTEGRITY-ZONED-003", contract, "zones are opened, closed, finished and reset by the ioctls",
     integrity_suite, zones)
{
    ServedDisk disk(zoned({"--conventional", "1"}));
    const Buffer data(4096), got(4096);
    fill(data.span(), 1);
    expect_ok(manage(disk, BLKOPENZONE, 2), "BLKOPENZONE");
    expect_zone(disk, 2, BLK_ZONE_COND_EXP_OPEN, 0, "opened");
    expect_eq(4096L, disk.write(2 * zone, data.span()), "bytes written");
    expect_zone(disk, 2, BLK_ZONE_COND_EXP_OPEN, 8, "written to");
    expect_ok(manage(disk, BLKCLOSEZONE, 2), "BLKCLOSEZONE");
    expect_zone(disk, 2, BLK_ZONE_COND_CLOSED, 8, "closed");
    expect_ok(manage(disk, BLKFINISHZONE, 2), "BLKFINISHZONE");
    expect_zone(disk, 2, BLK_ZONE_COND_FULL, zone, "finished");
    expect_error(EIO, manage(disk, BLKOPENZONE, 2), "opening a full zone");
    expect_ok(manage(disk, BLKRESETZONE, 2), "BLKRESETZONE");
    expect_zone(disk, 2, BLK_ZONE_COND_EMPTY, 0, "reset");
    expect_eq(4096L, disk.read(2 * zone, got.span()), "bytes read");
    expect_true(std::ranges::all_of(got.span(), [](auto byte) { return byte == std::byte{0}; }),
                "what was there is gone");
    for (const std::uint64_t number : {0U, 5U, 6U})
        expect_eq(4096L, disk.write(number * zone, data.span()), "bytes written");
    expect_ok(manage(disk, BLKRESETZONE, 0, 16), "BLKRESETZONE of all of them");
    for (const std::uint64_t number : {5U, 6U})
        expect_zone(disk, number, BLK_ZONE_COND_EMPTY, 0, "after all were reset");
    expect_eq(4096L, disk.read(0, got.span()), "bytes read");
    expect_true(std::ranges::equal(got.span(), data.span()), "a conventional zone stays as it is");
    disk.stop();
}

CASE("INTEGRITY-ZONED-004", contract, "limits of open and active zones reach the application as their errors",
     integrity_suite, zones)
{
    ServedDisk disk(zoned({"--max-open", "2", "--max-active", "3"}));
    const Buffer data(4096);
    for (const std::uint64_t number : {1U, 2U})
        expect_ok(manage(disk, BLKOPENZONE, number), fmt::format("opening zone {}", number));
    expect_error(ETOOMANYREFS, manage(disk, BLKOPENZONE, 3), "opening a third");
    expect_error(ETOOMANYREFS, disk.write(3 * zone, data.span()), "writing to a third");
    report(disk); // after an error the block layer has to be told the pointer again
    for (const std::uint64_t number : {1U, 2U}) {
        expect_eq(4096L, disk.write(number * zone, data.span()), "bytes written");
        expect_ok(manage(disk, BLKCLOSEZONE, number), "closing it");
    }
    expect_eq(4096L, disk.write(3 * zone, data.span()), "bytes written to the third");
    expect_error(EOVERFLOW, disk.write(4 * zone, data.span()), "writing to a fourth: three are active");
    report(disk);
    expect_ok(manage(disk, BLKFINISHZONE, 1), "finishing one");
    expect_eq(4096L, disk.write(4 * zone, data.span()), "bytes written to the fourth");
    disk.stop();
}

CASE("INTEGRITY-ZONED-005", contract, "fio reads back what it wrote to zones, with resets, by MD5",
     integrity_suite, zones, timeout(120s))
{
    fio_case({});
}

CASE("INTEGRITY-ZONED-006", contract,
     "btrfs appends, and finds after a remount what it wrote where the server said it went", integrity_suite,
     zones, timeout(120s))
{
    btrfs_case({});
}

CASE("INTEGRITY-ZONED-007", contract, "fio reads back what it wrote to zones through a server of batches",
     integrity_suite, zones_in_batches, timeout(120s))
{
    fio_case({"--batch"});
}

CASE("INTEGRITY-ZONED-008", contract, "btrfs appends through a server of batches, and finds what it wrote",
     integrity_suite, zones_in_batches, timeout(120s))
{
    btrfs_case({"--batch"});
}

} // namespace conformance
