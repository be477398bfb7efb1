// The load that holds blocks to their versions, on a plain file: it must see what a server can do wrong.
#include "conformance/server/versioned_blocks.hpp"

#include "conformance/driver/driver.hpp"

#include <array>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <gmock/gmock.h>

namespace conformance {
namespace {

using testing::HasSubstr;

class VersionedBlocks : public testing::Test {
  protected:
    VersionedBlocks()
    {
        std::string name = (std::filesystem::temp_directory_path() / "versioned-XXXXXX").string();
        fd_ = Fd(::mkstemp(name.data()));
        path_ = name;
        EXPECT_EQ(::ftruncate(fd_.get(), static_cast<off_t>(versioned_bytes)), 0);
    }
    ~VersionedBlocks() override { ::unlink(path_.c_str()); }
    void SetUp() override
    {
        if (!ublk::wire::open_node(path_, O_RDWR | O_DIRECT))
            GTEST_SKIP() << "no direct I/O in " << path_;
    }
    // Until this block has a version above `above`; then nobody writes.
    void write_until(Writers& writers, std::uint64_t block, std::uint64_t above = 0) const
    {
        EXPECT_TRUE(eventually([&] { return version(read(block)) > above; }));
        writers.pause();
    }
    using Bytes = std::array<std::byte, versioned_block_bytes>;
    Bytes read(std::uint64_t block) const
    {
        Bytes bytes{};
        EXPECT_EQ(::pread(fd_.get(), bytes.data(), bytes.size(), offset(block)), whole);
        return bytes;
    }
    static std::uint64_t version(const Bytes& bytes)
    {
        std::uint64_t version = 0;
        std::memcpy(&version, bytes.data() + 8, sizeof(version));
        return version;
    }
    void write(std::uint64_t block, const Bytes& bytes) const
    {
        EXPECT_EQ(::pwrite(fd_.get(), bytes.data(), bytes.size(), offset(block)), whole);
    }
    std::string wrong(const Writers& writers) const
    {
        const auto found = writers.first_wrong(path_, O_RDONLY);
        return found ? found->expected + ": " + found->observed : "";
    }
    std::string path_;

  private:
    static constexpr auto whole = static_cast<ssize_t>(versioned_block_bytes);
    static off_t offset(std::uint64_t block) { return static_cast<off_t>(block * versioned_block_bytes); }
    Fd fd_;
};

TEST_F(VersionedBlocks, WhatWasWrittenIsRight)
{
    Writers writers(path_, 3);
    write_until(writers, 3);
    EXPECT_EQ(wrong(writers), "");
    EXPECT_EQ(writers.errors(), 0U);
    const auto before = writers.written();
    writers.go_on();
    EXPECT_TRUE(writers.write_more(100));
    writers.pause();
    EXPECT_GE(writers.written(), before + 100);
    EXPECT_EQ(wrong(writers), "");
}

TEST_F(VersionedBlocks, AnOlderVersionIsALostWrite)
{
    Writers writers(path_, 4);
    write_until(writers, 77);
    const auto old = read(77);
    writers.go_on();
    write_until(writers, 77, version(old));
    write(77, old);
    EXPECT_THAT(wrong(writers), HasSubstr("block 77 with a version from"));
}

TEST_F(VersionedBlocks, ABlockThatIsGoneIsALostWrite)
{
    Writers writers(path_, 4);
    write_until(writers, 1023);
    write(1023, {});
    EXPECT_THAT(wrong(writers), HasSubstr("version 0"));
}

TEST_F(VersionedBlocks, AVersionThatNobodyBeganIsWrong)
{
    Writers writers(path_, 1);
    write_until(writers, 5);
    auto block = read(5);
    block[8 + 5] = std::byte{1}; // of the version
    write(5, block);
    EXPECT_THAT(wrong(writers), HasSubstr("block 5 with a version from"));
}

TEST_F(VersionedBlocks, ATornBlockIsWrong)
{
    Writers writers(path_, 2);
    write_until(writers, 8);
    auto block = read(8);
    block[4095] ^= std::byte{1};
    write(8, block);
    EXPECT_THAT(wrong(writers), HasSubstr("block 8 is whole"));
}

TEST_F(VersionedBlocks, ABlockOfAnotherPlaceIsWrong)
{
    Writers writers(path_, 1);
    write_until(writers, 9);
    write(9, read(10));
    EXPECT_THAT(wrong(writers), HasSubstr("block 9"));
}

} // namespace
} // namespace conformance
