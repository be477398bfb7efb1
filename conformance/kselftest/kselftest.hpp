// Suite "kselftest", hidden: the kernel's own selftests of ublk, each script a case. They are no part of this
// program: `ublkcheck run` fetches them and takes them along, and the guest finds them in a folder.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace conformance::kselftest {

inline constexpr std::string_view suite_name = "kselftest", id_prefix = "KSELFTEST-",
                                  guest_folder = "/kselftest";

// What the scripts run. Without bash there is nothing to run; a script whose program is missing skips or
// fails as the script has it.
inline constexpr std::array needed_programs{
    "bash",     "sh",   "cat",   "date",     "dd",      "dirname", "grep",     "id",     "mkdir", "mktemp",
    "mount",    "mv",   "nproc", "realpath", "rm",      "rmdir",   "sed",      "seq",    "sleep", "sort",
    "stat",     "tail", "head",  "tee",      "timeout", "tr",      "truncate", "umount", "wc",    "basename",
    "blockdev", "cp",   "cut",   "awk",      "taskset", "lsblk",   "fallocate"};
inline constexpr std::array optional_programs{"bpftrace", "fio", "sfdisk", "pkill", "pgrep", "mkfs.ext4"};

bool is_script(std::string_view file_name); // "test_null_01.sh", not "test_common.sh"
std::string id_of(std::string_view script); // "KSELFTEST-NULL-01"
// Makes a case of each script. To be called before anything asks for the cases.
void register_scripts(const std::vector<std::string>& scripts);
// Those in the guest's folder; on a host there are none.
void register_guest_scripts();

} // namespace conformance::kselftest
