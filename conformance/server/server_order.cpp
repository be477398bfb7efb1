// Suite "server": flush, FUA, discard and write-zeroes, as far as sysfs says that the device has them.
#include "conformance/server/ledger.hpp"
#include "conformance/server/suite.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/fs.h>

namespace conformance {

namespace {

void needs_persistence()
{
    needs_data();
    if (!profile().persistent && !profile().wants_disk())
        skip("the server's data do not outlive it (--persistent says that they do)");
}

void needs_power_disk()
{
    needs_data();
    if (!profile().wants_disk())
        skip("needs a server of a disk: {disk} in its command");
}

enum class Loss { of_process, of_power };

// Writes, makes it durable, takes server (and power) away, and looks again.
void durability(Loss loss, bool by_fua)
{
    Subject subject;
    needs_writable(subject);
    Ledger ledger(subject, 4ULL << 20);
    {
        const DiskIo io(subject, by_fua ? Path::durable : Path::direct);
        std::mt19937_64 random(1);
        ledger.write_all(io, 0, 64 * 1024);
        for (int i = 0; i < 100; ++i)
            ledger.write(io, ledger.random_extent(random, 16 * 1024));
        if (!by_fua)
            io.flush();
    }
    subject.kill();
    if (loss == Loss::of_power)
        subject.power_disk()->lose_power();
    subject.start_again();
    ledger.state_rule(by_fua ? "what was written with FUA is there after the loss"
                             : "what was written before the fsync is there after the loss");
    ledger.check_all(DiskIo(subject));
    subject.finish();
}

// A range of the device in the middle of written blocks, and what is known around it.
struct Hole {
    Subject subject;
    Ledger ledger;
    DiskIo io;
    Extent range;

    explicit Hole(const char* limit)
        : subject((needs_data(), Where::current())), ledger(subject, 4ULL << 20), io(subject)
    {
        needs_writable(subject);
        if (subject.sysfs_number(limit) == 0)
            skip(fmt::format("the device has none: {} is 0", limit));
        const auto grain =
            std::max<std::uint64_t>(subject.sysfs_number("queue/discard_granularity"), subject.block());
        const auto unit = std::max<std::uint64_t>(grain, 4096);
        if (ledger.part().bytes < 16 * unit)
            skip(fmt::format("needs a device of {} bytes", 16 * unit));
        // Ends aligned as sysfs wants it; not aligned to anything larger.
        range = {5 * unit, ledger.part().bytes / unit / 2 * unit - 2 * unit};
        ledger.write_all(io);
    }
    // Everything but the range is as it was.
    void check_neighbours()
    {
        ledger.state_rule(
            fmt::format("the blocks around {} are as before", place_text(range.offset, range.bytes)));
        ledger.forget(range);
        ledger.check_all(io);
    }
    void expect_zeroes(const char* what)
    {
        const Buffer buffer(range.bytes);
        io.read(range.offset, buffer.span());
        const auto data = std::ranges::find_if(buffer.span(), [](std::byte b) { return b != std::byte{}; });
        if (data != buffer.span().end())
            subject.fail(
                fmt::format("{} reads as zeroes", what),
                fmt::format("data left: {} of {} has {:02x} at {}", what,
                            place_text(range.offset, range.bytes), std::to_integer<unsigned>(*data),
                            range.offset + static_cast<std::uint64_t>(data - buffer.span().begin())));
        count_check();
    }
    void must(const char* what, long res)
    {
        if (res != 0)
            io.refuse(what, res);
        count_check();
    }
};

} // namespace

CASE("SERVER-FLUSH-001", contract, "fsync and writes with FUA succeed, whatever cache sysfs tells of",
     server_suite)
{
    if (profile().read_only)
        skip("the device is to be read-only (--read-only)");
    Subject subject;
    needs_writable(subject);
    const auto cache = subject.sysfs("queue/write_cache");
    expect_true(cache == "write back" || cache == "write through", "queue/write_cache says which");
    const DiskIo plain(subject), durable(subject, Path::durable);
    const Buffer buffer(std::max<std::size_t>(subject.block(), 4096));
    for (int i = 0; i < 20; ++i) {
        plain.write(0, buffer.span());
        plain.flush();
        durable.write(0, buffer.span());
    }
    subject.finish();
}

CASE("SERVER-FLUSH-002", contract, "what was written before an fsync outlives a server that is killed",
     server_suite)
{
    needs_persistence();
    durability(Loss::of_process, false);
}

CASE("SERVER-FLUSH-003", contract, "a write with FUA outlives a server that is killed", server_suite)
{
    needs_persistence();
    durability(Loss::of_process, true);
}

CASE("SERVER-FLUSH-004", contract, "what was written before an fsync outlives a loss of power", server_suite)
{
    needs_power_disk();
    durability(Loss::of_power, false);
}

CASE("SERVER-FLUSH-005", contract, "a write with FUA outlives a loss of power", server_suite)
{
    needs_power_disk();
    durability(Loss::of_power, true);
}

CASE("SERVER-DISCARD-001", contract, "a discard succeeds and leaves the blocks around it alone", server_suite)
{
    Hole hole("queue/discard_max_bytes");
    hole.must("BLKDISCARD", hole.io.try_range(BLKDISCARD, hole.range.offset, hole.range.bytes));
    hole.check_neighbours();
    hole.ledger.write_all(hole.io);
    hole.ledger.check_all(hole.io);
    hole.subject.finish();
}

CASE("SERVER-DISCARD-002", contract, "what was discarded reads as zeroes, if the server promises that",
     server_suite)
{
    if (!profile().discard_zeroes)
        skip("the server does not promise it (--discard-zeroes)");
    Hole hole("queue/discard_max_bytes");
    hole.must("BLKDISCARD", hole.io.try_range(BLKDISCARD, hole.range.offset, hole.range.bytes));
    hole.expect_zeroes("the discarded range");
    hole.subject.finish();
}

CASE("SERVER-ZERO-001", contract,
     "a range that was zeroed reads as zeroes, and the blocks around it are as before", server_suite)
{
    Hole hole("queue/write_zeroes_max_bytes");
    hole.must("BLKZEROOUT", hole.io.try_range(BLKZEROOUT, hole.range.offset, hole.range.bytes));
    hole.expect_zeroes("the zeroed range");
    hole.check_neighbours();
    hole.subject.finish();
}

CASE("SERVER-ZERO-002", contract,
     "a range that was zeroed and may be unmapped reads as zeroes, and the blocks around it are as before",
     server_suite)
{
    Hole hole("queue/write_zeroes_max_bytes");
    const long res = hole.io.try_punch(hole.range.offset, hole.range.bytes);
    if (res == -EOPNOTSUPP)
        skip("the device refuses to zero by unmapping: EOPNOTSUPP");
    hole.must("FALLOC_FL_PUNCH_HOLE", res);
    hole.expect_zeroes("the punched range");
    hole.check_neighbours();
    hole.subject.finish();
}

} // namespace conformance
