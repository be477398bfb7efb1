// The pages of a file that is in memory anyway, mapped, and which of them there are.
#pragma once

#include "ublk/engine/io.hpp"
#include "ublk/engine/queue_base.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace ublk::backends {

// Of a hole nothing is given: to read it through the mapping would take memory, and to write it would fail
// without saying why once there is none. Called by all queue threads at once. What somebody else punches into
// the file is taken for there until the next discard().
class FilePages {
  public:
    // Of the first `size` bytes of a regular file on tmpfs. Of any other file, and where there is no room for
    // a mapping, empty: there are no pages then.
    static FilePages map(int fd, std::uint64_t size, bool read_only);
    bool any() const noexcept { return pages_.data() != nullptr; } // not empty
    std::uint64_t size() const noexcept { return pages_.size(); }

    // The bytes of a range inside of `size`; empty unless all of them are there. Not of an empty object.
    std::span<std::byte> find(engine::ByteRange range) const noexcept
    {
        const std::uint64_t first = range.offset >> page_shift;
        const std::uint64_t last = (range.offset + range.length - 1) >> page_shift;
        if (first / word_bits == last / word_bits ? !has(first, last) : !has_all(first, last))
            return {};
        return {pages_.data() + range.offset, static_cast<std::size_t>(range.length)};
    }
    // Whether that is a part of what find() gave.
    bool holds(const std::byte* data) const noexcept
    {
        return static_cast<std::uint64_t>(data - pages_.data()) < pages_.size();
    }
    void written(engine::ByteRange range) noexcept; // by write(2)
    void discard(engine::ByteRange range) noexcept; // before the hole is made

  private:
    static constexpr unsigned page_shift = 12, word_bits = 64;
    static constexpr std::uint64_t all = ~std::uint64_t{0};
    struct Word {
        std::atomic<std::uint64_t> there{}; // a bit for each page
        std::atomic<bool> faulted{};        // all of them, so that they cost no request a fault
    };

    // Pages from `first` to `last` as bits of their word, which both are in.
    static constexpr std::uint64_t bits(std::uint64_t first, std::uint64_t last)
    {
        return all << first % word_bits & all >> (word_bits - 1 - last % word_bits);
    }
    bool has(std::uint64_t first, std::uint64_t last) const noexcept
    {
        Word& word = words_[first / word_bits];
        const std::uint64_t there = word.there.load(std::memory_order_relaxed);
        if (there == all) [[likely]] {
            if (!word.faulted.load(std::memory_order_relaxed)) [[unlikely]]
                fault_in(first / word_bits);
            return true;
        }
        return (there & bits(first, last)) == bits(first, last);
    }
    bool has_all(std::uint64_t first, std::uint64_t last) const noexcept;
    void fault_in(std::uint64_t word) const noexcept;

    engine::Pages pages_;
    std::unique_ptr<Word[]> words_;
    bool read_only_ = false;
};

} // namespace ublk::backends
