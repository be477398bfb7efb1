// Raw ublk commands: one control command, one I/O command, and the nodes they go to.
#pragma once

#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/io.hpp"
#include "ublk/wire/ring.hpp"

#include <cstdint>
#include <cstring>
#include <expected>
#include <string>

namespace ublk::wire {

inline constexpr const char* control_path = "/dev/ublk-control";
std::string char_path(std::uint32_t dev_id);  // "/dev/ublkcN"
std::string block_path(std::uint32_t dev_id); // "/dev/ublkbN"

// Opens a node with O_CLOEXEC added. Error: positive errno.
std::expected<Fd, int> open_node(const std::string& path, int flags);

namespace detail {
// Offset of the command area (sqe->cmd): liburing's name for it differs between versions.
inline constexpr std::size_t cmd_offset = 48;

template <typename T>
void prep(io_uring_sqe& sqe, int fd, std::uint32_t op, const T& cmd, std::size_t bytes,
          std::uint64_t user_data)
{
    sqe.opcode = IORING_OP_URING_CMD;
    sqe.fd = fd;
    sqe.off = op; // cmd_op shares the low half
    sqe.user_data = user_data;
    std::memcpy(reinterpret_cast<std::byte*>(&sqe) + cmd_offset, &cmd, bytes);
}
} // namespace detail

// Writes an URING_CMD into a zeroed entry. On a ring without SQE128 only the first 16 bytes of the control
// command fit, and no more are written. `fixed`: fd is an index of the ring's registered files.
void prep_control(io_uring_sqe& sqe, bool sqe128, int fd, std::uint32_t op, const uapi::CtrlCmd& cmd,
                  std::uint64_t user_data);
inline void prep_io(io_uring_sqe& sqe, int fd, std::uint32_t op, const uapi::IoCmd& cmd,
                    std::uint64_t user_data, bool fixed = false)
{
    detail::prep(sqe, fd, op, cmd, sizeof(cmd), user_data);
    if (fixed)
        sqe.flags |= IOSQE_FIXED_FILE;
}
// Makes another command of one that prep_io() prepared, for the same tag.
inline void change_io(io_uring_sqe& sqe, std::uint32_t op, std::int32_t result)
{
    sqe.off = op;
    std::memcpy(reinterpret_cast<std::byte*>(&sqe) + detail::cmd_offset + offsetof(uapi::IoCmd, result),
                &result, sizeof(result));
}
// The address that such a command gives.
inline void set_io_address(io_uring_sqe& sqe, std::uint64_t address)
{
    std::memcpy(reinterpret_cast<std::byte*>(&sqe) + detail::cmd_offset + offsetof(uapi::IoCmd, addr),
                &address, sizeof(address));
}
inline std::uint64_t io_address(const io_uring_sqe& sqe)
{
    std::uint64_t address = 0;
    std::memcpy(&address,
                reinterpret_cast<const std::byte*>(&sqe) + detail::cmd_offset + offsetof(uapi::IoCmd, addr),
                sizeof(address));
    return address;
}
void prep_batch(io_uring_sqe& sqe, int fd, std::uint32_t op, const uapi::BatchIo& cmd, std::uint64_t addr,
                std::uint64_t user_data, bool fixed = false);
// Makes an entry that prep_batch has filled one of other elements.
inline void change_batch(io_uring_sqe& sqe, std::uint64_t addr, std::uint16_t elements)
{
    sqe.addr = addr;
    std::memcpy(reinterpret_cast<std::byte*>(&sqe) + detail::cmd_offset + offsetof(uapi::BatchIo, nr_elem),
                &elements, sizeof(elements));
}

// Sends one control command on an otherwise idle ring and waits for its answer without limit.
// Returns the CQE's result, or -errno if the ring refused it.
std::int32_t control(Ring& ring, int control_fd, std::uint32_t op, const uapi::CtrlCmd& cmd);

// The read-only descriptor area of one queue. Slots are desc_size bytes apart.
class DescriptorMap {
  public:
    DescriptorMap() = default;
    // Error: positive errno of mmap.
    static std::expected<DescriptorMap, int> map(int char_fd, unsigned queue, unsigned depth,
                                                 unsigned desc_size = uapi::min_io_desc_size);
    DescriptorMap(DescriptorMap&& other) noexcept;
    DescriptorMap& operator=(DescriptorMap&& other) noexcept;
    DescriptorMap(const DescriptorMap&) = delete;
    DescriptorMap& operator=(const DescriptorMap&) = delete;
    ~DescriptorMap();

    // A copy: the slot belongs to the kernel again after the commit.
    uapi::IoDesc read(unsigned tag) const
    {
        // Member by member, so that what nobody looks at is not loaded.
        const std::byte* from = base_ + std::size_t{tag} * desc_size_;
        const auto take = [from]<typename T>(std::size_t at, T& to) {
            std::memcpy(&to, from + at, sizeof(T));
        };
        uapi::IoDesc desc;
        take(offsetof(uapi::IoDesc, op_flags), desc.op_flags);
        take(offsetof(uapi::IoDesc, nr_sectors), desc.nr_sectors);
        take(offsetof(uapi::IoDesc, start_sector), desc.start_sector);
        take(offsetof(uapi::IoDesc, addr), desc.addr);
        return desc;
    }
    const std::byte* data() const { return base_; }
    std::size_t size() const { return bytes_; }

  private:
    std::byte* base_ = nullptr;
    std::size_t bytes_ = 0;
    unsigned desc_size_ = uapi::min_io_desc_size;
};

} // namespace ublk::wire
