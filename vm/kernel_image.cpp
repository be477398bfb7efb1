#include "vm/kernel_image.hpp"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string_view>

#include <fmt/format.h>

namespace vm {
namespace {

// Offsets of the x86 boot protocol (Documentation/arch/x86/boot.rst); little endian, as this program's host.
constexpr std::size_t setup_sectors = 0x1f1;   // u8: 512-byte sectors of real-mode code behind the first
constexpr std::size_t system_size = 0x1f4;     // u32: protected-mode code, in 16-byte paragraphs
constexpr std::size_t boot_flag = 0x1fe;       // u16: 0xaa55
constexpr std::size_t magic = 0x202;           // "HdrS"
constexpr std::size_t version_pointer = 0x20e; // u16: offset of the version string, less 0x200
constexpr std::size_t header_end = 0x264;

template <typename Integer>
Integer field(const std::string& bytes, std::size_t offset)
{
    Integer value{};
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
    return value;
}

} // namespace

Result<std::string> release_of_image(const std::filesystem::path& image)
{
    std::ifstream stream(image, std::ios::binary);
    if (!std::filesystem::is_regular_file(image) || !stream)
        return usage_error(
            fmt::format("there is no readable kernel image {}: correct the path", image.string()));
    std::string head(std::size_t{1} << 16U,
                     '\0'); // the setup code has at most 64 sectors, the string is in it
    stream.read(head.data(), static_cast<std::streamsize>(head.size()));
    head.resize(static_cast<std::size_t>(stream.gcount()));
    if (head.size() < header_end || field<std::uint16_t>(head, boot_flag) != 0xaa55 ||
        std::string_view(head).substr(magic, 4) != "HdrS")
        return usage_error(
            fmt::format("{} is not a bzImage: give arch/x86/boot/bzImage of a kernel build, or a vmlinuz",
                        image.string()));
    const auto sectors = field<std::uint8_t>(head, setup_sectors);
    const auto expected = (std::uint64_t{sectors == 0 ? std::uint8_t{4} : sectors} + 1) * 512 +
                          std::uint64_t{field<std::uint32_t>(head, system_size)} * 16;
    if (const auto size = std::filesystem::file_size(image); size < expected)
        return usage_error(
            fmt::format("{} is cut off: it has {} bytes and its header promises {}; copy it again",
                        image.string(), size, expected));
    const auto at = std::size_t{field<std::uint16_t>(head, version_pointer)} + 0x200;
    const auto text = at < head.size() ? std::string_view(head).substr(at) : std::string_view{};
    const auto release = text.substr(0, text.find_first_of(std::string_view(" \0", 2)));
    if (release.empty() || release.size() > 64)
        return usage_error(fmt::format("{} does not say which kernel it is: its header has no version string",
                                       image.string()));
    return std::string(release);
}

} // namespace vm
