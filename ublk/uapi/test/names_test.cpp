// That the names are the kernel's is held by kernel_header_test.cpp; here is what it cannot ask.
#include "ublk/uapi/names.hpp"

#include <gtest/gtest.h>

namespace ublk::uapi::test {
namespace {

TEST(OpcodeName, TellsTheThreeSpellingsApart)
{
    EXPECT_EQ(ctrl_op_name(opcode(CtrlNr::start_dev)), "START_DEV");
    EXPECT_EQ(ctrl_op_name(0x06), "START_DEV (legacy)");
    EXPECT_EQ(ctrl_op_name(encode_opcode(Direction::none, 'u', 0x06, 0)), "START_DEV (as 0x7506)");
    EXPECT_EQ(io_op_name(opcode(IoNr::commit_io_cmds)), "COMMIT_IO_CMDS");
    EXPECT_EQ(io_op_name(0x21), "COMMIT_AND_FETCH_REQ (legacy)");
}

TEST(OpcodeName, GivesTheNumberOfWhatItDoesNotKnow)
{
    EXPECT_EQ(ctrl_op_name(0x3f), "unknown control op 0x3f");
    EXPECT_EQ(ctrl_op_name(0x20), "unknown control op 0x20"); // an I/O command
    EXPECT_EQ(io_op_name(0x04), "unknown I/O op 0x4");        // a control command
    const auto foreign = encode_opcode(Direction::read, 'v', 0x02, sizeof(CtrlCmd));
    EXPECT_EQ(ctrl_op_name(foreign), "unknown control op 0x80207602");
}

TEST(OpcodeNumber, IsOnlyThatOfAProperSpelling)
{
    EXPECT_EQ(ctrl_nr(opcode(CtrlNr::add_dev)), CtrlNr::add_dev);
    EXPECT_EQ(ctrl_nr(0x04), CtrlNr::add_dev);
    EXPECT_EQ(ctrl_nr(encode_opcode(Direction::none, 'u', 0x04, 0)), std::nullopt);
    EXPECT_EQ(ctrl_nr(0x03), std::nullopt);
    EXPECT_EQ(io_nr(opcode(IoNr::fetch_io_cmds)), IoNr::fetch_io_cmds);
    // The size is that of struct ublk_batch_io, which is also that of struct ublksrv_io_cmd.
    EXPECT_EQ(opcode_size(opcode(IoNr::fetch_io_cmds)), sizeof(BatchIo));
    EXPECT_EQ(io_nr(0x28), std::nullopt);
}

TEST(ValueName, IsTotal)
{
    EXPECT_EQ(to_string(DevState{17}), "unknown device state 0x11");
    EXPECT_EQ(to_string(IoOp{6}), "unknown request op 0x6");
    EXPECT_EQ(to_string(CtrlNr{0x03}), "unknown control op 0x3");
    EXPECT_EQ(to_string(ZoneCond{5}), "unknown zone condition 0x5");
    EXPECT_EQ(to_string(ZoneCond::implicit_open), "IMP_OPEN");
    EXPECT_EQ(to_string(ZoneType::sequential_write_required), "SEQWRITE_REQ");
}

TEST(FlagNames, AreJoinedAndKeepUnknownBits)
{
    EXPECT_EQ(to_string(IoFlag::fua | IoFlag::nounmap), "FUA|NOUNMAP");
    EXPECT_EQ(to_string(IoFlags::from_raw(1U << 31 | 1U << 13)), "FUA|0x80000000");
    EXPECT_EQ(to_string(ParamTypes{}), "none");
    EXPECT_EQ(to_string(BatchFlag::has_zone_lba | BatchFlag::has_buf_addr), "HAS_ZONE_LBA|HAS_BUF_ADDR");
    EXPECT_EQ(to_string(BatchFlags::from_raw(0x8000)), "0x8000");
}

} // namespace
} // namespace ublk::uapi::test
