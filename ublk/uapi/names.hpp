// Names for people: the UAPI's spelling without its prefix, of every enumerator and opcode. A value that has
// no name gives its number ("unknown control op 0x3f"), so each of these functions is total.
#pragma once

#include "ublk/uapi/ctrl.hpp"
#include "ublk/uapi/io.hpp"
#include "ublk/uapi/params.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace ublk::uapi {

std::string to_string(CtrlNr nr);      // "ADD_DEV"
std::string to_string(IoNr nr);        // "COMMIT_AND_FETCH_REQ"
std::string to_string(DevState state); // "LIVE"
std::string to_string(IoOp op);        // "WRITE_ZEROES"
std::string to_string(ZoneType type);  // "SEQWRITE_REQ"
std::string to_string(ZoneCond cond);  // "IMP_OPEN"

// "FUA|NOUNMAP"; unknown bits as one hexadecimal number at the end; "none" if empty.
std::string to_string(IoFlags set);
std::string to_string(ParamTypes set);
std::string to_string(Attrs set);
std::string to_string(BatchFlags set);

// The command that an opcode is the proper spelling of, ioctl-style or legacy. nullopt for anything else,
// although the driver looks at the number alone nearly everywhere and takes other directions and sizes too.
std::optional<CtrlNr> ctrl_nr(std::uint32_t opcode);
std::optional<IoNr> io_nr(std::uint32_t opcode);

// "START_DEV", "START_DEV (legacy)", "START_DEV (as 0x7506)" if direction or size are not START_DEV's,
// "unknown control op 0x3f" / "unknown I/O op 0x3f".
std::string ctrl_op_name(std::uint32_t opcode);
std::string io_op_name(std::uint32_t opcode);

} // namespace ublk::uapi
