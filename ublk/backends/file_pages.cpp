#include "ublk/backends/file_pages.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utility>

namespace ublk::backends {

namespace {

bool is_on_tmpfs(int fd)
{
    struct stat status{};
    struct statfs system{};
    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && ::fstatfs(fd, &system) == 0 &&
           system.f_type == TMPFS_MAGIC;
}

// Calls f(first, last) for the pages from `first` to `last`, word by word, while it says true.
template <unsigned word_bits, typename F>
bool for_words(std::uint64_t first, std::uint64_t last, F f)
{
    while (first <= last) {
        const std::uint64_t end = std::min(last, first | (word_bits - 1));
        if (!f(first, end))
            return false;
        first = end + 1;
    }
    return true;
}

} // namespace

FilePages FilePages::map(int fd, std::uint64_t size, bool read_only)
{
    FilePages result;
    if (size == 0 || !is_on_tmpfs(fd))
        return result;
    auto pages = engine::Pages::map_file(fd, size, read_only);
    if (!pages)
        return result;
    result.pages_ = std::move(*pages);
    result.read_only_ = read_only;
    const std::uint64_t last_page = (size - 1) >> page_shift, words = last_page / word_bits + 1;
    result.words_ = std::make_unique<Word[]>(words);
    // What is behind the end is not asked for, and does not keep the last word from being whole.
    if (last_page % word_bits != word_bits - 1)
        result.words_[words - 1].there = bits(last_page + 1, words * word_bits - 1);
    const auto end = static_cast<off_t>(size);
    for (off_t data = ::lseek(fd, 0, SEEK_DATA); data >= 0 && data < end;) {
        const off_t hole = ::lseek(fd, data, SEEK_HOLE);
        if (hole <= data)
            break;
        const auto first = static_cast<std::uint64_t>(data);
        result.written({first, static_cast<std::uint64_t>(std::min(hole, end)) - first});
        data = ::lseek(fd, hole, SEEK_DATA);
    }
    return result;
}

bool FilePages::has_all(std::uint64_t first, std::uint64_t last) const noexcept
{
    if (first > last || last > (pages_.size() - 1) >> page_shift) // of a length of 0
        return false;
    return for_words<word_bits>(first, last,
                                [this](std::uint64_t from, std::uint64_t to) { return has(from, to); });
}

// Best effort: what is missed costs its first request a fault.
void FilePages::fault_in(std::uint64_t word) const noexcept
{
    constexpr std::uint64_t bytes = std::uint64_t{word_bits} << page_shift;
    words_[word].faulted.store(true, std::memory_order_relaxed);
    ::madvise(pages_.data() + word * bytes, std::min(bytes, pages_.size() - word * bytes),
              read_only_ ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
}

void FilePages::written(engine::ByteRange range) noexcept
{
    if (!any() || range.length == 0)
        return;
    for_words<word_bits>(range.offset >> page_shift, (range.offset + range.length - 1) >> page_shift,
                         [this](std::uint64_t from, std::uint64_t to) {
                             words_[from / word_bits].there.fetch_or(bits(from, to),
                                                                     std::memory_order_relaxed);
                             return true;
                         });
}

// A page of which a part stays is there: the file system writes zeroes into it.
void FilePages::discard(engine::ByteRange range) noexcept
{
    constexpr std::uint64_t page = 1U << page_shift;
    const std::uint64_t first = (range.offset + page - 1) >> page_shift;
    const std::uint64_t end = (range.offset + range.length) >> page_shift;
    if (!any() || first >= end)
        return;
    for_words<word_bits>(first, end - 1, [this](std::uint64_t from, std::uint64_t to) {
        Word& word = words_[from / word_bits];
        word.there.fetch_and(~bits(from, to), std::memory_order_relaxed);
        word.faulted.store(false, std::memory_order_relaxed);
        return true;
    });
}

} // namespace ublk::backends
