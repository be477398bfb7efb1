#include "vm/file_io.hpp"

#include <fmt/format.h>

#include <fstream>

namespace vm {

Result<std::string> read_file(const std::filesystem::path& file)
{
    std::error_code code;
    const bool regular = std::filesystem::is_regular_file(file, code);
    std::ifstream in(file, std::ios::binary | std::ios::ate);
    if (!regular || !in)
        return usage_error(
            fmt::format("{} cannot be read: check the path and its permissions", file.string()));
    std::string data(static_cast<std::size_t>(in.tellg()), '\0');
    in.seekg(0);
    in.read(data.data(), static_cast<std::streamsize>(data.size()));
    if (!in)
        return usage_error(fmt::format("{} cannot be read to its end", file.string()));
    return data;
}

} // namespace vm
