// Suite "integrity": the disk of ublk-serve that keeps T10 protection information. The kernel makes and
// checks it for reads and writes of an application, or the application brings its own through io_uring.
#include "conformance/driver/case.hpp"
#include "conformance/driver/integrity_verbs.hpp"
#include "conformance/server/served_disk.hpp"
#include "conformance/server/suite.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <linux/fs.h>
#include <nlohmann/json.hpp>
#include <sys/ioctl.h>

namespace conformance {

namespace {

const auto keeps_protection = needs(Feature::integrity | Feature::user_copy);
constexpr std::size_t block = 512, tuple_bytes = 8;

std::vector<std::string> protected_by(const char* type, std::vector<std::string> more = {})
{
    std::vector<std::string> arguments{"--type", "memory", "--size", "16M", "--integrity", type};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

// An attribute in /sys/block/ublkb7/integrity.
std::string attribute(const char* name)
{
    std::ifstream file(std::string("/sys/block/ublkb7/integrity/") + name);
    std::string line;
    std::getline(file, line);
    return line;
}

void set_attribute(const char* name, const char* value, Where where = Where::current())
{
    std::ofstream(std::string("/sys/block/ublkb7/integrity/") + name) << value;
    expect_eq(std::string(value), attribute(name), name, where);
}

// ---- protection information of an application's own ----

constexpr std::uint16_t guard_and_reference = 3; // are checked

long write_protected(const ServedDisk& disk, std::uint64_t sector, std::span<std::byte> data,
                     std::span<std::byte> tuples)
{
    return transfer_with_metadata(disk.fd(), IORING_OP_WRITE, sector, data, tuples, guard_and_reference);
}
long read_protected(const ServedDisk& disk, std::uint64_t sector, std::span<std::byte> data,
                    std::span<std::byte> tuples)
{
    return transfer_with_metadata(disk.fd(), IORING_OP_READ, sector, data, tuples, guard_and_reference);
}

// ---- what the kernel makes and checks ----

void expect_content(const ServedDisk& disk, std::uint64_t sector, std::span<const std::byte> wanted,
                    const char* what, Where where = Where::current())
{
    const Buffer got(wanted.size());
    expect_eq(static_cast<long>(wanted.size()), disk.read(sector, got.span()), what, where);
    expect_true(std::ranges::equal(got.span(), wanted), fmt::format("{}: the content", what), where);
}

// One bit of what the server gives back of sectors 2048 to 2055 is wrong.
void corruption(const char* type, const char* part, bool is_seen)
{
    ServedDisk disk(protected_by(type, {"--with", fmt::format("corrupt:part={},sectors=2048-2055", part)}));
    const Buffer data(4096);
    fill(data.span(), 1);
    for (const std::uint64_t sector : {2040U, 2048U, 2056U})
        expect_eq(4096L, disk.write(sector, data.span()), "bytes written");
    const Buffer got(4096);
    const auto read = [&] { return disk.read(2048, got.span()); };
    if (is_seen)
        expect_error(EILSEQ, read(), fmt::format("a read with a wrong {}", part));
    else
        expect_eq(4096L, read(), fmt::format("bytes read with a wrong {}", part));
    set_attribute("read_verify", "0");
    expect_eq(4096L, read(), "bytes read where the kernel does not look");
    expect_eq(std::string_view(part) != "data", std::ranges::equal(got.span(), data.span()),
              "the data is what was written");
    set_attribute("read_verify", "1");
    if (is_seen)
        expect_error(EILSEQ, read(), "a read where it looks again");
    expect_content(disk, 2040, data.span(), "the blocks before");
    expect_content(disk, 2056, data.span(), "the blocks behind");
    disk.stop();
}

} // namespace

CASE("INTEGRITY-PI-001", contract, "the disk shows the protection information that it was made with",
     integrity_suite, keeps_protection)
{
    for (const auto& [type, format] :
         {std::pair("t10-type1", "T10-DIF-TYPE1-CRC"), std::pair("t10-type3", "T10-DIF-TYPE3-CRC")}) {
        ServedDisk disk(protected_by(type, {"--block-size", "4096"}));
        expect_eq(std::string(format), attribute("format"), "format");
        expect_eq(std::string("2"), attribute("tag_size"), "tag_size");
        expect_eq(std::string("4096"), attribute("protection_interval_bytes"), "protection_interval_bytes");
        expect_eq(std::string("1"), attribute("device_is_integrity_capable"), "device_is_integrity_capable");
        disk.stop();
    }
}

CASE("INTEGRITY-PI-002", contract, "a read whose guard is wrong fails with EILSEQ, and succeeds unchecked",
     integrity_suite, keeps_protection)
{
    corruption("t10-type1", "guard", true);
}

CASE("INTEGRITY-PI-003", contract,
     "a read whose reference tag is wrong fails with EILSEQ; of type 3 nobody looks at it", integrity_suite,
     keeps_protection)
{
    corruption("t10-type1", "reference", true);
    corruption("t10-type3", "reference", false);
}

CASE("INTEGRITY-PI-004", contract, "a read whose data is wrong fails with EILSEQ, of type 1 and of type 3",
     integrity_suite, keeps_protection)
{
    corruption("t10-type1", "data", true);
    corruption("t10-type3", "data", true);
}

CASE("INTEGRITY-PI-005", contract,
     "a write that becomes wrong on its way is refused with EILSEQ, and what was there stays",
     integrity_suite, keeps_protection)
{
    for (const char* part : {"data", "guard", "reference"}) {
        ServedDisk disk(
            protected_by("t10-type1", {"--with", fmt::format("corrupt:op=write,part={},at=2", part)}));
        const Buffer before(8192), data(8192);
        fill(before.span(), 1);
        fill(data.span(), 2);
        expect_eq(8192L, disk.write(64, before.span()), "bytes written");
        expect_error(EILSEQ, disk.write(64, data.span()), fmt::format("a write with a wrong {}", part));
        expect_content(disk, 64, before.span(), "bytes read");
        expect_eq(8192L, disk.write(64, data.span()), "bytes written again");
        expect_content(disk, 64, data.span(), "bytes read again");
        disk.stop();
    }
}

CASE("INTEGRITY-PI-006", contract,
     "protection information that an application brings is kept byte for byte, and refused if it is wrong",
     integrity_suite, keeps_protection)
{
    ServedDisk disk(protected_by("t10-type1", {"--queues", "2"}));
    const Buffer data(128 * 1024), got(data.span().size());
    fill(data.span(), 1);
    auto tuples = t10_tuples(4096, data.span(), 0xbeef);
    const auto size = static_cast<long>(data.span().size());
    expect_eq(size, write_protected(disk, 4096, data.span(), tuples), "bytes written");
    std::vector<std::byte> beside(tuples.size());
    expect_eq(size, read_protected(disk, 4096, got.span(), beside), "bytes read");
    expect_true(std::ranges::equal(got.span(), data.span()), "the data is what was written");
    expect_true(beside == tuples, "the protection information is what was written");
    expect_content(disk, 4096, data.span(), "a read that the kernel checks");

    const Buffer other(data.span().size());
    fill(other.span(), 2);
    for (const std::size_t wrong : {std::size_t{1}, 100 * tuple_bytes + 7}) { // a guard, a reference tag
        auto bad = t10_tuples(4096, other.span(), 0xbeef);
        bad[wrong] ^= std::byte{4};
        expect_error(EILSEQ, write_protected(disk, 4096, other.span(), bad), "a write with a wrong tuple");
    }
    expect_content(disk, 4096, data.span(), "what was there before");
    disk.stop();
}

CASE("INTEGRITY-PI-007", contract,
     "the server protects what comes without protection information as the kernel would", integrity_suite,
     keeps_protection)
{
    ServedDisk disk(protected_by("t10-type1"));
    const Buffer data(16384), got(16384);
    for (const auto& [by_kernel, seed] : {std::pair("1", 1U), std::pair("0", 2U)}) {
        set_attribute("write_generate", by_kernel);
        fill(data.span(), seed);
        expect_eq(16384L, disk.write(0, data.span()), "bytes written");
        const auto wanted = t10_tuples(0, data.span(), 0);
        std::vector<std::byte> beside(wanted.size());
        expect_eq(16384L, read_protected(disk, 0, got.span(), beside), "bytes read");
        expect_true(beside == wanted, fmt::format("the tuples with write_generate {}", by_kernel));
        expect_content(disk, 0, data.span(), "a read that the kernel checks");
    }
    disk.stop();
}

CASE("INTEGRITY-PI-008", contract, "what was never written, was discarded or zeroed reads as zeroes, checked",
     integrity_suite, keeps_protection)
{
    ServedDisk disk(protected_by("t10-type1"));
    const Buffer data(1 << 20);
    std::vector<std::byte> zeroes(1 << 20);
    expect_content(disk, 0, zeroes, "what was never written");
    fill(data.span(), 1);
    expect_eq(1L << 20, disk.write(0, data.span()), "bytes written");
    for (const auto& [request, at] : {std::pair(BLKDISCARD, 128U << 10), std::pair(BLKZEROOUT, 512U << 10)}) {
        std::array<std::uint64_t, 2> range{at, 128U << 10};
        expect_ok(sys(::ioctl(disk.fd(), request, range.data())), "discard or write-zeroes");
        std::ranges::fill(data.span().subspan(at, 128U << 10), std::byte{0});
    }
    expect_content(disk, 0, data.span(), "all of it");
    disk.stop();
}

CASE("INTEGRITY-PI-009", contract,
     "writes and reads that the block layer joins into one request carry the protection of each",
     integrity_suite, keeps_protection)
{
    constexpr const char* recording = "/tmp/joined.jsonl";
    constexpr unsigned pieces = 16, piece = 4096;
    ServedDisk disk(protected_by("t10-type1", {"--with", fmt::format("record:file={}", recording)}));
    const Buffer data(pieces * piece), got(pieces * piece);
    fill(data.span(), 1);
    // All in one submission, so that they wait for each other and meet.
    const auto submit = [&](const Buffer& buffer, bool write) {
        auto ring = ublk::wire::Ring::open({.entries = pieces, .sqe128 = false});
        expect_true(ring.has_value(), "a ring");
        for (unsigned i = 0; i < pieces; ++i)
            io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, ring->sqe(), disk.fd(),
                             buffer.span().subspan(i * piece).data(), piece, i * piece);
        expect_true(ring->submit() == pieces, "the requests are taken");
        for (unsigned i = 0; i < pieces; ++i) {
            const auto done = ring->wait(20s);
            expect_true(done.has_value(), "the request is answered");
            expect_eq(long{piece}, long{done->res}, write ? "bytes written" : "bytes read");
        }
    };
    submit(data, true);
    submit(got, false);
    expect_true(std::ranges::equal(got.span(), data.span()), "the data is what was written");
    std::vector<std::byte> beside(pieces * piece / block * tuple_bytes);
    expect_eq(long{pieces * piece}, read_protected(disk, 0, got.span(), beside), "bytes read");
    expect_true(beside == t10_tuples(0, data.span(), 0), "the protection information of all of them");
    disk.stop();
    std::ifstream file(recording);
    unsigned writes = 0;
    for (std::string line; std::getline(file, line);)
        writes += nlohmann::json::parse(line)["op"] == "WRITE" ? 1U : 0U;
    expect_true(writes > 0 && writes < pieces, fmt::format("{} writes came as fewer, {}", pieces, writes));
}

CASE("INTEGRITY-LACK-001", contract,
     "a device that this kernel cannot make is refused with the feature that it lacks", integrity_suite)
{
    const struct {
        Feature feature;
        const char* name;
        std::vector<std::string> arguments;
    } rows[] = {
        {Feature::integrity, "INTEGRITY", protected_by("t10-type1")},
        {Feature::shmem_zc, "SHMEM_ZC", {"--type", "memory", "--shmem", "/tmp/lacking.img"}},
        {Feature::batch_io, "BATCH_IO", {"--type", "memory", "--batch"}},
        {Feature::auto_buf_reg, "AUTO_BUF_REG", {"--type", "null", "--data-path", "auto-buf"}},
        {Feature::per_io_daemon, "PER_IO_DAEMON", {"--type", "null", "--threads-per-queue", "2"}},
    };
    std::ofstream("/tmp/lacking.img") << std::string(page_size(), '\0');
    bool lacking = false;
    for (const auto& row : rows) {
        if (offers(row.feature))
            continue;
        lacking = true;
        std::vector<std::string> command{"ublk-serve", "add"};
        command.insert(command.end(), row.arguments.begin(), row.arguments.end());
        const auto ended = run_program(command);
        expect_eq(1, ended.status, fmt::format("exit status without {}", row.name));
        const auto hint = ended.output.find("this kernel does not offer");
        expect_true(hint != std::string::npos && ended.output.find(row.name, hint) != std::string::npos,
                    fmt::format("the message says that {} is lacking: {}", row.name, ended.output));
        expect_true(std::ranges::count(ended.output, '\n') == 1, "the message is one line");
    }
    if (!lacking)
        skip("needs a kernel that lacks something: this one offers all of these features");
}

} // namespace conformance
