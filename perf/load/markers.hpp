// Instructions that do nothing and that nobody else uses: the load says by them where counting begins and
// ends, and QEMU's plugin (perf/count) sees them.
#pragma once

#include <cstdint>

namespace perf {

// nopl DISPLACEMENT(%rax): these three bytes and the displacement.
inline constexpr unsigned char marker_opcode[3] = {0x0f, 0x1f, 0x80};
inline constexpr std::uint32_t marker_begin = 0x75626c31, marker_end = 0x75626c32;

// Where the load is linked. It is static, so that none of its instructions are elsewhere: what runs in user
// mode outside of here is the server's.
inline constexpr std::uint64_t load_base = 0x70000000, load_end = 0x78000000;

} // namespace perf
