#include "ublk/engine/kernel_queue.hpp"

#include <utility>

namespace ublk::engine {

KernelQueue::KernelQueue(QueueBase base) : QueueBase(std::move(base))
{
    if (options_.data_path == DataPath::auto_buf) {
        auto_buf_ = uapi::to_sqe_addr({.flags = uapi::auto_buf_reg_fallback});
        auto_buf_mask_ = ~std::uint64_t{0};
    }
}

Result<KernelQueue> KernelQueue::open(const KernelQueueOptions& options)
{
    auto base = QueueBase::open(options, 1, 1);
    if (!base)
        return std::unexpected(std::move(base.error()));
    return KernelQueue(std::move(*base));
}

int KernelQueue::look() noexcept
{
    const int res = ring_.submit();
    return res < 0 ? res : ring_.take_in();
}

} // namespace ublk::engine
