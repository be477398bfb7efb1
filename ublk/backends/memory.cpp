#include "ublk/backends/memory.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/mman.h>
#include <utility>

namespace ublk::backends {

namespace {
constexpr std::uint64_t page = 4096;
}

Result<Memory> Memory::create(std::uint64_t size, std::uint32_t block_size, bool read_only)
{
    void* base = MAP_FAILED;
    errno = ENOMEM;
    if (size > 0 && size <= SIZE_MAX / 2)
        base =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        Error error = make_error("mmap of the memory disk", errno);
        error.hint = "make it smaller";
        return std::unexpected(std::move(error));
    }
    return Memory(static_cast<std::byte*>(base), size, block_size, read_only);
}

Memory::Memory(Memory&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), size_(other.size_), block_size_(other.block_size_),
      read_only_(other.read_only_)
{
}

Memory::~Memory()
{
    if (base_ != nullptr)
        ::munmap(base_, size_);
}

engine::Geometry Memory::geometry() const
{
    return {.size = size_,
            .block_size = block_size_,
            .attrs = read_only_ ? uapi::Attrs(uapi::Attr::read_only) : uapi::Attrs{},
            .discard = true,
            .write_zeroes = true,
            .discard_granularity = static_cast<std::uint32_t>(page)};
}

std::int32_t Memory::zero(engine::ByteRange range) const noexcept
{
    const std::uint64_t end = range.offset + range.length;
    const std::uint64_t first_page = std::min((range.offset + page - 1) / page * page, end);
    const std::uint64_t last_page = std::max(end / page * page, first_page);
    // A private anonymous page that is given back reads as zeroes; without memory to spare for that, or with
    // pages locked, it is written.
    const std::uint64_t whole = last_page - first_page;
    if (whole > 0 && ::madvise(base_ + first_page, whole, MADV_DONTNEED) != 0)
        std::memset(base_ + first_page, 0, whole);
    std::memset(base_ + range.offset, 0, first_page - range.offset);
    std::memset(base_ + last_page, 0, end - last_page);
    return 0;
}

} // namespace ublk::backends
