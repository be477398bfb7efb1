// A plugin of QEMU's translator that counts what user programs execute between the load's markers:
// instructions of the load itself, instructions of everybody else, and system calls of everybody else. Each
// interval becomes a line of the file that `out=` names: "SERVER LOAD SYSTEM-CALLS".
//
// The interface is that of QEMU 6.0 to 8.x (plugin API version 1), declared here because Debian ships no
// header for it.
#include "perf/load/markers.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

using qemu_plugin_id_t = std::uint64_t;
struct qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

std::size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb*);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb*, std::size_t);
std::uint64_t qemu_plugin_insn_vaddr(const qemu_plugin_insn*);
std::size_t qemu_plugin_insn_size(const qemu_plugin_insn*);
const void* qemu_plugin_insn_data(const qemu_plugin_insn*);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, qemu_plugin_tb*));
void qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_insn*, void (*)(unsigned, void*),
                                            qemu_plugin_cb_flags, void*);
void qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_insn*, qemu_plugin_op, void*, std::uint64_t);

EXPORTED extern const int qemu_plugin_version;
EXPORTED int qemu_plugin_install(qemu_plugin_id_t, const qemu_info_t*, int, char**);

const int qemu_plugin_version = 1;

} // extern "C"

namespace {

struct Counters {
    std::uint64_t server, load, system_calls;
};
Counters counters; // the guest has one CPU
std::FILE* out;

void begin(unsigned, void*)
{
    counters = {};
}

void end(unsigned, void*)
{
    std::fprintf(out, "%llu %llu %llu\n", static_cast<unsigned long long>(counters.server),
                 static_cast<unsigned long long>(counters.load),
                 static_cast<unsigned long long>(counters.system_calls));
    std::fflush(out);
}

void look_at(qemu_plugin_insn* insn)
{
    const auto address = qemu_plugin_insn_vaddr(insn);
    if (address >> 47 != 0) // the kernel's half
        return;
    const auto* bytes = static_cast<const unsigned char*>(qemu_plugin_insn_data(insn));
    const auto size = qemu_plugin_insn_size(insn);
    const bool load = address >= perf::load_base && address < perf::load_end;
    if (load && size == 7 && std::memcmp(bytes, perf::marker_opcode, 3) == 0) {
        std::uint32_t which = 0;
        std::memcpy(&which, bytes + 3, sizeof(which));
        if (which == perf::marker_begin || which == perf::marker_end)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, which == perf::marker_begin ? begin : end,
                                                   QEMU_PLUGIN_CB_NO_REGS, nullptr);
    }
    qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
                                               load ? &counters.load : &counters.server, 1);
    if (!load && size == 2 && bytes[0] == 0x0f && bytes[1] == 0x05) // syscall
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &counters.system_calls,
                                                   1);
}

void translated(qemu_plugin_id_t, qemu_plugin_tb* block)
{
    const auto count = qemu_plugin_tb_n_insns(block);
    for (std::size_t i = 0; i < count; ++i)
        look_at(qemu_plugin_tb_get_insn(block, i));
}

} // namespace

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t*, int argc, char** argv)
{
    for (int i = 0; i < argc; ++i)
        if (const std::string_view argument = argv[i]; argument.starts_with("out="))
            out = std::fopen(argv[i] + 4, "we");
    if (out == nullptr) {
        std::fputs("out= names no file that can be written\n", stderr);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
