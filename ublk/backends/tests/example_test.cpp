// The example of README.md: it works, and the README shows it as it is.
#include "ublk/backends/examples/numbers.hpp"

#include "ublk/backends/decorators/decorate.hpp"
#include "ublk/backends/decorators/fault.hpp"
#include "ublk/backends/tests/disk.hpp"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ublk::backends {
namespace {

using testing::ask;
using ::testing::HasSubstr;
using testing::sector;

std::string content(const std::string& path)
{
    std::ifstream file(UBLKCHECK_SOURCE_DIR "/" + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Example, ServesTheNumberOfEachSector)
{
    Numbers numbers;
    std::vector<std::byte> data(3 * sector, std::byte{0xff});
    ASSERT_EQ(ask(numbers, uapi::IoOp::read, 1000, data), static_cast<std::int32_t>(data.size()));
    for (std::uint64_t i = 0; i < 3; ++i) {
        std::uint64_t number = 0;
        std::memcpy(&number, data.data() + i * sector, sizeof(number));
        EXPECT_EQ(number, 1000 + i);
        EXPECT_EQ(data[i * sector + sizeof(number)], std::byte{0});
    }
    EXPECT_EQ(ask(numbers, uapi::IoOp::write, 0, data), -EPERM);
    EXPECT_EQ(ask(numbers, uapi::IoOp::flush, UINT64_MAX, {}), 0);
    With faulty(numbers, FaultOptions{.which = {.every = 2}});
    EXPECT_EQ(ask(faulty, uapi::IoOp::read, 0, data), static_cast<std::int32_t>(data.size()));
    EXPECT_EQ(ask(faulty, uapi::IoOp::read, 0, data), -EIO);
}

TEST(Example, IsWhatTheReadmeShows)
{
    const std::string example = content("ublk/backends/examples/numbers.hpp");
    ASSERT_FALSE(example.empty());
    const std::string shown = example.substr(example.find("// A read-only disk"));
    EXPECT_THAT(content("README.md"), HasSubstr("```cpp\n" + shown + "```\n"));
}

} // namespace
} // namespace ublk::backends
