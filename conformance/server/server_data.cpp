// Suite "server": what is written is what is read. Blocks say where they belong, so that the verdict can say
// whether data was lost, torn, misplaced or stale.
#include "conformance/server/digest.hpp"
#include "conformance/server/ledger.hpp"
#include "conformance/server/suite.hpp"

#include <cstring>
#include <fcntl.h>
#include <fstream>

namespace conformance {

namespace {

// A device to write to, with its ledger.
struct Data {
    Subject subject;
    Ledger ledger;
    explicit Data(std::uint64_t most = 24ULL << 20)
        : subject((needs_data(), Where::current())), ledger(subject, most)
    {
        needs_writable(subject);
    }
};

} // namespace

void needs_data()
{
    if (!profile().keeps_data)
        skip("the server keeps no data (--no-data)");
    if (profile().read_only)
        skip("the device is to be read-only (--read-only)");
}

void needs_writable(const Subject& subject)
{
    if (subject.sysfs("ro") != "0")
        skip("the device is read-only");
}

void drop_caches()
{
    ::sync();
    std::ofstream("/proc/sys/vm/drop_caches") << "3";
}

CASE("SERVER-DATA-001", contract, "what is written directly is what is read directly", server_suite)
{
    Data data;
    const DiskIo io(data.subject);
    data.ledger.write_all(io);
    data.ledger.check_all(io);
    data.subject.finish();
}

CASE("SERVER-DATA-002", contract,
     "what is written through the page cache and flushed is what is read directly", server_suite)
{
    Data data;
    const DiskIo cached(data.subject, Path::cached), direct(data.subject);
    data.ledger.write_all(cached, 0, 96 * 1024);
    cached.flush();
    drop_caches();
    data.ledger.check_all(direct);
    data.ledger.check_all(cached);
    data.subject.finish();
}

CASE("SERVER-DATA-003", contract,
     "requests of every size, from one block on, change their blocks and no others", server_suite)
{
    Data data(8ULL << 20);
    const DiskIo io(data.subject);
    data.ledger.write_all(io);
    std::mt19937_64 random(3);
    for (int i = 0; i < 400; ++i) {
        data.ledger.write(io, data.ledger.random_extent(random, i % 4 == 0 ? 256 * 1024 : 16 * 1024));
        data.ledger.check(io, data.ledger.random_extent(random, 64 * 1024));
    }
    data.ledger.check_all(io);
    data.subject.finish();
}

CASE("SERVER-DATA-004", contract, "writes and reads that are larger than any request arrive whole",
     server_suite)
{
    Data data(16ULL << 20);
    const DiskIo io(data.subject);
    constexpr std::size_t large = 4 << 20;
    for (int round = 0; round < 2; ++round) {
        data.ledger.write_all(io, 0, large);
        data.ledger.check_all(io, large);
    }
    data.subject.finish();
}

CASE("SERVER-DATA-005", contract, "a read gives the newest version, however often a block is written",
     server_suite)
{
    Data data(1ULL << 20);
    const DiskIo io(data.subject);
    std::mt19937_64 random(5);
    for (int i = 0; i < 300; ++i) {
        const auto extent = data.ledger.random_extent(random, 8 * 1024);
        for (int version = 0; version < 3; ++version)
            data.ledger.write(io, extent);
        data.ledger.check(io, extent);
        data.ledger.check(io, extent);
    }
    data.subject.finish();
}

CASE("SERVER-DATA-006", contract, "the first and the last blocks of the device hold what is written",
     server_suite)
{
    Data data(64 * 1024);
    const std::uint64_t tail = std::min<std::uint64_t>(data.subject.size(), 64 * 1024);
    Ledger last(data.subject, Extent{data.subject.size() - tail, tail});
    const DiskIo io(data.subject);
    const auto block = last.block();
    data.ledger.write(io, {0, block});
    for (std::uint64_t at = last.part().offset; at < data.subject.size(); at += block)
        last.write(io, {at, block});
    last.check_all(io);
    data.ledger.check(io, {0, block});
    data.subject.finish();
}

CASE("SERVER-DATA-007", contract, "an area that was never written reads the same each time", server_suite)
{
    needs_data();
    Subject subject;
    const DiskIo io(subject, Path::direct, O_RDONLY);
    const auto bytes = std::min<std::uint64_t>(subject.size(), 8 << 20);
    const auto first = md5_of(subject.disk(), true, bytes);
    const auto second = md5_of(subject.disk(), true, bytes);
    if (first != second)
        subject.fail("the same MD5 twice", fmt::format("stale or random: {}, then {}", first, second));
    count_check();
    drop_caches();
    if (const auto cached = md5_of(subject.disk(), false, bytes); cached != first)
        subject.fail("the same MD5 through the page cache", fmt::format("{}, and {}", first, cached));
    count_check();
    subject.finish();
}

CASE("SERVER-DATA-008", contract,
     "the MD5 of the device is that of a copy in memory which got the same writes", server_suite)
{
    Data data(16ULL << 20);
    const auto part = data.ledger.part();
    std::vector<std::byte> copy(part.bytes);
    fill(copy, 8);
    const DiskIo io(data.subject);
    const Buffer buffer(256 * 1024);
    const auto put = [&](Extent extent) {
        std::memcpy(buffer.span().data(), copy.data() + extent.offset, extent.bytes);
        io.write(extent.offset, buffer.first(extent.bytes));
    };
    for (std::uint64_t at = 0; at < part.bytes; at += buffer.span().size())
        put({at, std::min<std::uint64_t>(buffer.span().size(), part.bytes - at)});
    std::mt19937_64 random(8);
    for (int i = 0; i < 200; ++i) {
        const auto extent = data.ledger.random_extent(random, buffer.span().size());
        fill(std::span(copy).subspan(extent.offset, extent.bytes), random());
        put(extent);
    }
    io.flush();
    drop_caches();
    const auto wanted = md5_of(std::span<const std::byte>(copy));
    for (const bool direct : {true, false})
        if (const auto got = md5_of(data.subject.disk(), direct, part.bytes); got != wanted)
            data.subject.fail(
                fmt::format("MD5 {}, {}", wanted, direct ? "read directly" : "read through the cache"), got);
    count_check();
    data.subject.finish();
}

} // namespace conformance
