#include "ublk/backends/async_file.hpp"

#include "ublk/backends/tests/disk.hpp"
#include "ublk/backends/tests/immediate_ring.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

namespace ublk::backends {
namespace {

using testing::agrees_with_an_array;
using testing::ask;
using testing::ImmediateRing;
using testing::Served;

constexpr std::uint64_t size = 256 * 1024;

class AsyncFileTest : public ::testing::Test {
  protected:
    void SetUp() override
    {
        // Where NOWAIT means something: not in a file system in memory.
        path_ = (std::filesystem::current_path() / "async_file_test.XXXXXX").string();
        const int fd = ::mkstemp(path_.data());
        ASSERT_GE(fd, 0);
        ASSERT_EQ(::ftruncate(fd, size), 0);
        ::close(fd);
    }
    void TearDown() override { ::unlink(path_.c_str()); }
    AsyncFile opened(bool read_only = false)
    {
        return std::move(*AsyncFile::open({.path = path_, .size = size, .read_only = read_only}));
    }
    std::string path_;
    ImmediateRing ring_;
};

TEST_F(AsyncFileTest, IsADiskWithMappedPayload)
{
    auto file = opened();
    Served served{file, ring_};
    agrees_with_an_array(served, size, 1, 2000);
}

TEST_F(AsyncFileTest, IsADiskWithPayloadOutOfItsSight)
{
    auto file = opened();
    Served served{file, ring_, false};
    agrees_with_an_array(served, size, 2, 2000);
}

TEST_F(AsyncFileTest, GoesOnWhereAShortTransferEnded)
{
    auto file = opened();
    ring_.most = 1536;
    Served served{file, ring_, false};
    agrees_with_an_array(served, size, 3, 1000);
}

TEST_F(AsyncFileTest, AsksAgainAfterAnInterruption)
{
    auto file = opened();
    Served served{file, ring_, false};
    std::vector<std::byte> data(4096);
    for (const auto op :
         {uapi::IoOp::write, uapi::IoOp::flush, uapi::IoOp::discard, uapi::IoOp::write_zeroes}) {
        ring_ = {.fails_with = -EINTR, .failures = 2};
        EXPECT_EQ(ask(served, op, 0, data, 8), op == uapi::IoOp::write ? 4096 : 0);
        EXPECT_EQ(ring_.operations, 3);
    }
}

TEST_F(AsyncFileTest, PassesOnWhatTheRingAnswers)
{
    auto file = opened();
    Served served{file, ring_, false};
    std::vector<std::byte> data(4096);
    for (const auto op : {uapi::IoOp::read, uapi::IoOp::write, uapi::IoOp::flush, uapi::IoOp::discard,
                          uapi::IoOp::write_zeroes}) {
        ring_ = {.fails_with = -ENOSPC, .failures = 1};
        EXPECT_EQ(ask(served, op, 0, data, 8), -ENOSPC);
    }
}

TEST_F(AsyncFileTest, TakesTheEndOfAFileThatShrankForAnError)
{
    auto file = opened();
    ASSERT_EQ(::truncate(path_.c_str(), 4096), 0);
    std::vector<std::byte> data(4096);
    for (const bool mapped : {true, false}) {
        Served served{file, ring_, mapped};
        EXPECT_EQ(ask(served, uapi::IoOp::read, 16, data), -EIO);
    }
}

TEST_F(AsyncFileTest, ZeroesInTheOtherWayWhereAFileSystemKnowsOnlyOne)
{
    auto file = opened();
    Served served{file, ring_};
    ring_ = {.fails_with = -EOPNOTSUPP, .failures = 1};
    EXPECT_EQ(ask(served, uapi::IoOp::write_zeroes, 0, {}, 8), 0);
    EXPECT_EQ(ring_.operations, 2);
    ring_ = {.fails_with = -EOPNOTSUPP, .failures = 1};
    EXPECT_EQ(ask(served, uapi::IoOp::write_zeroes, 0, {}, 8, uapi::IoFlag::nounmap), -EOPNOTSUPP)
        << "what must stay allocated is not punched";
    ring_ = {.fails_with = -EOPNOTSUPP, .failures = 2};
    EXPECT_EQ(ask(served, uapi::IoOp::write_zeroes, 0, {}, 8), -EOPNOTSUPP);
}

TEST_F(AsyncFileTest, MakesADurableWriteZeroesDurable)
{
    auto file = opened();
    Served served{file, ring_};
    EXPECT_EQ(ask(served, uapi::IoOp::write_zeroes, 0, {}, 8, uapi::IoFlag::fua), 0);
    EXPECT_EQ(ring_.operations, 2) << "the zeroing, and a sync";
}

TEST_F(AsyncFileTest, NeverWaitsForADurableWriteItself)
{
    auto file = opened();
    Served served{file, ring_};
    std::vector<std::byte> data(4096);
    EXPECT_EQ(ask(served, uapi::IoOp::write, 0, data, 0, uapi::IoFlag::fua), 4096);
    EXPECT_EQ(ring_.operations, 1);
}

TEST_F(AsyncFileTest, AsksTheRingForNothingThatThePageCacheHolds)
{
    auto file = opened();
    Served served{file, ring_};
    std::vector<std::byte> data(4096);
    ASSERT_EQ(ask(served, uapi::IoOp::write, 0, data), 4096);
    ring_ = {};
    EXPECT_EQ(ask(served, uapi::IoOp::read, 0, data), 4096);
    EXPECT_LE(ring_.operations, 1); // a file system without RWF_NOWAIT has to wait
}

TEST_F(AsyncFileTest, RefusesToWriteWhatIsReadOnlyAndBeyondTheEnd)
{
    auto file = opened(true);
    Served served{file, ring_};
    std::vector<std::byte> data(4096);
    EXPECT_EQ(ask(served, uapi::IoOp::write, 0, data), -EPERM);
    EXPECT_EQ(ask(served, uapi::IoOp::discard, 0, {}, 8), -EPERM);
    EXPECT_EQ(ask(served, uapi::IoOp::read, size / 512, data), -EIO);
    EXPECT_EQ(ask(served, uapi::IoOp::read, 0, data), 4096);
}

} // namespace
} // namespace ublk::backends
