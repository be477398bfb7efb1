#include "ublk/uapi/io.hpp"
#include "ublk/uapi/params.hpp"
#include "ublk/uapi/test/kernel_header.hpp"

#include <cstddef>
#include <utility>

#include <kernel_ublk_cmd.h>

// Declared again, so that a structure which an old header lacks is an incomplete type and not an unknown
// name.
struct ublk_shmem_buf_reg;
struct ublk_elem_header;
struct ublk_batch_io;
struct ublk_auto_buf_reg;
struct ublk_param_devt;
struct ublk_param_zoned;
struct ublk_param_dma_align;
struct ublk_param_segment;
struct ublk_param_integrity;
struct ublksrv_ctrl_cmd;
struct ublksrv_ctrl_dev_info;
struct ublksrv_io_cmd;
struct ublksrv_io_desc;
struct ublk_param_basic;
struct ublk_param_discard;
struct ublk_params;
struct blk_zone;

namespace ublk::uapi::test {
namespace {

struct Extent {
    std::size_t offset, size;
};

class Comparison {
  public:
    Comparison(std::vector<Row>& rows, std::string name) : rows_(rows), name_(std::move(name)) {}

    void member(const std::string& member, std::optional<Extent> theirs, Extent ours)
    {
        whole_ = whole_ && theirs;
        add("offset of " + member, theirs ? std::optional(theirs->offset) : std::nullopt, ours.offset);
        add("size of " + member, theirs ? std::optional(theirs->size) : std::nullopt, ours.size);
    }
    // Sizes are comparable only if theirs has all that ours has: structures grow.
    void size(std::optional<std::size_t> theirs, std::size_t ours)
    {
        add("sizeof", whole_ ? theirs : std::nullopt, ours);
    }

  private:
    void add(const std::string& what, std::optional<std::size_t> theirs, std::size_t ours)
    {
        Row row{name_, name_ + ": " + what, std::nullopt, static_cast<std::int64_t>(ours)};
        if (theirs)
            row.theirs = static_cast<std::int64_t>(*theirs);
        rows_.push_back(std::move(row));
    }

    std::vector<Row>& rows_;
    std::string name_;
    bool whole_ = true;
};

template <typename T>
std::optional<std::size_t> size_if_known()
{
    if constexpr (requires { sizeof(T); })
        return sizeof(T);
    else
        return std::nullopt;
}

// MEMBER(theirs, ours): a member under both names; absent members and incomplete structures give nullopt.
#define MEMBER(k, o)                                                                                         \
    comparison.member(                                                                                       \
        #k,                                                                                                  \
        []<typename K>(K*) -> std::optional<Extent> {                                                        \
            if constexpr (requires(K& x) { x.k; })                                                           \
                return Extent{offsetof(K, k), sizeof(std::declval<K&>().k)};                                 \
            else                                                                                             \
                return std::nullopt;                                                                         \
        }(static_cast<Theirs*>(nullptr)),                                                                    \
        Extent{offsetof(Ours, o), sizeof(std::declval<Ours&>().o)})
#define SAME(m) MEMBER(m, m)
#define STRUCT(K, O, ...)                                                                                    \
    {                                                                                                        \
        using Theirs = ::K;                                                                                  \
        using Ours = O;                                                                                      \
        Comparison comparison(rows, #K);                                                                     \
        __VA_ARGS__;                                                                                         \
        comparison.size(size_if_known<Theirs>(), sizeof(Ours));                                              \
    }

void control_structs(std::vector<Row>& rows)
{
    // data was two words before the path length took the second one's place, so its first word is compared.
    STRUCT(ublksrv_ctrl_cmd, CtrlCmd, SAME(dev_id); SAME(queue_id); SAME(len); SAME(addr);
           MEMBER(data[0], data); SAME(dev_path_len); SAME(pad); SAME(reserved))
    STRUCT(ublksrv_ctrl_dev_info, DevInfo, SAME(nr_hw_queues); SAME(queue_depth); SAME(state);
           SAME(io_desc_size); SAME(max_io_buf_bytes); SAME(dev_id); SAME(ublksrv_pid); SAME(pad1);
           SAME(flags); SAME(ublksrv_flags); SAME(owner_uid); SAME(owner_gid); SAME(reserved1);
           SAME(reserved2))
    STRUCT(ublk_shmem_buf_reg, ShmemBufReg, SAME(addr); SAME(len); SAME(flags); SAME(reserved))
}

void io_structs(std::vector<Row>& rows)
{
    STRUCT(ublksrv_io_desc, IoDesc, SAME(op_flags); SAME(nr_sectors); MEMBER(nr_zones, nr_sectors);
           SAME(start_sector); SAME(addr))
    STRUCT(ublksrv_io_cmd, IoCmd, SAME(q_id); SAME(tag); SAME(result); SAME(addr);
           MEMBER(zone_append_lba, addr))
    STRUCT(ublk_batch_io, BatchIo, SAME(q_id); SAME(flags); SAME(nr_elem); SAME(elem_bytes); SAME(reserved);
           SAME(reserved2))
    STRUCT(ublk_elem_header, BatchElem, SAME(tag); SAME(buf_index); SAME(result))
    STRUCT(ublk_auto_buf_reg, AutoBufReg, SAME(index); SAME(flags); SAME(reserved0); SAME(reserved1))
    STRUCT(blk_zone, ZoneReport, SAME(start); SAME(len); SAME(wp); SAME(type); SAME(cond); SAME(non_seq);
           SAME(reset); SAME(capacity))
}

void param_structs(std::vector<Row>& rows)
{
    STRUCT(ublk_param_basic, ParamBasic, SAME(attrs); SAME(logical_bs_shift); SAME(physical_bs_shift);
           SAME(io_opt_shift); SAME(io_min_shift); SAME(max_sectors); SAME(chunk_sectors); SAME(dev_sectors);
           SAME(virt_boundary_mask))
    STRUCT(ublk_param_discard, ParamDiscard, SAME(discard_alignment); SAME(discard_granularity);
           SAME(max_discard_sectors); SAME(max_write_zeroes_sectors); SAME(max_discard_segments);
           SAME(reserved0))
    STRUCT(ublk_param_devt, ParamDevt, SAME(char_major); SAME(char_minor); SAME(disk_major); SAME(disk_minor))
    STRUCT(ublk_param_zoned, ParamZoned, SAME(max_open_zones); SAME(max_active_zones);
           SAME(max_zone_append_sectors); SAME(reserved))
    STRUCT(ublk_param_dma_align, ParamDmaAlign, SAME(alignment); SAME(pad))
    STRUCT(ublk_param_segment, ParamSegment, SAME(seg_boundary_mask); SAME(max_segment_size);
           SAME(max_segments); SAME(pad))
    STRUCT(ublk_param_integrity, ParamIntegrity, SAME(flags); SAME(max_integrity_segments);
           SAME(interval_exp); SAME(metadata_size); SAME(pi_offset); SAME(csum_type); SAME(tag_size);
           SAME(pad))
    STRUCT(ublk_params, Params, SAME(len); SAME(types); SAME(basic); SAME(discard); SAME(devt); SAME(zoned);
           SAME(dma); SAME(seg); SAME(integrity))
}

void zone_enums(std::vector<Row>& rows)
{
    const auto add = [&rows](const char* name, std::int64_t theirs, auto ours) {
        rows.push_back({"linux/blkzoned.h", name, theirs, static_cast<std::int64_t>(ours)});
    };
    add("BLK_ZONE_TYPE_CONVENTIONAL", BLK_ZONE_TYPE_CONVENTIONAL, ZoneType::conventional);
    add("BLK_ZONE_TYPE_SEQWRITE_REQ", BLK_ZONE_TYPE_SEQWRITE_REQ, ZoneType::sequential_write_required);
    add("BLK_ZONE_TYPE_SEQWRITE_PREF", BLK_ZONE_TYPE_SEQWRITE_PREF, ZoneType::sequential_write_preferred);
    add("BLK_ZONE_COND_NOT_WP", BLK_ZONE_COND_NOT_WP, ZoneCond::not_write_pointer);
    add("BLK_ZONE_COND_EMPTY", BLK_ZONE_COND_EMPTY, ZoneCond::empty);
    add("BLK_ZONE_COND_IMP_OPEN", BLK_ZONE_COND_IMP_OPEN, ZoneCond::implicit_open);
    add("BLK_ZONE_COND_EXP_OPEN", BLK_ZONE_COND_EXP_OPEN, ZoneCond::explicit_open);
    add("BLK_ZONE_COND_CLOSED", BLK_ZONE_COND_CLOSED, ZoneCond::closed);
    add("BLK_ZONE_COND_READONLY", BLK_ZONE_COND_READONLY, ZoneCond::read_only);
    add("BLK_ZONE_COND_FULL", BLK_ZONE_COND_FULL, ZoneCond::full);
    add("BLK_ZONE_COND_OFFLINE", BLK_ZONE_COND_OFFLINE, ZoneCond::offline);
}

} // namespace

std::vector<Row> struct_rows()
{
    std::vector<Row> rows;
    control_structs(rows);
    io_structs(rows);
    param_structs(rows);
    zone_enums(rows);
    return rows;
}

std::vector<Row> all_rows()
{
    auto rows = constant_rows();
    for (auto& row : struct_rows())
        rows.push_back(std::move(row));
    return rows;
}

} // namespace ublk::uapi::test
