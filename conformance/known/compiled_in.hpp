// Lists that are compiled into the program.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <expected>
#include <string>
#include <utility>

namespace conformance {

// A test reads each of them; a program that was built around one that cannot be read cannot go on.
template <typename List>
List must_be_read(std::expected<List, std::string> list)
{
    if (!list) {
        std::fprintf(stderr, "ublkcheck: %s\n", list.error().c_str());
        std::abort();
    }
    return *std::move(list);
}

} // namespace conformance
