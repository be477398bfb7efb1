// What the kernel's header says beside what we say, a row for each name, size and offset.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ublk::uapi::test {

struct Row {
    std::string group; // what makes one test: a family of constants, or a structure
    std::string name;
    std::optional<std::int64_t> theirs; // nullopt: the header has no such name
    std::int64_t ours = 0;
};

std::vector<Row> constant_rows(); // from kernel_names.txt
std::vector<Row> struct_rows();
std::vector<Row> all_rows();

// Path of the header that was compiled against; empty if this machine has none.
std::string header_path();

} // namespace ublk::uapi::test
