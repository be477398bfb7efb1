#include "ublk/engine/kernel_queue.hpp"

#include <utility>

namespace ublk::engine {

KernelQueue::KernelQueue(QueueBase base) : QueueBase(std::move(base))
{
    const TagRange mine = options_.tags;
    for (unsigned i = 0; i < mine.count; ++i) {
        const auto tag = static_cast<std::uint16_t>(mine.first + i);
        const uapi::IoCmd command{.q_id = options_.queue, .tag = tag, .addr = command_address(tag)};
        io_uring_sqe& sqe = ring_.slot(tag);
        wire::prep_io(sqe, 0, uapi::opcode(uapi::IoNr::fetch_req), command, user_data(0, tag), true);
        if (options_.data_path == DataPath::auto_buf)
            sqe.addr = uapi::to_sqe_addr({.index = tag, .flags = uapi::auto_buf_reg_fallback});
    }
}

Result<KernelQueue> KernelQueue::open(const KernelQueueOptions& options)
{
    auto base = QueueBase::open(options, 1, 0);
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
