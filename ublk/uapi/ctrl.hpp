// Control plane: commands on /dev/ublk-control and the structures they carry (linux/ublk_cmd.h, Linux 7.3).
// All structures are plain data in host byte order, laid out as the kernel reads them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ublk::uapi {

// Command numbers (the low byte of an opcode). The names are UBLK_CMD_* / UBLK_U_CMD_*.
enum class CtrlNr : std::uint8_t {
    get_queue_affinity = 0x01,
    get_dev_info = 0x02,
    add_dev = 0x04,
    del_dev = 0x05,
    start_dev = 0x06,
    stop_dev = 0x07,
    set_params = 0x08,
    get_params = 0x09,
    start_user_recovery = 0x10,
    end_user_recovery = 0x11,
    get_dev_info2 = 0x12,
    get_features = 0x13,
    del_dev_async = 0x14,
    update_size = 0x15,
    quiesce_dev = 0x16,
    try_stop_dev = 0x17,
    reg_buf = 0x18,
    unreg_buf = 0x19,
};

// ioctl-style encoding: direction(2) size(14) type(8) nr(8), as asm-generic/ioctl.h has it.
enum class Direction : std::uint32_t { none = 0, write = 1, read = 2, read_write = 3 };
constexpr std::uint32_t encode_opcode(Direction dir, std::uint32_t type, std::uint32_t nr, std::uint32_t size)
{
    return (static_cast<std::uint32_t>(dir) << 30) | ((size & 0x3fffU) << 16) | ((type & 0xffU) << 8) |
           (nr & 0xffU);
}
constexpr std::uint32_t opcode_nr(std::uint32_t op)
{
    return op & 0xffU;
}
constexpr std::uint32_t opcode_type(std::uint32_t op)
{
    return (op >> 8) & 0xffU;
}
constexpr std::uint32_t opcode_size(std::uint32_t op)
{
    return (op >> 16) & 0x3fffU;
}
constexpr Direction opcode_direction(std::uint32_t op)
{
    return static_cast<Direction>(op >> 30);
}

// struct ublksrv_ctrl_cmd: sits in the SQE's 80-byte command area (needs IORING_SETUP_SQE128).
struct CtrlCmd {
    std::uint32_t dev_id = 0xffffffffU;
    std::uint16_t queue_id = 0xffffU; // 0xffff: not for a queue; ADD_DEV demands it
    std::uint16_t len = 0;            // bytes at addr
    std::uint64_t addr = 0;           // user buffer; begins with the path if dev_path_len != 0
    std::uint64_t data = 0;           // data[0]: command's own argument
    std::uint16_t dev_path_len = 0;   // bytes of path, GET_DEV_INFO2 and unprivileged devices
    std::uint16_t pad = 0;
    std::uint32_t reserved = 0;
    constexpr bool operator==(const CtrlCmd&) const = default;
};
static_assert(sizeof(CtrlCmd) == 32);
static_assert(offsetof(CtrlCmd, queue_id) == 4 && offsetof(CtrlCmd, len) == 6 &&
              offsetof(CtrlCmd, addr) == 8);
static_assert(offsetof(CtrlCmd, data) == 16 && offsetof(CtrlCmd, dev_path_len) == 24);
static_assert(offsetof(CtrlCmd, pad) == 26 && offsetof(CtrlCmd, reserved) == 28);

inline constexpr std::uint32_t opcode_type_ublk = 'u';
inline constexpr std::uint32_t no_dev_id = 0xffffffffU; // ADD_DEV: let the driver choose
inline constexpr std::uint16_t no_queue = 0xffffU;

// The full opcode of a control command (UBLK_U_CMD_*): reads are _IOR, the rest _IOWR.
constexpr std::uint32_t opcode(CtrlNr nr)
{
    const bool read_only = nr == CtrlNr::get_queue_affinity || nr == CtrlNr::get_dev_info ||
                           nr == CtrlNr::get_params || nr == CtrlNr::get_dev_info2 ||
                           nr == CtrlNr::get_features || nr == CtrlNr::del_dev_async;
    return encode_opcode(read_only ? Direction::read : Direction::read_write, opcode_type_ublk,
                         static_cast<std::uint32_t>(nr), sizeof(CtrlCmd));
}
// The raw form (UBLK_CMD_*) that kernels with CONFIG_BLKDEV_UBLK_LEGACY_OPCODES take as well.
constexpr std::uint32_t legacy_opcode(CtrlNr nr)
{
    return static_cast<std::uint32_t>(nr);
}

// UBLK_S_DEV_*
enum class DevState : std::uint16_t { dead = 0, live = 1, quiesced = 2, fail_io = 3 };

// struct ublksrv_ctrl_dev_info
struct DevInfo {
    std::uint16_t nr_hw_queues = 1;
    std::uint16_t queue_depth = 0;
    std::uint16_t state = 0;        // DevState; output
    std::uint16_t io_desc_size = 0; // bytes of a descriptor slot; pad0 before 7.3
    std::uint32_t max_io_buf_bytes = 0;
    std::uint32_t dev_id = no_dev_id;
    std::int32_t ublksrv_pid = -1; // output
    std::uint32_t pad1 = 0;
    std::uint64_t flags = 0;         // Feature bits
    std::uint64_t ublksrv_flags = 0; // opaque to the driver
    std::uint32_t owner_uid = 0;     // output
    std::uint32_t owner_gid = 0;     // output
    std::uint64_t reserved1 = 0;
    std::uint64_t reserved2 = 0;
    constexpr bool operator==(const DevInfo&) const = default;
};
static_assert(sizeof(DevInfo) == 64);
static_assert(offsetof(DevInfo, queue_depth) == 2 && offsetof(DevInfo, state) == 4 &&
              offsetof(DevInfo, io_desc_size) == 6);
static_assert(offsetof(DevInfo, max_io_buf_bytes) == 8 && offsetof(DevInfo, dev_id) == 12);
static_assert(offsetof(DevInfo, ublksrv_pid) == 16 && offsetof(DevInfo, flags) == 24);
static_assert(offsetof(DevInfo, ublksrv_flags) == 32 && offsetof(DevInfo, owner_uid) == 40);
static_assert(offsetof(DevInfo, owner_gid) == 44 && offsetof(DevInfo, reserved1) == 48 &&
              offsetof(DevInfo, reserved2) == 56);

// struct ublk_shmem_buf_reg: payload of REG_BUF (7.1).
struct ShmemBufReg {
    std::uint64_t addr = 0;  // page aligned
    std::uint64_t len = 0;   // bytes, page multiple, up to 4 GiB
    std::uint32_t flags = 0; // shmem_buf_read_only
    std::uint32_t reserved = 0;
    constexpr bool operator==(const ShmemBufReg&) const = default;
};
static_assert(sizeof(ShmemBufReg) == 24);
static_assert(offsetof(ShmemBufReg, len) == 8 && offsetof(ShmemBufReg, flags) == 16 &&
              offsetof(ShmemBufReg, reserved) == 20);
inline constexpr std::uint32_t shmem_buf_read_only = 1U << 0; // UBLK_SHMEM_BUF_READ_ONLY

inline constexpr std::uint16_t features_len = 8; // UBLK_FEATURES_LEN

// Limits the driver checks (UBLK_MAX_*).
inline constexpr unsigned max_queue_depth = 4096;
inline constexpr unsigned max_nr_queues = 4096;
inline constexpr std::uint32_t max_dev_id =
    (1U << 20) - 1; // UBLK_MAX_UBLKS - 1; in the driver, not in the UAPI

} // namespace ublk::uapi
