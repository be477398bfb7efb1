// A bounded queue from many threads to one. Neither side ever waits for the other: push() gives up when it is
// full, pop() when it is empty.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ublk::observe {

// Each cell has a turn: that of the position which may fill it, one more once it is filled. A writer that
// stops between the two holds the reader up, never another writer.
template <typename T>
class BoundedRing {
  public:
    // Holds at least `capacity` values, rounded up to a power of two.
    explicit BoundedRing(std::size_t capacity) : cells_(std::bit_ceil(capacity))
    {
        for (std::size_t i = 0; i < cells_.size(); ++i)
            cells_[i].turn.store(i, std::memory_order_relaxed);
    }

    std::size_t capacity() const { return cells_.size(); }

    // Any thread. False: full, and `value` is not in it.
    bool push(const T& value) noexcept
    {
        std::uint64_t position = tail_.load(std::memory_order_relaxed);
        for (;;) {
            Cell& cell = cells_[position & (cells_.size() - 1)];
            const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
            if (turn == position) {
                if (!tail_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed))
                    continue;
                cell.value = value;
                cell.turn.store(position + 1, std::memory_order_release);
                return true;
            }
            if (turn < position)
                return false;
            position = tail_.load(std::memory_order_relaxed);
        }
    }

    // One thread at a time. False: empty, or the next writer has not finished.
    bool pop(T& value) noexcept
    {
        Cell& cell = cells_[head_ & (cells_.size() - 1)];
        if (cell.turn.load(std::memory_order_acquire) != head_ + 1)
            return false;
        value = cell.value;
        cell.turn.store(head_ + cells_.size(), std::memory_order_release);
        ++head_;
        return true;
    }

  private:
    static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
    struct Cell {
        std::atomic<std::uint64_t> turn = 0;
        T value{};
    };
    std::vector<Cell> cells_;
    alignas(128) std::atomic<std::uint64_t> tail_ = 0;
    alignas(128) std::uint64_t head_ = 0;
};

} // namespace ublk::observe
