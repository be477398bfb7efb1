#include "conformance/server/ledger.hpp"

#include <algorithm>
#include <sys/mman.h>

namespace conformance {

namespace {

std::size_t map_bytes(Extent part, std::size_t block, std::size_t row)
{
    return part.bytes / block * row;
}

} // namespace

Ledger::Ledger(const Subject& subject, std::uint64_t most)
    : Ledger(subject, Extent{0, std::min(subject.size(), most) / subject.block() * subject.block()})
{
}

Ledger::Ledger(const Subject& subject, Extent part) : subject_(subject), part_(part), block_(subject.block())
{
    void* memory = ::mmap(nullptr, map_bytes(part_, block_, sizeof(Row)), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("memory for the ledger", errno_text(errno));
    rows_ = static_cast<Row*>(memory);
}

Ledger::~Ledger()
{
    ::munmap(rows_, map_bytes(part_, block_, sizeof(Row)));
}

std::optional<Stamp> Ledger::expected(std::uint64_t offset) const
{
    const Row& known = row(offset);
    if (known.generation == 0)
        return std::nullopt;
    return Stamp{.offset = offset,
                 .writer = known.writer,
                 .generation = known.generation,
                 .request_offset = known.request_offset,
                 .request_bytes = known.request_bytes};
}

void Ledger::write(const DiskIo& io, Extent extent, std::uint32_t writer, Where where)
{
    std::uint32_t generation = 0;
    for (std::uint64_t at = extent.offset; at < extent.offset + extent.bytes; at += block_)
        generation = std::max(generation, row(at).last + 1);
    const Buffer buffer(extent.bytes);
    for (std::uint64_t done = 0; done < extent.bytes; done += block_) {
        const auto at = extent.offset + done;
        row(at).last = generation;
        row(at).generation = 0;
        write_stamp(buffer.span().subspan(done, block_),
                    {.offset = at,
                     .writer = writer,
                     .generation = generation,
                     .request_offset = extent.offset,
                     .request_bytes = static_cast<std::uint32_t>(extent.bytes)});
    }
    io.write(extent.offset, buffer.span(), where);
    for (std::uint64_t at = extent.offset; at < extent.offset + extent.bytes; at += block_) {
        Row& known = row(at);
        known.writer = writer;
        known.request_offset = extent.offset;
        known.request_bytes = static_cast<std::uint32_t>(extent.bytes);
        known.generation = generation;
    }
}

void Ledger::check(const DiskIo& io, Extent extent, Where where) const
{
    const Buffer buffer(extent.bytes);
    io.read(extent.offset, buffer.span(), where);
    check_bytes(buffer.span(), extent.offset, where);
}

void Ledger::check_bytes(std::span<const std::byte> data, std::uint64_t offset, Where where) const
{
    const auto read_again = [this](std::uint64_t at, std::span<std::byte> block) {
        const DiskIo io(subject_, Path::direct, O_RDONLY);
        const Buffer buffer(block.size());
        if (io.try_read(at, buffer.span()) != static_cast<long>(block.size()))
            return false;
        std::ranges::copy(buffer.span(), block.begin());
        return true;
    };
    const auto found =
        examine(data, offset, block_, [this](std::uint64_t at) { return expected(at); }, read_again);
    if (found)
        subject_.fail(rule_, found->text, where);
    count_check();
}

void Ledger::write_all(const DiskIo& io, std::uint32_t writer, std::size_t piece, Where where)
{
    const auto end = part_.offset + part_.bytes;
    for (auto at = part_.offset; at < end; at += piece)
        write(io, {at, std::min<std::uint64_t>(piece, end - at)}, writer, where);
}

void Ledger::check_all(const DiskIo& io, std::size_t piece, Where where) const
{
    const auto end = part_.offset + part_.bytes;
    for (auto at = part_.offset; at < end; at += piece)
        check(io, {at, std::min<std::uint64_t>(piece, end - at)}, where);
}

void Ledger::forget(Extent extent)
{
    for (std::uint64_t at = extent.offset; at < extent.offset + extent.bytes; at += block_)
        row(at).generation = 0;
}

Extent Ledger::random_extent(std::mt19937_64& random, std::uint64_t most, Extent within) const
{
    const auto blocks = within.bytes / block_;
    const auto count =
        1 + random() % std::min<std::uint64_t>(blocks, std::max<std::uint64_t>(most / block_, 1));
    return {within.offset + random() % (blocks - count + 1) * block_, count * block_};
}

} // namespace conformance
