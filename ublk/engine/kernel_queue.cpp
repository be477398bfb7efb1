#include "ublk/engine/kernel_queue.hpp"

#include <utility>

namespace ublk::engine {

KernelQueue::KernelQueue(QueueBase base) : QueueBase(std::move(base))
{
    if (options_.data_path == DataPath::auto_buf) {
        for (std::uint16_t tag = 0; tag < options_.depth; ++tag)
            commands_[tag].sqe_addr = uapi::to_sqe_addr({.index = tag, .flags = uapi::auto_buf_reg_fallback});
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
