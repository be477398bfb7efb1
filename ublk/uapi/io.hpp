// I/O plane: commands on /dev/ublkcN, descriptors, batch elements (linux/ublk_cmd.h, Linux 7.3).
// Sectors are 512 bytes, always.
#pragma once

#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/flags.hpp"

#include <cstddef>
#include <cstdint>

namespace ublk::uapi {

inline constexpr unsigned sector_shift = 9;
inline constexpr unsigned sector_size = 1U << sector_shift;

// UBLK_IO_* / UBLK_U_IO_*
enum class IoNr : std::uint8_t {
    fetch_req = 0x20,
    commit_and_fetch_req = 0x21,
    need_get_data = 0x22,
    register_io_buf = 0x23,
    unregister_io_buf = 0x24,
    prep_io_cmds = 0x25,
    commit_io_cmds = 0x26,
    fetch_io_cmds = 0x27,
};

// struct ublksrv_io_cmd: command area of a per-tag command; fits a 64-byte SQE.
struct IoCmd {
    std::uint16_t q_id = 0;
    std::uint16_t tag = 0;
    std::int32_t result = 0; // bytes done or -errno; COMMIT only
    std::uint64_t addr = 0;  // buffer address; zone_append_lba (sectors) when a ZONE_APPEND is committed
    constexpr bool operator==(const IoCmd&) const = default;
};
static_assert(sizeof(IoCmd) == 16 && offsetof(IoCmd, tag) == 2 && offsetof(IoCmd, result) == 4 &&
              offsetof(IoCmd, addr) == 8);

// struct ublk_batch_io: command area of PREP/COMMIT/FETCH_IO_CMDS (7.0).
struct BatchIo {
    std::uint16_t q_id = 0;
    std::uint16_t flags = 0; // BatchFlag bits
    std::uint16_t nr_elem = 0;
    std::uint8_t elem_bytes = 0;
    std::uint8_t reserved = 0;
    std::uint64_t reserved2 = 0;
    constexpr bool operator==(const BatchIo&) const = default;
};
static_assert(sizeof(BatchIo) == 16 && offsetof(BatchIo, flags) == 2 && offsetof(BatchIo, nr_elem) == 4);
static_assert(offsetof(BatchIo, elem_bytes) == 6 && offsetof(BatchIo, reserved2) == 8);

enum class BatchFlag : std::uint16_t {
    has_zone_lba = 1U << 0,
    has_buf_addr = 1U << 1,
    auto_buf_reg_fallback = 1U << 2
};
using BatchFlags = FlagSet<BatchFlag>;
constexpr BatchFlags operator|(BatchFlag a, BatchFlag b)
{
    return BatchFlags(a) | BatchFlags(b);
}

// struct ublk_elem_header; followed by u64 buf_addr and/or u64 zone_lba as the batch flags say.
struct BatchElem {
    std::uint16_t tag = 0;
    std::uint16_t buf_index = 0; // AUTO_BUF_REG slot
    std::int32_t result = 0;     // COMMIT only
    constexpr bool operator==(const BatchElem&) const = default;
};
static_assert(sizeof(BatchElem) == 8 && offsetof(BatchElem, buf_index) == 2 &&
              offsetof(BatchElem, result) == 4);
constexpr unsigned batch_elem_bytes(BatchFlags flags)
{
    return 8U + (flags.has(BatchFlag::has_buf_addr) ? 8U : 0U) +
           (flags.has(BatchFlag::has_zone_lba) ? 8U : 0U);
}

// The full opcode of an I/O command (UBLK_U_IO_*).
constexpr std::uint32_t opcode(IoNr nr)
{
    const std::uint32_t size = nr >= IoNr::prep_io_cmds ? sizeof(BatchIo) : sizeof(IoCmd);
    return encode_opcode(Direction::read_write, opcode_type_ublk, static_cast<std::uint32_t>(nr), size);
}
constexpr std::uint32_t legacy_opcode(IoNr nr)
{
    return static_cast<std::uint32_t>(nr);
}

// CQE results of FETCH / COMMIT_AND_FETCH (UBLK_IO_RES_*)
inline constexpr std::int32_t io_res_ok = 0;
inline constexpr std::int32_t io_res_need_get_data = 1;
inline constexpr std::int32_t io_res_abort = -19; // -ENODEV

// UBLK_IO_OP_*: low 8 bits of IoDesc::op_flags
enum class IoOp : std::uint8_t {
    read = 0,
    write = 1,
    flush = 2,
    discard = 3,
    write_same = 4,
    write_zeroes = 5,
    zone_open = 10,
    zone_close = 11,
    zone_finish = 12,
    zone_append = 13,
    zone_reset_all = 14,
    zone_reset = 15,
    report_zones = 18,
};

// UBLK_IO_F_*: upper bits of IoDesc::op_flags
enum class IoFlag : std::uint32_t {
    failfast_dev = 1U << 8,
    failfast_transport = 1U << 9,
    failfast_driver = 1U << 10,
    meta = 1U << 11,
    fua = 1U << 13,
    nounmap = 1U << 15,
    swap = 1U << 16,
    need_reg_buf = 1U << 17, // 6.16: auto registration failed, register yourself
    integrity = 1U << 18,    // 7.0: the request carries metadata
    shmem_zc = 1U << 19,     // 7.1: addr is ShmemAddr
};
using IoFlags = FlagSet<IoFlag>;
constexpr IoFlags operator|(IoFlag a, IoFlag b)
{
    return IoFlags(a) | IoFlags(b);
}

// struct ublksrv_io_desc: one slot of the read-only descriptor area mapped from /dev/ublkcN.
struct IoDesc {
    std::uint32_t op_flags = 0;
    std::uint32_t nr_sectors = 0; // nr_zones for REPORT_ZONES
    std::uint64_t start_sector = 0;
    std::uint64_t addr = 0; // what was last given for the tag; see the data paths

    constexpr std::uint8_t op() const { return static_cast<std::uint8_t>(op_flags & 0xffU); }
    constexpr IoFlags flags() const { return IoFlags::from_raw(op_flags & ~0xffU); }
    constexpr bool operator==(const IoDesc&) const = default;
};
static_assert(sizeof(IoDesc) == 24 && offsetof(IoDesc, nr_sectors) == 4 &&
              offsetof(IoDesc, start_sector) == 8 && offsetof(IoDesc, addr) == 16);
inline constexpr unsigned min_io_desc_size = 24,
                          max_io_desc_size = 256; // bytes, multiples of 8 (IO_DESC_SIZE, 7.3)

// mmap offsets: descriptors of queue q start at cmd_buf_offset + q * area stride.
inline constexpr std::uint64_t cmd_buf_offset = 0;          // UBLKSRV_CMD_BUF_OFFSET
inline constexpr std::uint64_t io_buf_offset = 0x80000000U; // UBLKSRV_IO_BUF_OFFSET
// Bytes between the areas of two queues, and bytes of one queue's area: the driver's arithmetic.
constexpr std::uint64_t desc_area_stride(std::uint64_t desc_size, std::uint64_t page)
{
    return (max_queue_depth * desc_size + page - 1) / page * page;
}
constexpr std::uint64_t desc_area_bytes(std::uint64_t depth, std::uint64_t desc_size, std::uint64_t page)
{
    return (depth * desc_size + page - 1) / page * page;
}

// USER_COPY file position: io_buf_offset + (queue << 41 | tag << 25 | byte); bit 62 selects metadata (7.0).
inline constexpr unsigned pos_byte_bits = 25, pos_tag_bits = 16, pos_qid_bits = 12;
inline constexpr std::uint64_t pos_integrity_flag = 1ULL << 62;
constexpr std::uint64_t user_copy_pos(std::uint64_t q_id, std::uint64_t tag, std::uint64_t byte = 0)
{
    return io_buf_offset + (q_id << (pos_byte_bits + pos_tag_bits)) + (tag << pos_byte_bits) + byte;
}

// struct ublk_auto_buf_reg, carried in sqe->addr of FETCH and COMMIT on AUTO_BUF_REG devices (6.16).
struct AutoBufReg {
    std::uint16_t index = 0;
    std::uint8_t flags = 0; // auto_buf_reg_fallback
    std::uint8_t reserved0 = 0;
    std::uint32_t reserved1 = 0;
    constexpr bool operator==(const AutoBufReg&) const = default;
};
static_assert(sizeof(AutoBufReg) == 8 && offsetof(AutoBufReg, flags) == 2 &&
              offsetof(AutoBufReg, reserved1) == 4);
inline constexpr std::uint8_t auto_buf_reg_fallback = 1U << 0;
constexpr std::uint64_t to_sqe_addr(AutoBufReg reg)
{
    return reg.index | std::uint64_t{reg.flags} << 16 | std::uint64_t{reg.reserved0} << 24 |
           std::uint64_t{reg.reserved1} << 32;
}
constexpr AutoBufReg auto_buf_reg_from_sqe_addr(std::uint64_t addr)
{
    return {static_cast<std::uint16_t>(addr), static_cast<std::uint8_t>(addr >> 16),
            static_cast<std::uint8_t>(addr >> 24), static_cast<std::uint32_t>(addr >> 32)};
}

// SHMEM_ZC descriptor address (7.1): buffer index and byte offset in it.
struct ShmemAddr {
    std::uint16_t index = 0;
    std::uint32_t offset = 0; // bytes
    constexpr bool operator==(const ShmemAddr&) const = default;
};
constexpr std::uint64_t to_desc_addr(ShmemAddr a)
{
    return std::uint64_t{a.index} << 32 | a.offset;
}
constexpr ShmemAddr shmem_addr_from_desc(std::uint64_t addr)
{
    return {static_cast<std::uint16_t>(addr >> 32), static_cast<std::uint32_t>(addr)};
}

// struct blk_zone (linux/blkzoned.h): what REPORT_ZONES is answered with; sectors throughout.
struct ZoneReport {
    std::uint64_t start = 0, len = 0, wp = 0;
    std::uint8_t type = 0; // ZoneType
    std::uint8_t cond = 0; // ZoneCond
    std::uint8_t non_seq = 0, reset = 0;
    std::uint8_t reserved0[4] = {};
    std::uint64_t capacity = 0;
    std::uint8_t reserved1[24] = {};
    constexpr bool operator==(const ZoneReport&) const = default;
};
static_assert(sizeof(ZoneReport) == 64 && offsetof(ZoneReport, type) == 24 &&
              offsetof(ZoneReport, capacity) == 32);
enum class ZoneType : std::uint8_t {
    conventional = 1,
    sequential_write_required = 2,
    sequential_write_preferred = 3
};
enum class ZoneCond : std::uint8_t {
    not_write_pointer = 0,
    empty = 1,
    implicit_open = 2,
    explicit_open = 3,
    closed = 4,
    read_only = 0xd,
    full = 0xe,
    offline = 0xf,
};

} // namespace ublk::uapi
