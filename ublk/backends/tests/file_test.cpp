#include "ublk/backends/file.hpp"

#include "ublk/backends/tests/disk.hpp"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace ublk::backends {
namespace {

using ::testing::HasSubstr;
constexpr std::uint64_t size = 256 * 1024;

// A sparse file of its own for each test; the verbs open it, and look at it from outside.
class FileBackend : public ::testing::Test {
  protected:
    void SetUp() override
    {
        std::string name = ::testing::TempDir() + "ublk-file-XXXXXX";
        const wire::Fd made(::mkstemp(name.data()));
        ASSERT_TRUE(static_cast<bool>(made)) << errno_name(errno);
        path_ = name;
        resize(size);
    }
    void TearDown() override { std::filesystem::remove(path_); }

    void resize(std::uint64_t bytes) { std::filesystem::resize_file(path_, bytes); }
    Result<File> open(FileOptions options = {})
    {
        if (options.path.empty())
            options.path = path_;
        return File::open(options);
    }
    std::string content() const
    {
        std::ifstream file(path_, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    std::string path_;
};

TEST_F(FileBackend, AgreesWithAnArrayUnderRandomRequests)
{
    for (std::uint32_t seed = 0; seed < 8; ++seed) {
        resize(0);
        resize(size);
        auto file = open();
        ASSERT_TRUE(file.has_value()) << file.error().message();
        testing::agrees_with_an_array(*file, size, seed, 100);
    }
}

TEST_F(FileBackend, IsServedAsFarAsItGoesOnceItGrew)
{
    auto file = open();
    ASSERT_TRUE(file.has_value());
    std::vector<std::byte> data(1024, std::byte{3});
    EXPECT_EQ(testing::ask(*file, uapi::IoOp::write, size / 512 - 1, data), -EIO);
    resize(2 * size);
    EXPECT_EQ(testing::ask(*file, uapi::IoOp::write, size / 512 - 1, data), 1024);
    EXPECT_EQ(content()[size + 511], '\3');
    EXPECT_EQ(testing::ask(*file, uapi::IoOp::read, 2 * size / 512 - 1, data), -EIO);
    EXPECT_EQ(testing::ask(*file, uapi::IoOp::read, UINT64_MAX, data), -EINVAL);
}

TEST_F(FileBackend, PutsBytesWhereTheSectorSays)
{
    auto file = open();
    ASSERT_TRUE(file.has_value());
    std::vector<std::byte> data(testing::sector, std::byte{'x'});
    ASSERT_EQ(testing::ask(*file, uapi::IoOp::write, 3, data), static_cast<std::int32_t>(testing::sector));
    const std::string seen = content();
    ASSERT_EQ(seen.size(), size);
    EXPECT_EQ(seen.find('x'), 3U * testing::sector);
    EXPECT_EQ(seen.rfind('x'), 4U * testing::sector - 1);
}

TEST_F(FileBackend, RefusesRangesBeyondTheEnd)
{
    auto file = open();
    ASSERT_TRUE(file.has_value());
    testing::refuses_ranges_beyond_the_end(*file, size);
    testing::knows_no_zones(*file);
}

TEST_F(FileBackend, NeverTouchesWhatLiesBehindTheSizeItServes)
{
    auto file = open({.size = size / 2});
    ASSERT_TRUE(file.has_value());
    EXPECT_EQ(file->size(), size / 2);
    testing::refuses_ranges_beyond_the_end(*file, size / 2);
    EXPECT_EQ(content(), std::string(size, '\0'));
}

TEST_F(FileBackend, FailsAReadBeyondTheEndOfAFileThatShrank)
{
    auto file = open();
    ASSERT_TRUE(file.has_value());
    resize(size / 2 + 100);
    std::vector<std::byte> data(testing::sector);
    EXPECT_EQ(testing::ask(*file, uapi::IoOp::read, size / 2 / testing::sector, data), -EIO)
        << "part is there";
    EXPECT_EQ(testing::ask(*file, uapi::IoOp::read, size / testing::sector - 1, data), -EIO);
}

TEST_F(FileBackend, KeepsAReadOnlyDiskAsItIs)
{
    auto file = open({.read_only = true});
    ASSERT_TRUE(file.has_value());
    testing::refuses_changes(*file);
    EXPECT_TRUE(file->geometry().attrs.has(uapi::Attr::read_only));
    EXPECT_EQ(content(), std::string(size, '\0'));
}

TEST_F(FileBackend, HasACacheThatFlushesCount)
{
    auto file = open();
    ASSERT_TRUE(file.has_value());
    EXPECT_TRUE(file->geometry().attrs.has(uapi::Attr::volatile_cache));
    EXPECT_TRUE(file->geometry().attrs.has(uapi::Attr::fua));
}

TEST_F(FileBackend, DoesDirectTransfersFromAlignedMemory)
{
    auto file = open({.block_size = 4096, .direct = true});
    if (!file)
        GTEST_SKIP() << "needs a file system with direct I/O in " << ::testing::TempDir() << ": "
                     << file.error().message();
    alignas(4096) std::array<std::byte, 8192> data{};
    data.fill(std::byte{'d'});
    ASSERT_EQ(testing::ask(*file, uapi::IoOp::write, 8, data), 8192);
    EXPECT_EQ(content().find('d'), 8U * testing::sector);
}

TEST_F(FileBackend, NamesTheMendOfAMissingFile)
{
    const auto file = open({.path = path_ + "-not-there"});
    ASSERT_FALSE(file.has_value());
    EXPECT_TRUE(file.error() == std::errc::no_such_file_or_directory);
    EXPECT_THAT(file.error().message(), HasSubstr(path_ + "-not-there"));
    EXPECT_THAT(file.error().hint, HasSubstr("truncate -s"));
}

TEST_F(FileBackend, RefusesSizesThatItCannotServe)
{
    EXPECT_TRUE(open({.size = size + 512}).error() == std::errc::file_too_large);
    EXPECT_TRUE(open({.size = 1000}).error() == std::errc::invalid_argument);
    resize(size + 512);
    EXPECT_TRUE(open({.block_size = 4096}).error() == std::errc::invalid_argument);
    resize(0);
    EXPECT_TRUE(open().error() == std::errc::invalid_argument);
}

TEST_F(FileBackend, RefusesWhatIsNeitherFileNorBlockDevice)
{
    EXPECT_TRUE(open({.path = ::testing::TempDir()}).error() == std::errc::is_a_directory);
    EXPECT_TRUE(open({.path = "/dev/null"}).error() == std::errc::invalid_argument);
}

} // namespace
} // namespace ublk::backends
