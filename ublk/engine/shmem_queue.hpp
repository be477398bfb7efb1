// A queue of a device with UBLK_F_SHMEM_ZC: payload that lies in registered memory is used where it is, all
// other goes through the tag's buffer and is copied by the driver.
#pragma once

#include "ublk/engine/kernel_queue.hpp"

namespace ublk::engine {

// A QueueDriver that shares memory.
class ShmemQueue : public KernelQueue {
  public:
    static Result<ShmemQueue> open(const KernelQueueOptions& options)
    {
        auto queue = KernelQueue::open(options);
        if (!queue)
            return std::unexpected(std::move(queue.error()));
        return ShmemQueue(std::move(*queue));
    }

    // So that no request is served unlooked at; there is nothing to bring or to deliver.
    static constexpr bool copies() noexcept { return true; }
    std::span<std::byte> payload(std::uint16_t tag, const uapi::IoDesc& desc) noexcept
    {
        const bool is_shared = desc.flags().has(uapi::IoFlag::shmem_zc);
        const auto place = is_shared ? find_shared(options_.shared, desc.addr) : buffer(tag);
        places_[tag] = place.data();
        return place;
    }
    void start(std::uint16_t tag, const RingOp& op, uapi::IoFlags flags) noexcept
    {
        start_at(tag, op, flags, places_[tag]);
    }

  private:
    explicit ShmemQueue(KernelQueue queue) : KernelQueue(std::move(queue)), places_(depth()) {}

    std::vector<std::byte*> places_; // by tag: the payload of its request
};

} // namespace ublk::engine
